package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
)

// host is a network namespace: a host of its own, as far as the kernel's
// network is concerned.
type host string

// newHosts returns two hosts with a cable between them, 10.77.0.1 and 10.77.0.2,
// or fd77::1 and fd77::2.
func newHosts(t *testing.T) (first, second host) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can make network namespaces")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("the command ip is missing: on Debian, apt-get install iproute2")
	}
	hosts := []host{host(fmt.Sprintf("securesp-%d-1", os.Getpid())), host(fmt.Sprintf("securesp-%d-2", os.Getpid()))}
	for _, h := range hosts {
		if out, err := exec.Command("ip", "netns", "add", string(h)).CombinedOutput(); err != nil {
			t.Skipf("network namespaces are not permitted here: %v: %s", err, out)
		}
		t.Cleanup(func() { exec.Command("ip", "netns", "del", string(h)).Run() })
	}
	ip(t, "link", "add", "cable", "netns", string(hosts[0]), "type", "veth", "peer", "name", "cable", "netns", string(hosts[1]))
	for i, h := range hosts {
		h.addAddress(t, fmt.Sprintf("10.77.0.%d/24", i+1))
		h.addAddress(t, fmt.Sprintf("fd77::%d/64", i+1))
		h.ip(t, "link", "set", "cable", "up")
		// An address that goes must not take the others with it.
		h.sh(t, "echo 1 > /proc/sys/net/ipv4/conf/cable/promote_secondaries")
	}
	return hosts[0], hosts[1]
}

// ip runs the command and returns what it prints.
func ip(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (h host) ip(t *testing.T, args ...string) {
	t.Helper()
	ip(t, append([]string{"-n", string(h)}, args...)...)
}

func (h host) sh(t *testing.T, command string) string {
	t.Helper()
	return ip(t, "netns", "exec", string(h), "sh", "-c", command)
}

func (h host) addAddress(t *testing.T, address string) {
	t.Helper()
	args := []string{"addr", "add", address, "dev", "cable"}
	if strings.Contains(address, "::") {
		args = append(args, "nodad") // it is free
	}
	h.ip(t, args...)
}

// program is the program as a process on this host.
func (h host) program(t *testing.T, args ...string) (*exec.Cmd, *console) {
	t.Helper()
	return program(t, "ip", append([]string{"netns", "exec", string(h), os.Args[0]}, args...)...)
}

// families are the networks between two hosts.
var families = []struct {
	name, server, before, after string
	noRoutes                    string // prints how many packets had nowhere to go
}{
	{"IPv4", "10.77.0.1", "10.77.0.2/24", "10.77.0.3/24", "awk '$1 == \"Ip:\" { print $13 }' /proc/net/snmp | tail -n 1"},
	{"IPv6", "[fd77::1]", "fd77::2/64", "fd77::3/64", "awk '$1 == \"Ip6OutNoRoutes\" { print $2 }' /proc/net/snmp6"},
}

// TestAddressChanges sends a stream from one host to another, of which the
// sender's address changes in the midst: over UDP the connection survives.
func TestAddressChanges(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			streamBetweenHosts(t, f.server, func(sender host) {
				sender.addAddress(t, f.after)
				sender.ip(t, "addr", "del", f.before, "dev", "cable")
			}, func(host) {})
		})
	}
}

// TestNoRoute is the same with a sender that has no address, and so no route,
// for a while.
func TestNoRoute(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			streamBetweenHosts(t, f.server, func(sender host) {
				sender.ip(t, "addr", "del", f.before, "dev", "cable")
			}, func(sender host) {
				sender.awaitCount(t, f.noRoutes, 3)
				sender.addAddress(t, f.before)
			})
		})
	}
}

// streamBetweenHosts sends a stream over UDP, with something happening to the
// sender in the midst, and something more while the rest is being sent.
func streamBetweenHosts(t *testing.T, server string, midway, meanwhile func(sender host)) {
	is := is.New(t)
	first, second := newHosts(t)
	c := newCast(t)
	bob, bobErrs := first.program(t, c.asBob("cat", "listen", "udp://"+server+":0", "-v")...)
	received, err := bob.StdoutPipe()
	is.NoErr(err)
	is.NoErr(bob.Start())
	at := bobErrs.await(t, `msg=listening address=(\S+)`)

	alice, aliceErrs := second.program(t, c.asAlice("cat", "dial", at)...)
	send, err := alice.StdinPipe()
	is.NoErr(err)
	is.NoErr(alice.Start())
	const half = 2 << 20
	text := randomText(2 * half)
	got := make([]byte, 2*half)
	sent := make(chan error, 2)
	write := func(part string) {
		_, err := io.WriteString(send, part)
		sent <- err
	}
	go write(text[:half])
	_, err = io.ReadFull(received, got[:half])
	is.NoErr(err) // the first half
	is.NoErr(<-sent)
	midway(second)
	go write(text[half:])
	meanwhile(second)
	_, err = io.ReadFull(received, got[half:])
	is.NoErr(err) // the rest arrives all the same
	is.NoErr(<-sent)
	is.True(string(got) == text)
	is.NoErr(send.Close())
	rest, err := io.ReadAll(received)
	is.NoErr(err)
	is.Equal(len(rest), 0)
	if err := alice.Wait(); err != nil {
		t.Errorf("%v: %s", err, aliceErrs)
	}
	if err := bob.Wait(); err != nil {
		t.Errorf("%v: %s", err, bobErrs)
	}
}

// awaitCount waits until what command prints has grown by n.
func (h host) awaitCount(t *testing.T, command string, n int) {
	t.Helper()
	count := func() int {
		i, err := strconv.Atoi(strings.TrimSpace(h.sh(t, command)))
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	start, limit := count(), time.Now().Add(20*time.Second)
	for count() < start+n {
		if time.Now().After(limit) {
			t.Fatal("nothing happens")
		}
	}
}

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

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

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func (h host) ip(t *testing.T, args ...string) {
	t.Helper()
	ip(t, append([]string{"-n", string(h)}, args...)...)
}

func (h host) sh(t *testing.T, command string) {
	t.Helper()
	ip(t, "netns", "exec", string(h), "sh", "-c", command)
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

// TestAddressChanges sends a stream from one host to another, of which the
// sender's address changes in the midst: over UDP the connection survives.
func TestAddressChanges(t *testing.T) {
	for _, tc := range []struct{ family, server, before, after string }{
		{"IPv4", "10.77.0.1", "10.77.0.2/24", "10.77.0.3/24"},
		{"IPv6", "[fd77::1]", "fd77::2/64", "fd77::3/64"},
	} {
		t.Run(tc.family, func(t *testing.T) {
			is := is.New(t)
			first, second := newHosts(t)
			c := newCast(t)
			bob, bobErrs := first.program(t, c.asBob("cat", "listen", "udp://"+tc.server+":0", "-v")...)
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
			for i, part := range []string{text[:half], text[half:]} {
				sent := make(chan error, 1)
				go func() {
					_, err := io.WriteString(send, part)
					sent <- err
				}()
				_, err = io.ReadFull(received, got[i*half:][:half])
				is.NoErr(err) // it arrives, whichever address it comes from
				is.NoErr(<-sent)
				if i == 0 {
					second.addAddress(t, tc.after)
					second.ip(t, "addr", "del", tc.before, "dev", "cable")
				}
			}
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
		})
	}
}

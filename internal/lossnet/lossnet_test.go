package lossnet

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
)

const a, b = "10.0.0.1:1", "10.0.0.2:2"

// run sends packets 0 to 999, one a millisecond, and returns what arrives.
func run(t *testing.T, seed uint64, c Conditions) (got []string) {
	synctest.Test(t, func(t *testing.T) {
		n := New(seed, c)
		from, to := n.Listen(a), n.Listen(b)
		defer from.Close()
		defer to.Close()
		go func() {
			for i := range 1000 {
				from.WriteTo(fmt.Append(nil, i), to.LocalAddr())
				time.Sleep(time.Millisecond)
			}
			time.Sleep(time.Second)
			to.SetReadDeadline(time.Now())
		}()
		buf := make([]byte, 100)
		for {
			size, _, err := to.ReadFrom(buf)
			if err != nil {
				return
			}
			got = append(got, string(buf[:size]))
		}
	})
	return got
}

func TestPerfect(t *testing.T) {
	is := is.New(t)
	for _, delay := range []time.Duration{0, 20 * time.Millisecond} {
		got := run(t, 1, Conditions{Delay: delay})
		is.Equal(len(got), 1000)
		for i, p := range got {
			is.Equal(p, fmt.Sprint(i)) // in order
		}
	}
}

func TestConditions(t *testing.T) {
	is := is.New(t)
	c := Conditions{Delay: 20 * time.Millisecond, Loss: 0.05, Duplicate: 0.05, Reorder: 0.1}
	got := run(t, 1, c)
	is.Equal(got, run(t, 1, c)) // the seed decides
	is.True(!slices.Equal(got, run(t, 2, c)))

	seen := make(map[string]int)
	late, last := 0, -1
	for _, p := range got {
		seen[p]++
		var n int
		fmt.Sscan(p, &n)
		if n < last {
			late++
		}
		last = max(last, n)
	}
	is.True(len(seen) > 920 && len(seen) < 980)       // one in twenty is lost
	is.True(len(got)-len(seen) > 20)                  // some arrive twice
	is.True(late > 50)                                // some are overtaken
	is.Equal(len(run(t, 1, Conditions{Loss: 1})), 0)  // nothing passes
	is.Equal(len(run(t, 1, Conditions{MTU: 2})), 100) // 0 to 99
}

func TestRebindAndTap(t *testing.T) {
	is := is.New(t)
	n := New(1, Conditions{})
	from, to := n.Listen(a), n.Listen(b)
	defer to.Close()
	n.Rebind(from, "10.0.0.3:3")
	buf := make([]byte, 10)
	from.WriteTo([]byte("x"), to.LocalAddr())
	_, addr, err := to.ReadFrom(buf)
	is.NoErr(err)
	is.Equal(addr.String(), "10.0.0.3:3") // where it seems to come from
	n.Inject(b, a, []byte("lost"))        // nobody is there any more
	to.WriteTo([]byte("y"), addr)
	size, _, err := from.ReadFrom(buf)
	is.NoErr(err)
	is.Equal(string(buf[:size]), "y")
	is.NoErr(from.Close())
	_, _, err = from.ReadFrom(buf)
	is.Equal(err, net.ErrClosed)
	_, err = from.WriteTo(buf, to.LocalAddr())
	is.Equal(err, net.ErrClosed)
}

package main

import (
	"bytes"
	"encoding/xml"
	"io"
	"net"
	"os"
	"strings"
	"testing"
)

// TestMain lets the tests start this program's children.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "child" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestEveryCase runs all cases of the plan with next to nothing to do.
func TestEveryCase(t *testing.T) {
	t.Setenv("GORACE", "atexit_sleep_ms=0") // else every child takes a second to end
	r := &runner{divide: 5000, results: make(map[caseID][]float64), failed: make(map[caseID]error)}
	defer r.close()
	if err := r.prepare(comparisons); err != nil {
		t.Fatal(err)
	}
	r.runAll(comparisons, 1)
	for id, err := range r.failed {
		t.Errorf("%s: %s: %v", id.Workload, id.Impl, err)
	}
	if rows := r.rows(comparisons); len(rows) != len(comparisons) {
		t.Errorf("%d rows of %d comparisons", len(rows), len(comparisons))
	} else {
		printTable(io.Discard, rows)
	}
}

// TestPlan checks that every comparison names work that exists, with bounds in
// the right order.
func TestPlan(t *testing.T) {
	for _, c := range comparisons {
		for _, id := range c.cases() {
			if _, ok := workloads[id.Workload]; !ok {
				t.Errorf("no workload %q", id.Workload)
			}
		}
		if c.shown {
			continue
		}
		if better := c.reach >= c.hold; better == lower(c.workload) && c.reach != c.hold {
			t.Errorf("%s against %s: reach is easier than hold", c.workload, c.peer)
		}
	}
}

// TestImplementations sends a byte there and back on every stream
// implementation of the plan.
func TestImplementations(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range comparisons {
		for _, impl := range []string{c.ours, c.peer} {
			if seen[impl] || strings.HasPrefix(impl, "mangos") || strings.HasPrefix(impl, "sealed") || strings.HasPrefix(impl, "libzmq") {
				continue
			}
			seen[impl] = true
			t.Run(impl, func(t *testing.T) {
				l, err := listen(impl, t.TempDir())
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				echoed := make(chan error, 1)
				go func() {
					c, err := l.Accept()
					if err != nil {
						echoed <- err
						return
					}
					defer c.Close()
					_, err = io.CopyN(c, c, 1)
					if err == nil {
						_, err = c.Read(make([]byte, 1)) // until the other side has it
					}
					if err == io.EOF || strings.HasPrefix(impl, "kcp") {
						err = nil // KCP has no end
					}
					echoed <- err
				}()
				c, err := dial(impl, l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				if err := there(c); err != nil {
					t.Error(err)
				}
				c.Close()
				if strings.HasPrefix(impl, "kcp") {
					return
				}
				if err := <-echoed; err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func there(c net.Conn) error {
	if _, err := c.Write([]byte{7}); err != nil {
		return err
	}
	return awaitAck(c)
}

func TestMedianAndVerdict(t *testing.T) {
	if m := median([]float64{3, 1, 2}); m != 2 {
		t.Errorf("median of 1, 2, 3 is %v", m)
	}
	if m := median([]float64{4, 1, 2, 3}); m != 2.5 {
		t.Errorf("median of 1, 2, 3, 4 is %v", m)
	}
	for _, c := range []struct {
		row  row
		want string
	}{
		{row{Ratio: 2, Hold: 1, Reach: 2}, "reach"},
		{row{Ratio: 1.5, Hold: 1, Reach: 2}, "hold"},
		{row{Ratio: .9, Hold: 1, Reach: 2}, "MISSED"},
		{row{Ratio: .9, Hold: 1, Reach: .8, LowerIsBetter: true}, "hold"},
		{row{Ratio: 1.1, Hold: 1, Reach: .8, LowerIsBetter: true}, "MISSED"},
	} {
		if got := c.row.verdict(); got != c.want {
			t.Errorf("%+v: %s, not %s", c.row, got, c.want)
		}
	}
}

func TestChart(t *testing.T) {
	svg := chart([]row{{Workload: "a < b", Ours: "x", Peer: "y", Ratio: 2, Verdict: "hold", Headline: true}})
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		_, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

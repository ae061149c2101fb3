package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"
)

// caseTimeout bounds one case: two processes that should need a few seconds.
const caseTimeout = 2 * time.Minute

// runner runs cases and collects what they measured.
type runner struct {
	divide  int    // how much less work than the whole
	zmq     string // the libzmq program, if it could be built
	tmp     string
	results map[caseID][]float64
	failed  map[caseID]error
}

// prepare builds what is not in this program.
func (r *runner) prepare(plan []comparison) error {
	var err error
	if r.tmp, err = os.MkdirTemp("", "securesp-bench"); err != nil {
		return err
	}
	for _, c := range plan {
		if strings.HasPrefix(c.peer, "libzmq") {
			if r.zmq, err = buildZMQ(r.tmp); err != nil {
				fmt.Fprintln(os.Stderr, "no libzmq rows:", err)
			}
			return nil
		}
	}
	return nil
}

func (r *runner) close() { os.RemoveAll(r.tmp) }

// runAll runs every case of the plan once a round.
func (r *runner) runAll(plan []comparison, rounds int) {
	var all []caseID
	for _, c := range plan {
		for _, id := range c.cases() {
			if !slices.Contains(all, id) {
				all = append(all, id)
			}
		}
	}
	done, total := 0, rounds*len(all)
	for round := range rounds {
		if !onTerminal {
			fmt.Fprintf(os.Stderr, "round %d of %d, %d cases\n", round+1, rounds, len(all))
		}
		for _, id := range all {
			done++
			progress("%3d/%d  %s: %s", done, total, id.Workload, id.Impl)
			r.measure(id)
		}
	}
	progress("")
}

// onTerminal is whether somebody watches.
var onTerminal = term.IsTerminal(int(os.Stderr.Fd()))

// progress shows one line in the place of the last.
func progress(format string, args ...any) {
	if onTerminal {
		fmt.Fprintf(os.Stderr, "\r\x1b[K"+format, args...)
	}
}

// measure runs one case once. A case that has failed is not tried again.
func (r *runner) measure(id caseID) {
	if r.failed[id] != nil {
		return
	}
	v, err := r.runCase(id)
	if err != nil {
		r.failed[id] = err
		progress("")
		fmt.Fprintf(os.Stderr, "%s: %s: %v\n", id.Workload, id.Impl, err)
		return
	}
	r.results[id] = append(r.results[id], v)
}

// runCase starts the receiving process, then the sending one, and returns the
// figure that one of them prints.
func (r *runner) runCase(id caseID) (float64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), caseTimeout)
	defer cancel()
	name, args := os.Args[0], []string{"child"}
	if strings.HasPrefix(id.Impl, "libzmq") {
		if r.zmq == "" {
			return 0, errors.New("libzmq is not installed")
		}
		name, args = r.zmq, nil
	}
	start := func(role, address string) (*exec.Cmd, *bufio.Reader, error) {
		name, args := name, args
		if role == "awake" { // which libzmq's program has not
			name, args = os.Args[0], []string{"child"}
		}
		cmd := exec.CommandContext(ctx, name, append(slices.Clone(args), role, id.Workload, id.Impl, fmt.Sprint(r.divide), r.tmp, address)...)
		cmd.Stderr = os.Stderr
		if id.Impl == "tls ChaCha" {
			// crypto/tls lets nobody choose; without AES
			// instructions both its sides prefer ChaCha20-Poly1305.
			cmd.Env = append(os.Environ(), "GODEBUG=cpu.aes=off")
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			return nil, nil, err
		}
		return cmd, bufio.NewReader(out), cmd.Start()
	}
	server, serverOut, err := start("server", "")
	if err != nil {
		return 0, err
	}
	defer server.Wait()
	defer server.Process.Kill()
	address, err := serverOut.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("the receiver did not start: %w", err)
	}
	if workloads[id.Workload].path != (path{}) {
		between, out, err := start("relay", strings.TrimSpace(address))
		if err != nil {
			return 0, err
		}
		defer between.Wait()
		defer between.Process.Kill()
		if address, err = out.ReadString('\n'); err != nil {
			return 0, fmt.Errorf("the relay did not start: %w", err)
		}
	}
	if workloads[id.Workload].unit == "µs" {
		awake, _, err := start("awake", "")
		if err != nil {
			return 0, err
		}
		defer awake.Wait()
		defer awake.Process.Kill()
	}
	client, clientOut, err := start("client", strings.TrimSpace(address))
	if err != nil {
		return 0, err
	}
	line, readErr := clientOut.ReadString('\n')
	io.Copy(io.Discard, clientOut)
	if err := client.Wait(); err != nil {
		return 0, err
	}
	if readErr != nil {
		return 0, readErr
	}
	var v float64
	if err := json.Unmarshal([]byte(line), &v); err != nil {
		return 0, err
	}
	if workloads[id.Workload].unit == "CPU µs" {
		server.Process.Kill()
		server.Wait()
		v = (cpuTime(server) + cpuTime(client)) / v
	}
	return v, nil
}

// cpuTime returns the processor time in µs of a process that has ended.
func cpuTime(c *exec.Cmd) float64 {
	return float64((c.ProcessState.UserTime() + c.ProcessState.SystemTime()).Nanoseconds()) / 1e3
}

// row is one ratio of the table.
type row struct {
	Workload, Ours, Peer string
	Unit                 string
	OursMedian           float64
	PeerMedian           float64
	Ratio, Min, Max      float64 // the median ratio of the rounds and their spread
	Hold, Reach          float64
	Difference           bool // Ratio, Min and Max are ours minus the peer's
	LowerIsBetter        bool
	Headline             bool
	Verdict              string
}

// rows works the ratios out, round by round.
func (r *runner) rows(plan []comparison) []row {
	var rows []row
	for _, c := range plan {
		ids := c.cases()
		ours, peers := r.results[ids[0]], r.results[ids[1]]
		n := min(len(ours), len(peers))
		if n == 0 {
			continue
		}
		ratios := make([]float64, n)
		for i := range n {
			ratios[i] = ours[i] / peers[i]
			if c.minus {
				ratios[i] = ours[i] - peers[i]
			}
		}
		w := row{
			Workload: c.workload, Ours: c.ours, Peer: c.peer, Unit: workloads[c.workload].unit,
			OursMedian: median(ours), PeerMedian: median(peers),
			Ratio: median(ratios), Min: slices.Min(ratios), Max: slices.Max(ratios),
			Hold: c.hold, Reach: c.reach, Difference: c.minus, LowerIsBetter: lower(c.workload), Headline: c.headline,
		}
		if w.Verdict = w.verdict(); c.shown {
			w.Verdict = "–"
		}
		rows = append(rows, w)
	}
	return rows
}

func (w row) verdict() string {
	switch {
	case w.meets(w.Reach):
		return "reach"
	case w.meets(w.Hold):
		return "hold"
	}
	return "MISSED"
}

func (w row) meets(bound float64) bool {
	if w.LowerIsBetter {
		return w.Ratio <= bound
	}
	return w.Ratio >= bound
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if len(v)%2 == 1 {
		return v[len(v)/2]
	}
	return (v[len(v)/2-1] + v[len(v)/2]) / 2
}

func printTable(w io.Writer, rows []row) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer t.Flush()
	fmt.Fprintln(t, "workload\tours\tagainst\tratio\t(min–max)\thold\treach\t\tmedians")
	for _, r := range rows {
		figure := r.figure()
		fmt.Fprintf(t, "%s\t%s\t%s\t"+figure+"\t("+figure+"–"+figure+")\t%s\t%s\t%s\t%.4g / %.4g %s\n",
			r.Workload, r.Ours, r.Peer, r.Ratio, r.Min, r.Max, r.bound(r.Hold), r.bound(r.Reach), r.Verdict,
			r.OursMedian, r.PeerMedian, r.Unit)
	}
}

// bound prints a bound on the ratio, if there is one.
func (w row) bound(v float64) string {
	sign := "≥"
	if w.LowerIsBetter {
		sign = "≤"
	}
	if w.Verdict == "–" {
		return ""
	}
	return fmt.Sprintf("%s %.4g", sign, v)
}

// figure is the verb that prints the row's ratio or difference.
func (w row) figure() string {
	if w.Difference {
		return "%+.0f"
	}
	return "%.2f"
}

// markdown returns the rows as a table.
func markdown(rows []row) []byte {
	var b bytes.Buffer
	b.WriteString("| workload | ours | against | ratio (min–max) | hold | reach | |\n|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		f := r.figure()
		fmt.Fprintf(&b, "| %s | %s | %s | "+f+" ("+f+"–"+f+") | %s | %s | %s |\n",
			r.Workload, r.Ours, r.Peer, r.Ratio, r.Min, r.Max, r.bound(r.Hold), r.bound(r.Reach), r.Verdict)
	}
	return b.Bytes()
}

// noiseMargin is how far below its bound a ratio of the quick run may fall
// before it counts: these runs are short and machines are shared. The same
// ratio was seen to vary by a factor of 1.7 from one run to the next.
const noiseMargin = .6

// guard fails if a ratio is clearly below its bound, after another try.
func (r *runner) guard(plan []comparison, rows []row) error {
	var bad []string
	for _, w := range rows {
		bound := w.Hold * noiseMargin
		if w.LowerIsBetter {
			bound = w.Hold / noiseMargin
		}
		if w.meets(bound) {
			continue
		}
		again := slices.DeleteFunc(slices.Clone(plan), func(c comparison) bool {
			return c.workload != w.Workload || c.ours != w.Ours || c.peer != w.Peer
		})
		second := &runner{divide: r.divide, zmq: r.zmq, tmp: r.tmp, results: make(map[caseID][]float64), failed: make(map[caseID]error)}
		second.runAll(again, 5)
		rows := second.rows(again)
		printTable(os.Stdout, rows)
		if len(rows) == 0 || !rows[0].meets(bound) {
			bad = append(bad, fmt.Sprintf("%s against %s", w.Workload, w.Peer))
		}
	}
	if len(r.failed) > 0 {
		bad = append(bad, fmt.Sprintf("%d cases that did not run", len(r.failed)))
	}
	if len(bad) > 0 {
		return fmt.Errorf("clearly slower than promised: %s", strings.Join(bad, "; "))
	}
	return nil
}

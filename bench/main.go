// Command bench measures securesp against what its users would pick instead,
// on the same work, in the same run, and prints a table of ratios.
//
//	go run -C bench .            # everything, half an hour
//	go run -C bench . -quick     # two minutes, for CI: fails if a ratio is far below its bound
//
// Every case is two processes, sender and receiver, on loopback. The cases of
// one round run one after the other and the rounds are repeated, so that ratios
// are of neighbours in time. Absolute figures depend on the machine; only the
// ratios are meant to be quoted.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "child" {
		if err := child(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	quick := flag.Bool("quick", false, "less work, the guarded comparisons only, and a verdict")
	rounds := flag.Int("rounds", 5, "how often each case runs")
	only := flag.String("only", "", "regular expression: only these workloads")
	out := flag.String("out", "", "directory for results.json, table.md and chart.svg")
	flag.Parse()

	filter, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	plan := comparisons
	if *quick {
		plan = guarded(plan)
	}
	plan = matching(plan, filter)
	r := &runner{divide: 1, results: make(map[caseID][]float64), failed: make(map[caseID]error)}
	if *quick {
		r.divide = 4
	}
	defer r.close()
	if err := r.prepare(plan); err != nil {
		return err
	}
	r.runAll(plan, *rounds)
	rows := r.rows(plan)
	printTable(os.Stdout, rows)
	if *out != "" {
		if err := writeResults(*out, rows); err != nil {
			return err
		}
	}
	if *quick {
		return r.guard(plan, rows)
	}
	return nil
}

// writeResults writes the rows as JSON, as Markdown and as a chart.
func writeResults(dir string, rows []row) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	report := struct {
		Date, Go, Machine string
		CPUs              int
		Rows              []row
	}{time.Now().UTC().Format(time.DateOnly), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH, runtime.NumCPU(), rows}
	text, err := json.MarshalIndent(report, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "results.json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "table.md"), markdown(rows), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "chart.svg"), chart(rows), 0o644)
}

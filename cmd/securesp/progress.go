package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// longTransfer is the size from which a transfer is worth a progress bar.
const longTransfer = 4 << 20

// progress shows on a terminal how far a long transfer is. The nil value shows
// nothing.
type progress struct {
	terminal io.Writer
	start    time.Time

	mu     sync.Mutex
	shown  *meter // the first that had something to show
	bar    *progressbar.ProgressBar
	closed bool
}

// meter counts one direction.
type meter struct {
	*progress
	verb  string
	total int64 // -1 if unknown
	done  int64
}

// progress returns what shows transfers, nil unless standard error is a
// terminal.
func (s stdio) progress() *progress {
	if !isTerminal(s.err) {
		return nil
	}
	return &progress{terminal: s.err, start: time.Now()}
}

// input returns in, or a reader that shows how much it has provided. What
// comes from a terminal is typed, so not a transfer.
func (p *progress) input(in io.Reader, verb string, total int64) io.Reader {
	if p == nil || isTerminal(in) {
		return in
	}
	return io.TeeReader(in, &meter{progress: p, verb: verb, total: total})
}

// output is input for a writer.
func (p *progress) output(out io.Writer, verb string) io.Writer {
	if p == nil || isTerminal(out) {
		return out
	}
	return io.MultiWriter(out, &meter{progress: p, verb: verb, total: -1})
}

// sizeOf returns how much is left to read of a regular file, or -1.
func sizeOf(in io.Reader) int64 {
	f, ok := in.(*os.File)
	if !ok {
		return -1
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return -1
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return -1
	}
	return max(info.Size()-at, 0)
}

// Write counts b.
func (m *meter) Write(b []byte) (int, error) {
	p := m.progress
	p.mu.Lock()
	defer p.mu.Unlock()
	m.done += int64(len(b))
	switch {
	case p.closed:
	case p.shown == m:
		_ = p.bar.Add(len(b)) // a bar that fails to show is no reason to fail
	case p.shown == nil && (m.total >= longTransfer || m.done >= longTransfer):
		p.shown = m
		p.bar = progressbar.NewOptions64(m.total,
			progressbar.OptionSetWriter(p.terminal),
			progressbar.OptionShowBytes(true),
			progressbar.OptionUseIECUnits(true),
			progressbar.OptionShowTotalBytes(true),
			progressbar.OptionSetWidth(30),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetSpinnerChangeInterval(0), // a goroutine otherwise
			progressbar.OptionSpinnerType(14),
		)
		_ = p.bar.Add64(m.done)
	}
	return len(b), nil
}

// clear takes the bar, if there is one, off the terminal, for good.
func (p *progress) clear() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed = true; p.bar != nil {
		_ = p.bar.Clear()
	}
}

// finish replaces the bar, if there is one, by a line that sums up.
func (p *progress) finish() {
	p.clear()
	if p == nil || p.shown == nil { // nothing changes any more
		return
	}
	elapsed := time.Since(p.start)
	fmt.Fprintf(p.terminal, "%s %s in %s (%s/s)\n", p.shown.verb, formatSize(float64(p.shown.done)),
		formatTime(elapsed), formatSize(float64(p.shown.done)/elapsed.Seconds()))
}

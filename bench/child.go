package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// task is what a child process is told to do.
type task struct {
	workload workload
	size     int
	count    int
	impl     string
	tmp      string
	address  string
}

// workload is one kind of work. Exactly one of the pairs of functions is set.
type workload struct {
	unit    string
	size    int // of a message or write
	count   int // of messages, writes or repetitions
	server  func(task, net.Conn) error
	client  func(task) (float64, error)
	mangos  string // pattern, for mangos' own sockets
	senders int
	path    path // between the two processes, for UDP
}

var workloads = map[string]workload{
	"bulk 1 MiB":                 {unit: "MB/s", size: 1 << 20, count: 1024, server: drain, client: sendBulk},
	"bulk 64 KiB":                {unit: "MB/s", size: 64 << 10, count: 16 << 10, server: drain, client: sendBulk},
	"io.Copy file":               {unit: "MB/s", size: 1 << 20, count: 1024, server: drainCopy, client: sendFile},
	"messages 64 B":              {unit: "msg/s", size: 64, count: 4_000_000, server: drainMessages, client: sendMessages, senders: 1},
	"messages 64 B, 8 senders":   {unit: "msg/s", size: 64, count: 2_000_000, server: drainMessages, client: sendMessages, senders: 8},
	"messages 1 KiB":             {unit: "msg/s", size: 1 << 10, count: 1_000_000, server: drainMessages, client: sendMessages, senders: 1},
	"messages 1 KiB, 8 senders":  {unit: "msg/s", size: 1 << 10, count: 1_000_000, server: drainMessages, client: sendMessages, senders: 8},
	"messages 64 KiB, 8 senders": {unit: "msg/s", size: 64 << 10, count: 16 << 10, server: drainMessages, client: sendMessages, senders: 8},
	"messages 64 KiB":            {unit: "msg/s", size: 64 << 10, count: 16 << 10, server: drainMessages, client: sendMessages, senders: 1},
	"ping-pong 64 B":             {unit: "µs", size: 64, count: 30_000, server: echo, client: pingPong},
	"handshake":                  {unit: "µs", count: 1_000, server: greet, client: handshakes},
	"idle heap":                  {unit: "bytes", count: 5_000, server: echo, client: idle},
	"bulk, 1 % loss, 20 ms":      {unit: "MB/s", size: 64 << 10, count: 128, server: drain, client: sendBulk, path: path{.01, 10 * time.Millisecond}},
	"bulk, 5 % loss, 20 ms":      {unit: "MB/s", size: 64 << 10, count: 48, server: drain, client: sendBulk, path: path{.05, 10 * time.Millisecond}},
	"mangos PUSH/PULL 64 B":      {unit: "msg/s", size: 64, count: 1_000_000, mangos: "push"},
	"mangos PUSH/PULL 1 KiB":     {unit: "msg/s", size: 1 << 10, count: 500_000, mangos: "push"},
	"mangos PAIR 64 B":           {unit: "msg/s", size: 64, count: 1_000_000, mangos: "pair"},
	"mangos PAIR 1 KiB":          {unit: "msg/s", size: 1 << 10, count: 500_000, mangos: "pair"},
	"mangos REQ/REP 64 B":        {unit: "µs", size: 64, count: 20_000, mangos: "req"},
	"mangos REQ/REP 64 B, CPU":   {unit: "CPU µs", size: 64, count: 50_000, mangos: "req"},
	"mangos REQ/REP ×16, CPU":    {unit: "CPU µs", size: 64, count: 200_000, mangos: "req", senders: 16},
}

// child does one side of one case: role, workload, implementation, by how much
// to divide the work, a directory, and the client's address.
func child(args []string) error {
	if len(args) != 6 {
		return errors.New("bad arguments")
	}
	w, ok := workloads[args[1]]
	if !ok {
		return fmt.Errorf("no workload %q", args[1])
	}
	divide, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	t := task{workload: w, size: w.size, count: max(w.count/divide, 1), impl: args[2], tmp: args[4], address: args[5]}
	t.count = t.adjusted()
	switch args[0] {
	case "awake":
		return stayAwake()
	case "server":
		return t.serve()
	case "relay":
		return relay(t.address, w.path)
	}
	v, err := t.measure()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(v)
}

// adjusted gives implementations that make a system call a message less to do,
// so that a case takes seconds.
func (t task) adjusted() int {
	if t.workload.unit == "msg/s" && t.size < 32<<10 && (isTLS(t.impl) || t.impl == "mangos tls+tcp" || t.impl == "mangos tcp" || t.impl == "mangos ipc") {
		return max(t.count/8, 1)
	}
	if strings.HasPrefix(t.impl, "sealed-full") {
		return max(t.count/16, 1) // public-key operations each time
	}
	return t.count
}

// stayAwake spins on every processor, with what time nobody else wants, until
// it is killed: a processor that has gone to sleep wakes up late, which makes
// latencies a matter of luck.
func stayAwake() error {
	for range runtime.NumCPU() {
		go func() {
			runtime.LockOSThread()
			yieldToAll()
			for spin := 0; ; spin++ { // never blocks
			}
		}()
	}
	select {}
}

// serve listens, prints the address and serves until it is killed.
func (t task) serve() error {
	if t.workload.mangos != "" {
		return t.serveMangos()
	}
	l, err := listen(t.impl, t.tmp)
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			if err := t.workload.server(t, c); err != nil && !errors.Is(err, io.EOF) {
				fmt.Fprintln(os.Stderr, "bench: receiver:", err)
			}
		}()
	}
}

func (t task) measure() (float64, error) {
	if t.workload.mangos != "" {
		return t.measureMangos()
	}
	return t.workload.client(t)
}

// transfer times send, which makes the receiver get total bytes, until the
// receiver's acknowledgement. A tenth of the work, first, warms up.
func (t task) transfer(send func(c net.Conn, count int) error) (time.Duration, error) {
	c, err := dial(t.impl, t.address)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	var took time.Duration
	for _, count := range []int{max(t.count/10, 1), t.count} {
		start := time.Now()
		if err := send(c, count); err != nil {
			return 0, err
		}
		if err := awaitAck(c); err != nil {
			return 0, err
		}
		took = time.Since(start)
	}
	return took, nil
}

func awaitAck(c net.Conn) error {
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

// phases returns how many bytes a receiver gets before each acknowledgement.
func (t task) phases() []int {
	return []int{max(t.count/10, 1) * t.size, t.count * t.size}
}

// drain receives with large reads.
func drain(t task, c net.Conn) error {
	buf := make([]byte, 1<<20)
	for _, left := range t.phases() {
		for left > 0 {
			n, err := c.Read(buf[:min(len(buf), left)])
			if left -= n; err != nil && left > 0 {
				return err
			}
		}
		if _, err := c.Write([]byte{1}); err != nil {
			return err
		}
	}
	return awaitAck(c)
}

// drainCopy receives with io.Copy.
func drainCopy(t task, c net.Conn) error {
	for _, left := range t.phases() {
		if _, err := io.CopyN(io.Discard, c, int64(left)); err != nil {
			return err
		}
		if _, err := c.Write([]byte{1}); err != nil {
			return err
		}
	}
	return awaitAck(c)
}

func megabytes(bytes int, d time.Duration) float64 { return float64(bytes) / d.Seconds() / 1e6 }

func sendBulk(t task) (float64, error) {
	p := make([]byte, t.size)
	took, err := t.transfer(func(c net.Conn, count int) error {
		for range count {
			if _, err := c.Write(p); err != nil {
				return err
			}
		}
		return nil
	})
	return megabytes(t.count*t.size, took), err
}

// sendFile sends a real file, whose pages are in memory, with io.Copy.
func sendFile(t task) (float64, error) {
	path := filepath.Join(t.tmp, "file")
	if err := os.WriteFile(path, make([]byte, t.count*t.size/8), 0o600); err != nil {
		return 0, err
	}
	defer os.Remove(path)
	took, err := t.transfer(func(c net.Conn, count int) error {
		for left := int64(count * t.size); left > 0; {
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			n, err := io.Copy(c, io.LimitReader(f, left))
			left -= n
			f.Close()
			if err != nil {
				return err
			}
		}
		return nil
	})
	return megabytes(t.count*t.size, took), err
}

// messenger is a connection that keeps message boundaries.
type messenger interface {
	WriteMessage(parts ...[]byte) error
	ReadMessage(dst []byte) ([]byte, error)
}

// drainMessages receives message by message: through a buffer where the
// connection itself keeps no boundaries.
func drainMessages(t task, c net.Conn) error {
	var next func() error
	if m, ok := c.(messenger); ok {
		var buf []byte
		next = func() (err error) {
			buf, err = m.ReadMessage(buf[:0])
			return err
		}
	} else {
		r, buf := bufio.NewReaderSize(c, 64<<10), make([]byte, t.size)
		next = func() error {
			_, err := io.ReadFull(r, buf)
			return err
		}
	}
	for _, left := range t.phases() {
		for range left / t.size {
			if err := next(); err != nil {
				return err
			}
		}
		if _, err := c.Write([]byte{1}); err != nil {
			return err
		}
	}
	return awaitAck(c)
}

// sendMessages sends message by message, from one or several goroutines.
func sendMessages(t task) (float64, error) {
	p := make([]byte, t.size)
	took, err := t.transfer(func(c net.Conn, count int) error {
		send := func() error { _, err := c.Write(p); return err }
		flush := func() error { return nil }
		if m, ok := c.(messenger); ok {
			parts := [][]byte{p} // behind an interface, arguments are allocated
			send = func() error { return m.WriteMessage(parts...) }
		} else if t.impl == "raw bufio" {
			w := bufio.NewWriterSize(c, 64<<10)
			send = func() error { _, err := w.Write(p); return err }
			flush = w.Flush
		}
		var senders sync.WaitGroup
		errs := make([]error, t.workload.senders)
		for i := range errs {
			share := count / len(errs)
			if i == 0 {
				share += count % len(errs)
			}
			senders.Go(func() {
				for range share {
					if errs[i] = send(); errs[i] != nil {
						return
					}
				}
			})
		}
		senders.Wait()
		return errors.Join(append(errs, flush())...)
	})
	return float64(t.count) / took.Seconds(), err
}

func echo(t task, c net.Conn) error {
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return err
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return err
		}
	}
}

// pingPong returns the median round trip.
func pingPong(t task) (float64, error) {
	c, err := dial(t.impl, t.address)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	p := make([]byte, t.size)
	trips := make([]time.Duration, 0, t.count)
	for i := range t.count + t.count/10 {
		start := time.Now()
		if _, err := c.Write(p); err != nil {
			return 0, err
		}
		if _, err := io.ReadFull(c, p); err != nil {
			return 0, err
		}
		if i >= t.count/10 {
			trips = append(trips, time.Since(start))
		}
	}
	return medianMicroseconds(trips), nil
}

func medianMicroseconds(d []time.Duration) float64 {
	slices.Sort(d)
	return float64(d[len(d)/2].Nanoseconds()) / 1e3
}

// greet sends a byte once the handshake is done, and waits for the end.
func greet(t task, c net.Conn) error {
	if _, err := c.Write([]byte{1}); err != nil {
		return err
	}
	_, err := c.Read(make([]byte, 1))
	return err
}

// handshakes returns the median time from dialing to the peer's first byte.
func handshakes(t task) (float64, error) {
	times := make([]time.Duration, 0, t.count)
	for range t.count {
		start := time.Now()
		c, err := dial(t.impl, t.address)
		if err != nil {
			return 0, err
		}
		if err := awaitAck(c); err != nil {
			return 0, err
		}
		times = append(times, time.Since(start))
		c.Close()
	}
	return medianMicroseconds(times), nil
}

// idle returns the heap that one end of a connection holds after traffic.
func idle(t task) (float64, error) {
	heap := func() float64 {
		for range 4 { // pools empty over two cycles
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) + float64(m.StackInuse)
	}
	conns := make([]net.Conn, 0, t.count)
	before := heap()
	buf := make([]byte, 4096)
	for range t.count {
		c, err := dial(t.impl, t.address)
		if err != nil {
			return 0, err
		}
		conns = append(conns, c)
		for _, size := range []int{64, 4096} {
			if _, err := c.Write(buf[:size]); err != nil {
				return 0, err
			}
			if _, err := io.ReadFull(c, buf[:size]); err != nil {
				return 0, err
			}
		}
	}
	per := (heap() - before) / float64(len(conns))
	for _, c := range conns {
		c.Close()
	}
	return per, nil
}

package main

import "regexp"

// caseID is one thing to measure: a workload on an implementation.
type caseID struct{ Workload, Impl string }

// comparison is one ratio: ours to the peer's, on the same workload, unless
// peerWorkload says otherwise.
type comparison struct {
	workload     string
	ours, peer   string
	peerWorkload string
	hold, reach  float64 // bounds on the ratio
	minus        bool    // the bounds are on the difference instead
	shown        bool    // for comparison only: there are no bounds
	guard        bool    // part of the quick run
	headline     bool    // part of the chart
}

func (c comparison) cases() [2]caseID {
	w := c.peerWorkload
	if w == "" {
		w = c.workload
	}
	return [2]caseID{{c.workload, c.ours}, {w, c.peer}}
}

// lower reports whether less is better.
func lower(workload string) bool {
	switch workloads[workload].unit {
	case "µs", "CPU µs", "bytes":
		return true
	}
	return false
}

// comparisons are the bounds that the project has set itself: "hold" must be
// met, "reach" is the ambition.
var comparisons = []comparison{
	{workload: "bulk 1 MiB", ours: "securesp tcp AES", peer: "raw tcp", hold: .47, reach: .60, guard: true, headline: true},
	{workload: "bulk 1 MiB", ours: "securesp tcp AES", peer: "tls AES-128", hold: 1.5, reach: 2.0, guard: true, headline: true},
	{workload: "bulk 1 MiB", ours: "securesp tcp AES", peer: "libp2p noise", hold: 1.5, reach: 1.8, headline: true},
	{workload: "bulk 1 MiB", ours: "securesp tcp AES", peer: "libzmq CURVE", hold: 1.6, reach: 1.8, headline: true},
	{workload: "bulk 1 MiB", ours: "securesp tcp ChaCha", peer: "tls ChaCha", hold: 1.5, reach: 1.9},
	{workload: "bulk 1 MiB", ours: "securesp unix AES", peer: "tls unix", hold: 1.6, reach: 2.0},
	{workload: "bulk 1 MiB", ours: "securesp unix AES", peer: "raw unix", hold: .37, reach: .5},
	{workload: "io.Copy file", ours: "securesp tcp AES", peer: "tls AES-128", hold: 1.6, reach: 1.8, guard: true},
	{workload: "bulk 64 KiB", ours: "securesp tcp AES", peer: "raw tcp", hold: .48, reach: .8},
	{workload: "bulk 64 KiB", ours: "securesp tcp AES", peer: "tls AES-128", hold: 1.5, reach: 1.6, guard: true},
	{workload: "messages 1 KiB", ours: "securesp tcp AES", peer: "tls AES-128", hold: 8, reach: 10, guard: true, headline: true},
	{workload: "messages 1 KiB", ours: "securesp tcp AES", peer: "libzmq NULL", hold: 1.7, reach: 2, headline: true},
	{workload: "messages 1 KiB", ours: "securesp tcp AES", peer: "libzmq CURVE", hold: 4, reach: 5, headline: true},
	{workload: "messages 64 B", ours: "securesp tcp AES", peer: "raw bufio", hold: .9, reach: 1},
	{workload: "messages 64 B", ours: "securesp tcp AES", peer: "tls AES-128", hold: 50, reach: 90, guard: true, headline: true},
	{workload: "messages 64 B", ours: "securesp tcp AES", peer: "libzmq NULL", hold: 3.5, reach: 5, headline: true},
	{workload: "messages 64 B", ours: "securesp tcp AES", peer: "libzmq CURVE", hold: 12, reach: 15, headline: true},
	{workload: "messages 64 B, 8 senders", ours: "securesp tcp AES", peer: "tls AES-128", hold: 8, reach: 20},
	{workload: "messages 1 KiB, 8 senders", ours: "securesp tcp AES", peer: "tls AES-128", hold: 6, reach: 10},
	{workload: "messages 64 KiB, 8 senders", ours: "securesp tcp AES", peer: "tls AES-128", hold: 1.5, reach: 1.6},
	{workload: "messages 64 KiB", ours: "securesp tcp AES", peer: "tls AES-128", hold: 1.5, reach: 1.6},
	{workload: "ping-pong 64 B", ours: "securesp tcp AES", peer: "raw tcp", hold: 1.35, reach: 1.05},
	{workload: "ping-pong 64 B", ours: "securesp tcp AES", peer: "tls AES-128", hold: 1.0, reach: .9, guard: true, headline: true},
	{workload: "ping-pong 64 B", ours: "securesp tcp AES", peer: "libzmq CURVE", hold: .4, reach: .35},
	{workload: "messages 64 B", ours: "securesp unix AES", peer: "tls unix", hold: 50, reach: 90},
	{workload: "messages 1 KiB", ours: "securesp unix AES", peer: "tls unix", hold: 8, reach: 10},
	{workload: "ping-pong 64 B", ours: "securesp unix AES", peer: "tls unix", hold: 1.0, reach: .9},
	{workload: "handshake", ours: "securesp tcp AES", peer: "tls AES-128", hold: 1.0, reach: .8, guard: true, headline: true},
	{workload: "handshake", ours: "securesp tcp classical XX", peer: "tls X25519", hold: .9, reach: .8},
	{workload: "handshake", ours: "securesp tcp classical XX", peer: "libp2p noise", hold: .45, reach: .4, headline: true},
	{workload: "idle heap", ours: "securesp tcp AES", peer: "raw tcp", minus: true, hold: 4096, reach: 2765},
	{workload: "idle heap", ours: "tls AES-128", peer: "raw tcp", minus: true, shown: true},
	{workload: "idle heap", ours: "securesp udp AES", peer: "quic-go", minus: true, hold: 6144, reach: 4096},
	{workload: "bulk 1 MiB", ours: "securesp udp AES", peer: "quic-go", hold: .88, reach: .97, headline: true},
	{workload: "bulk 1 MiB", ours: "securesp udp AES", peer: "kcp-go AES", hold: 1.4, reach: 1.8, headline: true},
	{workload: "bulk 1 MiB", ours: "securesp udp AES", peer: "x/net/quic", hold: 2.5, reach: 3},
	{workload: "bulk, 1 % loss, 20 ms", ours: "securesp udp AES", peer: "quic-go", hold: .9, reach: 1},
	{workload: "bulk, 5 % loss, 20 ms", ours: "securesp udp AES", peer: "quic-go", hold: .9, reach: 1},
	{workload: "ping-pong 64 B", ours: "securesp udp AES", peer: "quic-go", hold: 1.15, reach: 1.05},
	{workload: "handshake", ours: "securesp udp AES", peer: "quic-go", hold: 1.8, reach: 1.4},
	{workload: "mangos PUSH/PULL 64 B", ours: "mangos securesp+tcp", peer: "mangos tcp", hold: 4, reach: 5, guard: true, headline: true},
	{workload: "mangos PUSH/PULL 64 B", ours: "mangos securesp+tcp", peer: "mangos tls+tcp", hold: 9, reach: 13, headline: true},
	{workload: "mangos PUSH/PULL 1 KiB", ours: "mangos securesp+tcp", peer: "mangos tcp", hold: 2.7, reach: 3.2},
	{workload: "mangos PUSH/PULL 1 KiB", ours: "mangos securesp+tcp", peer: "mangos tls+tcp", hold: 6, reach: 7},
	{workload: "mangos PAIR 64 B", ours: "mangos securesp+tcp", peer: "mangos tcp", hold: 4, reach: 5},
	{workload: "mangos PAIR 64 B", ours: "mangos securesp+tcp", peer: "mangos tls+tcp", hold: 9, reach: 13},
	{workload: "mangos PAIR 1 KiB", ours: "mangos securesp+tcp", peer: "mangos tcp", hold: 2.7, reach: 3.2},
	{workload: "mangos PAIR 1 KiB", ours: "mangos securesp+tcp", peer: "mangos tls+tcp", hold: 6, reach: 7},
	{workload: "mangos PUSH/PULL 64 B", ours: "mangos securesp+ipc", peer: "mangos ipc", hold: 4, reach: 5},
	{workload: "mangos PUSH/PULL 1 KiB", ours: "mangos securesp+ipc", peer: "mangos ipc", hold: 2.7, reach: 3.2},
	{workload: "mangos REQ/REP 64 B", ours: "mangos securesp+tcp", peer: "mangos tcp", hold: .9, reach: .75},
	{workload: "mangos REQ/REP 64 B", ours: "mangos securesp+tcp", peer: "mangos tls+tcp", hold: .75, reach: .6, headline: true},
	{workload: "mangos REQ/REP 64 B", ours: "mangos securesp+ipc", peer: "mangos ipc", hold: .9, reach: .75},
	// Sealed end to end, with tickets and without. With one request at a
	// time much of what the processes spend is the runtime's, on looking for
	// work and going to sleep; with sixteen they have work.
	{workload: "mangos REQ/REP ×16, CPU", ours: "sealed tcp", peer: "mangos tcp", minus: true, hold: 10, reach: 7},
	{workload: "mangos REQ/REP 64 B, CPU", ours: "sealed tcp", peer: "mangos tcp", minus: true, hold: 10, reach: 7},
	{workload: "mangos REQ/REP 64 B, CPU", ours: "sealed tcp", peer: "mangos securesp+tcp", minus: true, shown: true},
	{workload: "mangos REQ/REP 64 B, CPU", ours: "sealed-full tcp", peer: "mangos tcp", minus: true, shown: true},
	{workload: "mangos REQ/REP 64 B", ours: "sealed tcp", peer: "mangos tcp", shown: true},
}

func guarded(plan []comparison) (kept []comparison) {
	for _, c := range plan {
		if c.guard {
			kept = append(kept, c)
		}
	}
	return kept
}

func matching(plan []comparison, filter *regexp.Regexp) (kept []comparison) {
	for _, c := range plan {
		if filter.MatchString(c.workload) || filter.MatchString(c.ours) && filter.String() != "" {
			kept = append(kept, c)
		}
	}
	return kept
}

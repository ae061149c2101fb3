package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"
)

// path is what a relay does to the datagrams that cross it.
type path struct {
	loss  float64       // of each datagram, either way
	delay time.Duration // one way
}

// relay forwards datagrams between one client at a time and the server at
// upstream, losing and delaying them, until it is killed. Delays are constant,
// so the order is kept.
func relay(upstream string, p path) error {
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	server, err := net.ResolveUDPAddr("udp", upstream)
	if err != nil {
		return err
	}
	back, err := net.DialUDP("udp", nil, server)
	if err != nil {
		return err
	}
	for _, c := range []*net.UDPConn{front, back} {
		c.SetReadBuffer(4 << 20)
		c.SetWriteBuffer(4 << 20)
	}
	fmt.Println(front.LocalAddr())

	var mu sync.Mutex
	var client *net.UDPAddr
	up := p.pipe(func(b []byte) { back.Write(b) })
	down := p.pipe(func(b []byte) {
		mu.Lock()
		to := client
		mu.Unlock()
		front.WriteToUDP(b, to)
	})
	go func() {
		for {
			b := make([]byte, 2048)
			n, err := back.Read(b)
			if err != nil {
				os.Exit(1)
			}
			down(b[:n])
		}
	}()
	for {
		b := make([]byte, 2048)
		n, from, err := front.ReadFromUDP(b)
		if err != nil {
			return err
		}
		mu.Lock()
		client = from
		mu.Unlock()
		up(b[:n])
	}
}

// pipe returns a function that passes datagrams on to send, later or never.
// The same datagrams are lost in every run, counted by their number.
func (p path) pipe(send func([]byte)) func([]byte) {
	type parcel struct {
		at time.Time
		b  []byte
	}
	queue := make(chan parcel, 1<<16)
	go func() {
		for d := range queue {
			time.Sleep(time.Until(d.at))
			send(d.b)
		}
	}()
	dice := rand.New(rand.NewPCG(1, 2))
	return func(b []byte) {
		if dice.Float64() >= p.loss {
			queue <- parcel{time.Now().Add(p.delay), b}
		}
	}
}

package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/pair"
	"go.nanomsg.org/mangos/v3/protocol/pull"
	"go.nanomsg.org/mangos/v3/protocol/push"
	"go.nanomsg.org/mangos/v3/protocol/rep"
	"go.nanomsg.org/mangos/v3/protocol/req"
	_ "go.nanomsg.org/mangos/v3/transport/ipc" // the peers
	_ "go.nanomsg.org/mangos/v3/transport/tcp"
	_ "go.nanomsg.org/mangos/v3/transport/tlstcp"

	"github.com/securesp/securesp/e2e"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/spmangos"
)

// scheme returns the URL scheme of "mangos SCHEME" and "sealed SCHEME".
func scheme(impl string) string {
	_, s, _ := strings.Cut(impl, " ")
	return s
}

// newMangosSocket returns one side's socket, sealed end to end if the
// implementation says so.
func (t task) newMangosSocket(server bool) (mangos.Socket, error) {
	pattern := mangosSockets[t.workload.mangos]
	open := pattern.client
	if server {
		open = pattern.server
	}
	s, err := open()
	if err != nil || !strings.HasPrefix(t.impl, "sealed") {
		return s, err
	}
	service, err := keys.NewServicePrivate(bytes.Repeat(seed("service"), 3))
	if err != nil {
		return nil, err
	}
	var c spmangos.SealConfig
	if server {
		c.Worker, err = e2e.NewWorker(e2e.WorkerConfig{
			Keys:      []e2e.ServiceKey{{Key: service}},
			Authorize: func(keys.Public) (string, error) { return "", nil },
		})
	} else {
		c.Client, err = e2e.NewClient(e2e.ClientConfig{
			Identity:  privateKey("client"),
			Services:  []*keys.ServicePublic{service.Public()},
			NoTickets: strings.HasPrefix(t.impl, "sealed-full"),
		})
	}
	if err != nil {
		return nil, err
	}
	return spmangos.Seal(s, c)
}

func mangosOptions(impl string, initiator bool) map[string]interface{} {
	switch scheme(impl) {
	case "securesp+tcp", "securesp+ipc", "securesp+udp":
		return spmangos.Options(secureConfig(impl, initiator))
	case "tls+tcp":
		side := "server"
		if initiator {
			side = "client"
		}
		c := tlsConfig(impl, side)
		c.ClientAuth = tls.RequireAnyClientCert
		return map[string]interface{}{mangos.OptionTLSConfig: c}
	}
	return nil
}

// mangosSockets are each pattern's receiving and sending socket.
var mangosSockets = map[string]struct {
	server, client func() (mangos.Socket, error)
}{
	"push": {pull.NewSocket, push.NewSocket},
	"pair": {pair.NewSocket, pair.NewSocket},
	"req":  {rep.NewSocket, req.NewSocket},
}

func (t task) serveMangos() error {
	s, err := t.newMangosSocket(true)
	if err != nil {
		return err
	}
	url := scheme(t.impl) + "://127.0.0.1:0"
	if strings.HasSuffix(t.impl, "ipc") {
		url = scheme(t.impl) + "://" + filepath.Join(t.tmp, fmt.Sprintf("%d.sock", time.Now().UnixNano()))
	}
	l, err := s.NewListener(url, mangosOptions(t.impl, false))
	if err != nil {
		return err
	}
	// The acknowledgements of one-way patterns go another way.
	ack, err := push.NewSocket()
	if err != nil {
		return err
	}
	al, err := ack.NewListener("tcp://127.0.0.1:0", nil)
	if err != nil {
		return err
	}
	if err := l.Listen(); err != nil {
		return err
	}
	if err := al.Listen(); err != nil {
		return err
	}
	fmt.Println(l.Address() + " " + al.Address())
	if t.workload.mangos == "req" {
		for {
			m, err := s.RecvMsg()
			if err != nil {
				return err
			}
			if err := s.SendMsg(m); err != nil {
				return err
			}
		}
	}
	for _, left := range t.phases() {
		for range left / t.size {
			m, err := s.RecvMsg()
			if err != nil {
				return err
			}
			m.Free()
		}
		if err := ack.Send([]byte{1}); err != nil {
			return err
		}
	}
	select {}
}

func (t task) measureMangos() (float64, error) {
	s, err := t.newMangosSocket(false)
	if err != nil {
		return 0, err
	}
	url, ackURL, _ := strings.Cut(t.address, " ")
	if err := s.DialOptions(url, mangosOptions(t.impl, true)); err != nil {
		return 0, err
	}
	if t.workload.mangos == "req" {
		return t.mangosTrips(s)
	}
	ack, err := pull.NewSocket()
	if err != nil {
		return 0, err
	}
	if err := ack.Dial(ackURL); err != nil {
		return 0, err
	}
	var took time.Duration
	for _, bytes := range t.phases() {
		start := time.Now()
		for range bytes / t.size {
			m := mangos.NewMessage(t.size)
			m.Body = m.Body[:t.size]
			if err := s.SendMsg(m); err != nil {
				return 0, err
			}
		}
		if _, err := ack.Recv(); err != nil {
			return 0, err
		}
		took = time.Since(start)
	}
	return float64(t.count) / took.Seconds(), nil
}

func (t task) mangosTrips(s mangos.Socket) (float64, error) {
	if t.workload.senders > 1 {
		return t.crowdedTrips(s)
	}
	trips := make([]time.Duration, 0, t.count)
	for i := range t.count + t.count/10 {
		start := time.Now()
		if err := t.mangosTrip(s); err != nil {
			return 0, err
		}
		if i >= t.count/10 {
			trips = append(trips, time.Since(start))
		}
	}
	if t.workload.unit == "CPU µs" {
		return float64(len(trips)), nil // by which the processes' time is divided
	}
	return medianMicroseconds(trips), nil
}

// crowdedTrips has several requests under way at any time, and returns how many
// there were in all.
func (t task) crowdedTrips(s mangos.Socket) (float64, error) {
	each := max(t.count/t.workload.senders, 1)
	errs := make([]error, t.workload.senders)
	var senders sync.WaitGroup
	for i := range errs {
		c, err := s.OpenContext()
		if err != nil {
			return 0, err
		}
		senders.Go(func() {
			defer c.Close()
			for range each {
				if errs[i] = t.mangosTrip(c); errs[i] != nil {
					return
				}
			}
		})
	}
	senders.Wait()
	return float64(each * len(errs)), errors.Join(errs...)
}

// mangosTrip asks once and waits for the answer.
func (t task) mangosTrip(c mangos.Context) error {
	m := mangos.NewMessage(t.size)
	m.Body = m.Body[:t.size]
	if err := c.SendMsg(m); err != nil {
		return err
	}
	m, err := c.RecvMsg()
	if err != nil {
		return err
	}
	m.Free()
	return nil
}

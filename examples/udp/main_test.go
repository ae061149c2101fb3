package main

import (
	"bufio"
	"errors"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/leak"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/trust"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestReadings(t *testing.T) {
	is := is.New(t)
	server, err := keys.Generate()
	is.NoErr(err)
	sensor, err := keys.Generate()
	is.NoErr(err)
	trusted := filepath.Join(t.TempDir(), "trusted")
	is.NoErr(os.WriteFile(trusted, []byte(sensor.Public().String()+" cellar\n"), 0o600))
	policy, err := trust.File(trusted)
	is.NoErr(err)
	l, err := securesp.Listen("udp", "127.0.0.1:0", &securesp.Config{Identity: server, Protocol: "readings", Trust: policy})
	is.NoErr(err) // listen
	logged, out := io.Pipe()
	watched := make(chan error, 1)
	go func() { watched <- watch(l, log.New(out, "", 0)) }()

	conn, err := securesp.Dial("udp", l.Addr().String(), &securesp.Config{
		Identity: sensor, Protocol: "readings", Trust: trust.Keys(server.Public()),
	})
	is.NoErr(err) // dial
	in, readings := io.Pipe()
	reported := make(chan error, 1)
	go func() { reported <- report(conn, in) }()
	lines := bufio.NewScanner(logged)
	for _, line := range []string{"21.5 °C", "alarm: water", "22 °C"} {
		_, err = io.WriteString(readings, line+"\n")
		is.NoErr(err)
		is.True(lines.Scan()) // on loopback datagrams arrive, too
		is.Equal(lines.Text(), "cellar: \""+line+"\"")
	}
	is.NoErr(readings.Close())
	is.NoErr(<-reported)
	is.NoErr(conn.Close())
	is.NoErr(l.Close())
	is.True(errors.Is(<-watched, net.ErrClosed))
	is.NoErr(out.Close())
	is.True(!lines.Scan()) // the sensor's end is no error
}

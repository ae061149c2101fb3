package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/curve"
)

// overFiles passes files through a directory, as on a disk that somebody
// carries to and fro: each side writes the next file when it has read the one
// before. The handshake is CURVE's, with keys that ZeroMQ programs have.
func overFiles(out io.Writer) error {
	directory, err := os.MkdirTemp("", "securesp")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)
	client, err := keys.GenerateCurve()
	if err != nil {
		return err
	}
	server, err := keys.GenerateCurve()
	if err != nil {
		return err
	}
	c, err := curve.Mechanism().NewHandshake(mechanism.Config{
		Role: mechanism.Initiator, CurveIdentity: client, CurvePeer: server.Public()})
	if err != nil {
		return err
	}
	s, err := curve.Mechanism().NewHandshake(mechanism.Config{
		Role: mechanism.Responder, CurveIdentity: server})
	if err != nil {
		return err
	}

	disk := disk{directory: directory}
	for from, to := c, s; from.Next() == mechanism.Send; from, to = to, from {
		message, err := from.AppendMessage(nil, nil)
		if err != nil {
			return err
		}
		if err := disk.write(message); err != nil {
			return err
		}
		// … the disk is carried over …
		if message, err = disk.read(); err != nil {
			return err
		}
		if _, err := to.ReadMessage(nil, message); err != nil {
			return err
		}
	}
	if s.Peer().CurveKey != client.Public() || c.Peer().CurveKey != server.Public() {
		return errStranger
	}
	plaintext, err := disk.pass(c, s, []byte("hello, server"))
	if err != nil {
		return err
	}
	report(out, fmt.Sprintf("over %d files", disk.files), mechanism.Curve, plaintext)
	return nil
}

// disk is a directory with numbered files.
type disk struct {
	directory string
	files     int
}

func (d *disk) name() string { return filepath.Join(d.directory, fmt.Sprint(d.files)) }

func (d *disk) write(content []byte) error {
	d.files++
	return os.WriteFile(d.name(), content, 0o600)
}

func (d *disk) read() ([]byte, error) { return os.ReadFile(d.name()) }

// pass sends one message after the handshake.
func (d *disk) pass(from, to mechanism.Handshake, message []byte) ([]byte, error) {
	sender, err := from.Session()
	if err != nil {
		return nil, err
	}
	receiver, err := to.Session()
	if err != nil {
		return nil, err
	}
	record, err := sender.Encode(nil, mechanism.Data, message)
	if err != nil {
		return nil, err
	}
	if err := d.write(record); err != nil {
		return nil, err
	}
	if record, err = d.read(); err != nil {
		return nil, err
	}
	_, plaintext, err := receiver.Decode(nil, record)
	return plaintext, err
}

package curve_test

import (
	"testing"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/curve"
)

// finished returns both sides of a finished handshake.
func finished(b *testing.B, client, server *keys.CurvePrivate) (initiator, responder mechanism.Handshake) {
	initiator, err := curve.Mechanism().NewHandshake(mechanism.Config{
		Role: mechanism.Initiator, CurveIdentity: client, CurvePeer: server.Public()})
	if err != nil {
		b.Fatal(err)
	}
	responder, err = curve.Mechanism().NewHandshake(mechanism.Config{Role: mechanism.Responder, CurveIdentity: server})
	if err != nil {
		b.Fatal(err)
	}
	for from, to := initiator, responder; from.Next() == mechanism.Send; from, to = to, from {
		message, err := from.AppendMessage(nil, nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := to.ReadMessage(nil, message); err != nil {
			b.Fatal(err)
		}
	}
	return initiator, responder
}

func benchKeys(b *testing.B) (client, server *keys.CurvePrivate) {
	client, err := keys.GenerateCurve()
	if err != nil {
		b.Fatal(err)
	}
	server, err = keys.GenerateCurve()
	if err != nil {
		b.Fatal(err)
	}
	return client, server
}

// BenchmarkHandshake is both sides of one.
func BenchmarkHandshake(b *testing.B) {
	client, server := benchKeys(b)
	b.ReportAllocs()
	for b.Loop() {
		finished(b, client, server)
	}
}

// BenchmarkRecord seals one of the largest records in place and opens it in
// place.
func BenchmarkRecord(b *testing.B) {
	client, server := benchKeys(b)
	initiator, responder := finished(b, client, server)
	sender, err := initiator.Session()
	if err != nil {
		b.Fatal(err)
	}
	receiver, err := responder.Session()
	if err != nil {
		b.Fatal(err)
	}
	buffer := make([]byte, sender.Overhead()+mechanism.MaxPlaintext)
	b.SetBytes(mechanism.MaxPlaintext)
	b.ReportAllocs()
	for b.Loop() {
		record, err := sender.Encode(buffer[:0], mechanism.Data, buffer[sender.Lead():])
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := receiver.Decode(record[receiver.Lead():receiver.Lead()], record); err != nil {
			b.Fatal(err)
		}
	}
}

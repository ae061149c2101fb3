package keys_test

import (
	"bytes"
	"sync"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
)

func TestAgree(t *testing.T) {
	is := is.New(t)
	a, err := keys.Generate()
	is.NoErr(err) // generate
	b, err := keys.Generate()
	is.NoErr(err) // generate
	public, err := b.Public().ECDH()
	is.NoErr(err) // convert
	want, err := a.ECDH().ECDH(public)
	is.NoErr(err) // agree by package ecdh

	first, err := a.Agree(b.Public())
	is.NoErr(err)                     // agree
	is.True(bytes.Equal(first, want)) // the same as package ecdh's
	clear(first)
	again, err := a.Agree(b.Public())
	is.NoErr(err)                     // agree again
	is.True(bytes.Equal(again, want)) // clearing one result spoils no other
	other, err := b.Agree(a.Public())
	is.NoErr(err)                     // agree from the other side
	is.True(bytes.Equal(other, want)) // on the same secret

	_, err = a.Agree(keys.Public{})
	is.True(err != nil) // no agreement with no key
	low, err := keys.NewPublic(append([]byte{1}, make([]byte, 31)...))
	is.NoErr(err) // a key of low order is a key so far
	for range 2 {
		_, err = a.Agree(low)
		is.True(err != nil) // no agreement with a key of low order, ever
	}
}

// TestAgreeBounded meets more peers than are kept, from several goroutines.
func TestAgreeBounded(t *testing.T) {
	is := is.New(t)
	a, err := keys.Generate()
	is.NoErr(err) // generate
	const peers = 1100
	wants := make([][]byte, peers)
	publics := make([]keys.Public, peers)
	var met sync.WaitGroup
	for i := range peers {
		met.Go(func() {
			k, err := keys.Generate()
			if err != nil {
				return
			}
			publics[i] = k.Public()
			wants[i], _ = k.Agree(a.Public())
			a.Agree(publics[i])
		})
	}
	met.Wait()
	for i, p := range publics {
		got, err := a.Agree(p)
		is.NoErr(err)                       // agree
		is.True(bytes.Equal(got, wants[i])) // kept or not, the same secret
	}
}

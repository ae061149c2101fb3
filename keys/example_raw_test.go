package keys_test

import (
	"bytes"
	"fmt"
	"log"

	"github.com/securesp/securesp/keys"
)

// Keys that are kept elsewhere than in files come and go as bytes.
func ExampleNewPrivate() {
	private, err := keys.NewPrivate(bytes.Repeat([]byte{7}, keys.Size))
	if err != nil {
		log.Fatal(err)
	}
	public, err := keys.NewPublic(private.Public().Bytes())
	fmt.Println(public == private.Public(), err)
	_, err = keys.NewPrivate([]byte("too short"))
	fmt.Println(err != nil)
	// Output:
	// true <nil>
	// true
}

// Two sides agree on a secret, with this package or with crypto/ecdh.
func ExamplePrivate_Agree() {
	alice, err := keys.Generate()
	if err != nil {
		log.Fatal(err)
	}
	bob, err := keys.Generate()
	if err != nil {
		log.Fatal(err)
	}
	ours, err := alice.Agree(bob.Public())
	if err != nil {
		log.Fatal(err)
	}
	public, err := alice.Public().ECDH()
	if err != nil {
		log.Fatal(err)
	}
	theirs, err := bob.ECDH().ECDH(public)
	fmt.Println(bytes.Equal(ours, theirs), err)
	// Output: true <nil>
}

func ExampleNewShared() {
	psk, err := keys.NewShared(bytes.Repeat([]byte{7}, keys.Size))
	if err != nil {
		log.Fatal(err)
	}
	parsed, err := keys.ParseShared(psk.Reveal())
	fmt.Println(parsed.Equal(psk), err)
	// Output: true <nil>
}

func ExampleNewCurvePrivate() {
	private, err := keys.NewCurvePrivate(bytes.Repeat([]byte{7}, keys.Size))
	if err != nil {
		log.Fatal(err)
	}
	b := private.Public().Bytes()
	public, err := keys.NewCurvePublic(b[:])
	fmt.Println(public == private.Public(), err)
	// Output: true <nil>
}

func ExampleNewServicePrivate() {
	service, err := keys.NewServicePrivate(bytes.Repeat([]byte{7}, keys.ServiceSeedSize))
	if err != nil {
		log.Fatal(err)
	}
	parsed, err := keys.ParseServicePrivate(service.Reveal())
	if err != nil {
		log.Fatal(err)
	}
	public, err := keys.NewServicePublic(parsed.Public().Bytes())
	if err != nil {
		log.Fatal(err)
	}
	again, err := keys.ParseServicePublic(public.String())
	fmt.Println(again.Equal(service.Public()), again.IDString() == public.IDString(), err)
	// Output: true true <nil>
}

// Every worker that holds a service's key derives the same secrets from it.
func ExampleServicePrivate_Decapsulate() {
	service, err := keys.GenerateService()
	if err != nil {
		log.Fatal(err)
	}
	secret, ciphertext := service.Public().Encapsulation().Encapsulate()
	got, err := service.Decapsulate(ciphertext)
	fmt.Println(bytes.Equal(got, secret), err)
	fmt.Println(len(service.Derive("example.com/cookies")))
	// Output:
	// true <nil>
	// 32
}

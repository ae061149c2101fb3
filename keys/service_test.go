package keys_test

import (
	"bytes"
	"crypto/mlkem"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
)

// serviceSeed is the bytes 00 01 … 5f.
var serviceSeed = func() []byte {
	b := make([]byte, keys.ServiceSeedSize)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}()

// serviceSecret is serviceSeed as text, and serviceDerived what is derived of
// it for "test label", both computed with Python's hashlib, base64 and hmac.
const (
	serviceSecret = "sdk1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEy" +
		"MzQ1Njc4OTo7PD0-P0BBQkNERUZHSElKS0xNTk9QUVJTVFVWV1hZWltcXV5fY_JOSg"
	serviceDerived = "b4710faedc442e794e53b2a06757b0080076999a2ce2545a7815c2f98372edeb"
)

func newService(t testing.TB) *keys.ServicePrivate {
	is := is.New(t)
	is.Helper()
	k, err := keys.GenerateService()
	is.NoErr(err) // generate a service key
	return k
}

func TestServiceGolden(t *testing.T) {
	is := is.New(t)
	k, err := keys.ParseServicePrivate(serviceSecret)
	is.NoErr(err) // a secret service key
	is.Equal(k.Reveal(), serviceSecret)
	is.True(bytes.Equal(k.Identity().ECDH().Bytes(), serviceSeed[:keys.Size]))
	is.Equal(hex.EncodeToString(k.Derive("test label")), serviceDerived)

	kem, err := mlkem.NewDecapsulationKey768(serviceSeed[keys.Size:])
	is.NoErr(err) // the ML-KEM half by itself
	want := append(k.Identity().Public().Bytes(), kem.EncapsulationKey().Bytes()...)
	is.Equal(len(want), keys.ServicePublicSize)
	is.True(bytes.Equal(k.Public().Bytes(), want))
	digest := sha256.Sum256(want)
	is.Equal(k.Public().ID(), [4]byte(digest[:]))
	is.Equal(k.Public().IDString(), hex.EncodeToString(digest[:4]))
}

func TestServiceRoundTrips(t *testing.T) {
	is := is.New(t)
	k := newService(t)
	again, err := keys.ParseServicePrivate(k.Reveal())
	is.NoErr(err) // parse the secret key
	is.True(again.Public().Equal(k.Public()))

	public, err := keys.ParseServicePublic(k.Public().String())
	is.NoErr(err) // parse the public key
	is.True(public.Equal(k.Public()))
	is.Equal(public.Identity(), k.Identity().Public())
	is.True(strings.HasPrefix(public.String(), "sek1:"))
	public, err = keys.NewServicePublic(k.Public().Bytes())
	is.NoErr(err) // take the public key's bytes
	is.True(public.Equal(k.Public()))

	var config, back struct{ Service *keys.ServicePublic }
	config.Service = k.Public()
	text, err := json.Marshal(config)
	is.NoErr(err)                         // to JSON
	is.NoErr(json.Unmarshal(text, &back)) // and back
	is.True(back.Service.Equal(k.Public()))

	other := newService(t)
	is.True(!other.Public().Equal(k.Public()))
	is.True(!other.Public().Equal(nil))

	secret, ciphertext := public.Encapsulation().Encapsulate()
	got, err := again.Decapsulate(ciphertext)
	is.NoErr(err) // decapsulate
	is.True(bytes.Equal(got, secret))
	got, err = other.Decapsulate(ciphertext)
	is.NoErr(err) // implicit rejection
	is.True(!bytes.Equal(got, secret))
	_, err = k.Decapsulate(ciphertext[1:])
	is.True(errors.Is(err, keys.ErrFormat))
}

func TestServiceDerive(t *testing.T) {
	is := is.New(t)
	k := newService(t)
	again, err := keys.ParseServicePrivate(k.Reveal())
	is.NoErr(err) // the same key elsewhere
	is.True(bytes.Equal(k.Derive("a"), again.Derive("a")))
	is.True(!bytes.Equal(k.Derive("a"), k.Derive("b")))
	is.True(!bytes.Equal(k.Derive("a"), newService(t).Derive("a")))
}

func TestServiceRefused(t *testing.T) {
	public := newService(t).Public()
	half := bytes.Clone(serviceSeed)
	clear(half[keys.Size:])
	other := bytes.Clone(serviceSeed)
	clear(other[:keys.Size])
	outside := public.Bytes()
	for i := range 3 {
		outside[keys.Size+i] = 0xff // two coefficients above the modulus
	}
	for name, make := range map[string]func() (any, error){
		"short seed":         func() (any, error) { return ptr(keys.NewServicePrivate(serviceSeed[1:])) },
		"no seed":            func() (any, error) { return ptr(keys.NewServicePrivate(nil)) },
		"zero ML-KEM seed":   func() (any, error) { return ptr(keys.NewServicePrivate(half)) },
		"zero X25519 key":    func() (any, error) { return ptr(keys.NewServicePrivate(other)) },
		"short public key":   func() (any, error) { return ptr(keys.NewServicePublic(public.Bytes()[1:])) },
		"no X25519 key":      func() (any, error) { return ptr(keys.NewServicePublic(append(make32(), public.Bytes()[32:]...))) },
		"no ML-KEM key":      func() (any, error) { return ptr(keys.NewServicePublic(outside)) },
		"public as secret":   func() (any, error) { return ptr(keys.ParseServicePrivate(public.String())) },
		"secret as public":   func() (any, error) { return ptr(keys.ParseServicePublic(serviceSecret)) },
		"identity as secret": func() (any, error) { return ptr(keys.ParseServicePrivate(sequencePrivate)) },
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			key, err := make()
			is.True(errors.Is(err, keys.ErrFormat))
			is.True(key == nil) // and nothing returned
			is.Equal(strings.Count(err.Error(), "securesp:"), 1)
			is.True(!strings.Contains(err.Error(), "AwQFBgc")) // nothing of the text repeated
		})
	}
}

func make32() []byte { return make([]byte, keys.Size) }

// ptr makes an untyped nil of a nil pointer.
func ptr[T any](p *T, err error) (any, error) {
	if p == nil {
		return nil, err
	}
	return p, err
}

func TestServiceChecksum(t *testing.T) {
	is := is.New(t)
	for i := len("sdk1:"); i < len(serviceSecret)-1; i++ {
		letter := byte('A')
		if serviceSecret[i] == letter {
			letter = 'B'
		}
		_, err := keys.ParseServicePrivate(serviceSecret[:i] + string(letter) + serviceSecret[i+1:])
		is.True(errors.Is(err, keys.ErrChecksum)) // every letter counts
	}
}

func TestServiceFiles(t *testing.T) {
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "service")
	k := newService(t)
	is.NoErr(k.Save(path)) // save
	loaded, err := keys.LoadService(path)
	is.NoErr(err) // load
	is.Equal(loaded.Reveal(), k.Reveal())

	content, err := os.ReadFile(path)
	is.NoErr(err) // read the file
	is.True(strings.Contains(string(content), "# public key: "+k.Public().String()+"\n"))

	_, err = keys.Load(path)
	is.True(errors.Is(err, keys.ErrFormat)) // it is no identity
	is.True(k.Save(path) != nil)            // and is never overwritten
}

func TestServiceDoesNotPrint(t *testing.T) {
	seed := append(bytes.Clone(secretBytes), serviceSeed[:mlkem.SeedSize]...)
	k, err := keys.NewServicePrivate(seed)
	is.New(t).NoErr(err) // service key
	testDoesNotPrint(t, k, k.Reveal(), "[redacted service key "+k.Public().IDString()+"]")
}

func TestServiceZeroValues(t *testing.T) {
	is := is.New(t)
	var p keys.ServicePublic
	is.Equal(p.String(), "no key")
	is.Equal((*keys.ServicePublic)(nil).String(), "no key")
	text, err := p.MarshalText()
	is.NoErr(err) // the zero value as text
	is.Equal(len(text), 0)
	is.NoErr(p.UnmarshalText(nil)) // and back
	is.True(p.UnmarshalText([]byte("x")) != nil)
	is.True((*keys.ServicePrivate)(nil).Public() == nil)
	is.True((&keys.ServicePrivate{}).Public() == nil)
	is.True(panics(func() { _ = (&keys.ServicePrivate{}).Reveal() }))
}

func ExampleGenerateService() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "service")

	// Once; the file goes to all workers, and nobody else:
	service, err := keys.GenerateService()
	if err != nil {
		log.Fatal(err)
	}
	if err := service.Save(path); err != nil {
		log.Fatal(err)
	}
	fmt.Println("tell the clients:", service.Public().String()[:5]+"…")

	// At every start of a worker:
	loaded, err := keys.LoadService(path)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(loaded.Public().Equal(service.Public()))
	// Output:
	// tell the clients: sek1:…
	// true
}

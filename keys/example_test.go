package keys_test

import (
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/securesp/securesp/keys"
)

func ExampleGenerate() {
	identity, err := keys.Generate()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("tell the others:", identity.Public().String()[:5]+"…")
	// Output: tell the others: spk1:…
}

func ExampleLoad() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "identity")

	// Once:
	identity, err := keys.Generate()
	if err != nil {
		log.Fatal(err)
	}
	if err := identity.Save(path); err != nil {
		log.Fatal(err)
	}

	// At every start of the program:
	loaded, err := keys.Load(path)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(loaded.Public() == identity.Public())
	// Output: true
}

func ExampleParsePublic() {
	peer, err := keys.ParsePublic("spk1:j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF9SRxoV")
	fmt.Println(peer, err)

	// One letter wrong:
	_, err = keys.ParsePublic("spk1:J0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF9SRxoV")
	fmt.Println(errors.Is(err, keys.ErrChecksum))
	// Output:
	// spk1:j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF9SRxoV <nil>
	// true
}

func ExampleParsePrivate() {
	identity, err := keys.ParsePrivate(os.Getenv("EXAMPLE_IDENTITY"))
	fmt.Println(identity == nil, errors.Is(err, keys.ErrFormat))
	// Output: true true
}

// A secret may end up in a log without harm.
func ExamplePrivate_redacted() {
	identity, err := keys.ParsePrivate("ssk1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8Avt-z")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%v\n", identity)
	fmt.Printf("%x\n", *identity)
	fmt.Println(identity.Reveal()[:5] + "…")
	// Output:
	// [redacted private key of spk1:j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF9SRxoV]
	// [redacted private key of spk1:j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF9SRxoV]
	// ssk1:…
}

func ExampleGenerateShared() {
	psk, err := keys.GenerateShared()
	if err != nil {
		log.Fatal(err)
	}
	// The text goes to the other side over a channel that nobody reads.
	text := psk.Reveal()
	theirs, err := keys.ParseShared(text)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(theirs.Equal(psk), psk)
	// Output: true [redacted pre-shared key]
}

// The server's key of the manual page zmq_curve(7).
func ExampleParseCurvePrivate() {
	server, err := keys.ParseCurvePrivate("JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(server.Public())
	// Output: rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7
}

// Certificates that CZMQ or pyzmq have written can be used as they are.
func ExampleLoadCurveCert() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "server.key")
	err = os.WriteFile(path, []byte(`metadata
    name = "the server"
curve
    public-key = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
`), 0o600)
	if err != nil {
		log.Fatal(err)
	}

	cert, err := keys.LoadCurveCert(path)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(cert.Metadata["name"], cert.Public, cert.Private != nil)
	// Output: the server rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7 false
}

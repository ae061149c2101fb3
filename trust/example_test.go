package trust_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/trust"
)

var alice, mallory = exampleKey("spk1:j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF9SRxoV"),
	exampleKey("spk1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh-DYu72")

func exampleKey(text string) keys.Public {
	key, err := keys.ParsePublic(text)
	if err != nil {
		log.Fatal(err)
	}
	return key
}

// exampleFile returns the path of a new file, and what removes it.
func exampleFile(content string) (path string, remove func()) {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	path = filepath.Join(dir, "trusted")
	if content != "" {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			log.Fatal(err)
		}
	}
	return path, func() { os.RemoveAll(dir) }
}

func ExampleKeys() {
	policy := trust.Keys(alice)
	ctx := context.Background()
	fmt.Println(policy.Authorize(ctx, trust.Peer{Key: alice}))
	fmt.Println(policy.Authorize(ctx, trust.Peer{Key: mallory}))
	// Output:
	// <nil>
	// securesp: peer not authorised: its key is not trusted
}

func ExampleCurveKeys() {
	server, err := keys.ParseCurvePublic("rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7")
	if err != nil {
		log.Fatal(err)
	}
	policy := trust.CurveKeys(server)
	fmt.Println(policy.Authorize(context.Background(), trust.Peer{CurveKey: server}))
	// Output: <nil>
}

func ExampleFile() {
	path, remove := exampleFile(`
# who may use the service
spk1:j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF9SRxoV alice from=192.0.2.0/24
`)
	defer remove()
	policy, err := trust.File(path)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	office := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 50123}
	elsewhere := &net.TCPAddr{IP: net.IPv4(198, 51, 100, 7), Port: 50123}
	fmt.Println(policy.Authorize(ctx, trust.Peer{Key: alice, Addr: office}))
	fmt.Println(policy.Authorize(ctx, trust.Peer{Key: alice, Addr: elsewhere}))
	fmt.Println(policy.(trust.Namer).NameOf(alice))

	// Changes count at once.
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		log.Fatal(err)
	}
	fmt.Println(policy.Authorize(ctx, trust.Peer{Key: alice, Addr: office}))
	// Output:
	// <nil>
	// securesp: peer not authorised: not from this address
	// alice
	// securesp: peer not authorised: its key is not trusted
}

func ExampleFilePolicy_OnError() {
	path, remove := exampleFile("# nobody yet\n")
	defer remove()
	policy, err := trust.File(path)
	if err != nil {
		log.Fatal(err)
	}
	file := policy.(*trust.FilePolicy)
	file.OnError(func(err error) {
		var bad *trust.FileError
		if errors.As(err, &bad) {
			fmt.Printf("line %d: %v\n", bad.Line, bad.Err)
		}
	})
	if err := os.WriteFile(path, []byte(alice.String()+" uid=root\n"), 0o600); err != nil {
		log.Fatal(err)
	}
	fmt.Println("healthy:", file.Err() == nil)
	// Output:
	// line 1: uid= is not the number of a user
	// healthy: false
}

// A connection that is to end when trust in its peer does is watched. Conns of
// package securesp see to that themselves.
func ExampleFilePolicy_Watch() {
	path, remove := exampleFile(alice.String())
	defer remove()
	policy, err := trust.File(path)
	if err != nil {
		log.Fatal(err)
	}
	revoked := make(chan error, 1)
	stop := policy.(trust.Watcher).Watch(trust.Peer{Key: alice}, func(err error) { revoked <- err })
	defer stop()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-revoked)
	// Output: securesp: peer not authorised: its key is not trusted
}

func ExampleFirstUse() {
	path, remove := exampleFile("")
	defer remove()
	policy, err := trust.FirstUse(path)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	fmt.Println(policy.Authorize(ctx, trust.Peer{Name: "example.com:7000", Key: alice}))
	err = policy.Authorize(ctx, trust.Peer{Name: "example.com:7000", Key: mallory})
	var changed *trust.KeyChangedError
	if errors.As(err, &changed) {
		fmt.Println("do not connect:", changed.Host, "was known by", changed.Known)
	}
	// Output:
	// <nil>
	// do not connect: example.com:7000 was known by spk1:j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF9SRxoV
}

func ExampleFunc() {
	accounts := map[keys.Public]string{alice: "active", mallory: "locked"}
	policy := trust.Func(func(_ context.Context, peer trust.Peer) error {
		switch accounts[peer.Key] {
		case "active":
			return nil
		case "locked":
			return fmt.Errorf("%w: account locked", trust.ErrDenied)
		default:
			return trust.ErrUnknownKey
		}
	})
	fmt.Println(policy.Authorize(context.Background(), trust.Peer{Key: alice}))
	fmt.Println(policy.Authorize(context.Background(), trust.Peer{Key: mallory}))
	// Output:
	// <nil>
	// securesp: peer not authorised: account locked
}

func ExampleAnyone() {
	fmt.Println(trust.Anyone().Authorize(context.Background(), trust.Peer{}))
	// Output: <nil>
}

// One policy for the Noise suites and CURVE: each has keys of its own.
func ExampleAnyOf() {
	curve, err := keys.ParseCurvePublic("rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7")
	if err != nil {
		log.Fatal(err)
	}
	policy := trust.AnyOf(trust.Keys(alice), trust.CurveKeys(curve))
	ctx := context.Background()
	fmt.Println(policy.Authorize(ctx, trust.Peer{Key: alice}))
	fmt.Println(policy.Authorize(ctx, trust.Peer{CurveKey: curve}))
	fmt.Println(policy.Authorize(ctx, trust.Peer{Key: mallory}))

	// Both are pinned, so whoever dials may offer IK and CURVE.
	_, pinned := policy.(trust.Pinner).Pinned()
	_, curvePinned := policy.(trust.CurvePinner).CurvePinned()
	fmt.Println(pinned, curvePinned)
	// Output:
	// <nil>
	// <nil>
	// securesp: peer not authorised: its key is not trusted
	// true true
}

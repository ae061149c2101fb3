package trust_test

import (
	"net"
	"os"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/internal/leak"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/trust"
)

func TestMain(m *testing.M) { leak.Main(m) }

// newKey returns a public key.
func newKey(t testing.TB) keys.Public {
	is := is.New(t)
	is.Helper()
	private, err := keys.Generate()
	is.NoErr(err) // generate a key
	return private.Public()
}

// newCurveKey returns a public key of CURVE.
func newCurveKey(t testing.TB) keys.CurvePublic {
	is := is.New(t)
	is.Helper()
	private, err := keys.GenerateCurve()
	is.NoErr(err) // generate a CURVE key
	return private.Public()
}

// write gives a file new content, in place.
func write(t testing.TB, path, content string) {
	is := is.New(t)
	is.Helper()
	is.NoErr(os.WriteFile(path, []byte(content), 0o600)) // write the file
}

// replace gives a file new content as editors do: by renaming a new one.
func replace(t testing.TB, path, content string) {
	is := is.New(t)
	is.Helper()
	write(t, path+".new", content)
	is.NoErr(os.Rename(path+".new", path)) // put it in place
}

func tcp(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 40000} }

func unix(path string) net.Addr { return &net.UnixAddr{Net: "unix", Name: path} }

func user(uid uint32) *trust.Credentials {
	return &trust.Credentials{PID: 1, UID: uid, GID: 1}
}

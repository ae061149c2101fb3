//go:build unix

package keys

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/matryer/is"
)

func TestCurveCertPermissions(t *testing.T) {
	is := is.New(t)
	secret := foreignCerts["czmq"]
	path := writeCert(t, secret, 0o600)
	is.NoErr(os.Chmod(path, 0o640)) // let the group read it
	_, err := LoadCurveCert(path)
	is.True(errors.Is(err, ErrPermissions))

	public := secret[:strings.Index(secret, "    secret-key")]
	path = writeCert(t, public, 0o600)
	is.NoErr(os.Chmod(path, 0o644)) // let everybody read it
	c, err := LoadCurveCert(path)
	is.NoErr(err) // a public certificate
	is.True(c.Private == nil)
}

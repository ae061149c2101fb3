package securesp_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/trust"
)

// TestRestrictionsLive: from= and uid= of a trust file hold for connections
// over the system's sockets.
func TestRestrictionsLive(t *testing.T) {
	for _, tc := range []struct {
		network, restriction string
		admitted             bool
	}{
		{"tcp", "from=127.0.0.1", true},
		{"tcp", "from=192.0.2.0/24", false},
		{"unix", fmt.Sprintf("uid=%d", os.Getuid()), true},
		{"unix", fmt.Sprintf("uid=%d", os.Getuid()+1), false},
	} {
		t.Run(tc.network+" "+tc.restriction, func(t *testing.T) {
			is := is.New(t)
			initiator, responder := configs(t, mechanism.IKhfsAESGCM)
			dir := t.TempDir()
			file := filepath.Join(dir, "trusted")
			line := initiator.Identity.Public().String() + " alice " + tc.restriction + "\n"
			is.NoErr(os.WriteFile(file, []byte(line), 0o600))
			policy, err := trust.File(file)
			is.NoErr(err) // the line is understood
			responder.Trust = policy
			address := "127.0.0.1:0"
			if tc.network == "unix" {
				address = filepath.Join(dir, "s")
			}
			l, err := securesp.Listen(tc.network, address, responder)
			is.NoErr(err)
			defer l.Close()
			c, err := securesp.Dial(tc.network, l.Addr().String(), initiator)
			if !tc.admitted {
				is.True(errors.Is(err, securesp.ErrRefused))
				return
			}
			is.NoErr(err) // admitted
			server, err := l.Accept()
			is.NoErr(err)
			closeBoth(c, server)
		})
	}
}

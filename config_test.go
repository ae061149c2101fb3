package securesp_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/internal/testnet"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/trust"
)

// TestConfigErrors gives each side configurations that lack or contradict
// something. All entry points refuse them before a byte is sent.
func TestConfigErrors(t *testing.T) {
	type config = securesp.Config
	tooMany := make([]mechanism.Suite, 17)
	for i := range tooMany {
		tooMany[i] = mechanism.XXAESGCM
	}
	for _, tc := range []struct {
		name   string
		suite  mechanism.Suite // what it is a change of
		change func(c *config)
		only   string // the only role it is wrong for, if so
		says   string // part of the error's text
	}{
		{"zero", mechanism.XXAESGCM, func(c *config) { *c = config{} }, "", "Identity"},
		{"no identity", mechanism.XXAESGCM, func(c *config) { c.Identity = nil }, "", "Identity"},
		{"no trust", mechanism.XXAESGCM, func(c *config) { c.Trust = nil }, "", "Trust"},
		{"IK without a pinned key", mechanism.IKAESGCM, func(c *config) { c.Trust = trust.Anyone() }, "initiator", "exactly one key"},
		{"IK with two keys", mechanism.IKAESGCM, func(c *config) {
			c.Trust = trust.Keys(c.Identity.Public(), newParty(t).identity.Public())
		}, "initiator", "exactly one key"},
		{"NK without a pinned key", mechanism.NKhfsAESGCM, func(c *config) { c.Trust = nil }, "initiator", "Trust"},
		{"NK without an identity", mechanism.NKhfsAESGCM, func(c *config) { c.Identity = nil }, "responder", "Identity"},
		{"no PSK", mechanism.NNhfsPSK0AESGCM, func(c *config) { c.PSK = nil }, "", "PSK"},
		{"no PSK for psk3", mechanism.XXhfsPSK3AESGCM, func(c *config) { c.PSK = nil }, "", "PSK"},
		{"no name", mechanism.NNhfsPSK0AESGCM, func(c *config) { c.Name = "" }, "", "Name"},
		{"no peer's name", mechanism.NNhfsPSK0AESGCM, func(c *config) { c.PeerName = "" }, "initiator", "PeerName"},
		{"the same name twice", mechanism.NNhfsPSK0AESGCM, func(c *config) { c.PeerName = c.Name }, "", "differ"},
		{"long name", mechanism.NNhfsPSK0AESGCM, func(c *config) { c.Name = strings.Repeat("n", 256) }, "", "name"},
		{"no CURVE identity", mechanism.Curve, func(c *config) { c.CurveIdentity = nil }, "", "CurveIdentity"},
		{"no suites", mechanism.XXAESGCM, func(c *config) { c.Suites = []mechanism.Suite{} }, "", "Suites"},
		{"17 suites", mechanism.XXAESGCM, func(c *config) { c.Suites = tooMany }, "", "Suites"},
		{"a suite twice", mechanism.XXAESGCM, func(c *config) { c.Suites = tooMany[:2] }, "", "twice"},
		{"an unknown suite", mechanism.XXAESGCM, func(c *config) { c.Suites = []mechanism.Suite{0xFFFF} }, "", "not available"},
		{"NULL among others", mechanism.XXAESGCM, func(c *config) { c.Suites = []mechanism.Suite{mechanism.XXAESGCM, mechanism.Null} }, "", "alone"},
		{"NULL before others", mechanism.XXAESGCM, func(c *config) { c.Suites = []mechanism.Suite{mechanism.Null, mechanism.XXAESGCM} }, "", "alone"},
		{"long protocol", mechanism.XXAESGCM, func(c *config) { c.Protocol = strings.Repeat("p", 256) }, "", "Protocol"},
		{"negative size", mechanism.XXAESGCM, func(c *config) { c.MaxMessageSize = -1 }, "", "MaxMessageSize"},
		{"padding too large", mechanism.XXAESGCM, func(c *config) { c.Padding = 16385 }, "", "Padding"},
		{"padding too small", mechanism.XXAESGCM, func(c *config) { c.Padding = -2 }, "", "Padding"},
		{"extension out of range", mechanism.XXAESGCM, func(c *config) { c.Extensions = map[uint8][]byte{1: nil} }, "", "extension"},
		{"extensions too long", mechanism.XXAESGCM, func(c *config) { c.Extensions = map[uint8][]byte{16: make([]byte, 1025)} }, "", "extensions"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			is := is.New(t)
			initiator, responder := configs(t, tc.suite)
			if tc.only != "responder" {
				tc.change(initiator)
				checkConfigError(t, "initiator", initiator, tc.says)
				_, err := securesp.Dial("tcp", "127.0.0.1:1", initiator)
				is.True(errors.Is(err, securesp.ErrConfig)) // before dialling
			}
			if tc.only != "initiator" {
				tc.change(responder)
				checkConfigError(t, "responder", responder, tc.says)
				_, err := securesp.Listen("tcp", "127.0.0.1:0", responder)
				is.True(errors.Is(err, securesp.ErrConfig)) // before listening
			}
		})
	}
	is := is.New(t)
	_, err := securesp.Dial("tcp", "127.0.0.1:1", nil)
	is.True(errors.Is(err, securesp.ErrConfig))
	_, err = securesp.Listen("tcp", "127.0.0.1:0", nil)
	is.True(errors.Is(err, securesp.ErrConfig))
	_, err = (&securesp.Dialer{}).Dial("tcp", "127.0.0.1:1")
	is.True(errors.Is(err, securesp.ErrConfig))
	checkConfigError(t, "initiator", nil, "")
	checkConfigError(t, "responder", nil, "")
}

// checkConfigError runs a handshake with a bad configuration.
func checkConfigError(t *testing.T, role string, config *securesp.Config, says string) {
	t.Helper()
	near, far := testnet.Pipe(1 << 10)
	defer far.Close()
	c := securesp.Server(near, config)
	if role == "initiator" {
		c = securesp.Client(near, config)
	}
	err := c.HandshakeContext(context.Background())
	var he *securesp.HandshakeError
	if !errors.Is(err, securesp.ErrConfig) || !errors.As(err, &he) || he.Stage != "configuration" {
		t.Errorf("%s: %v", role, err)
	}
	if err != nil && !strings.Contains(err.Error(), says) {
		t.Errorf("%s: %q does not mention %q", role, err, says)
	}
	if near.Sent() > 0 {
		t.Errorf("%s: sent something", role)
	}
}

// TestUnknownNetwork names a network that there is not.
func TestUnknownNetwork(t *testing.T) {
	is := is.New(t)
	initiator, responder := configs(t, mechanism.XXAESGCM)
	_, err := securesp.Dial("carrier pigeon", "x", initiator)
	is.True(err != nil && strings.Contains(err.Error(), "carrier pigeon"))
	_, err = securesp.Listen("carrier pigeon", "x", responder)
	is.True(err != nil)
}

// TestClone changes a clone and looks whether the original has changed.
func TestClone(t *testing.T) {
	is := is.New(t)
	is.True((*securesp.Config)(nil).Clone() == nil)
	c, _ := configs(t, mechanism.XXAESGCM)
	c.Extensions = map[uint8][]byte{16: {1}}
	d := c.Clone()
	is.Equal(d.Identity, c.Identity)
	is.Equal(d.Suites, c.Suites)
	d.Suites[0] = 0
	d.Extensions[16][0] = 2
	d.Extensions[17] = nil
	is.Equal(c.Suites[0], mechanism.XXAESGCM)
	is.True(bytes.Equal(c.Extensions[16], []byte{1}))
	is.Equal(len(c.Extensions), 1)
}

// TestDefaultSuites connects without a suite list, for each thing that a
// Config may know.
func TestDefaultSuites(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(initiator, responder *securesp.Config)
		want   string // of the suite's name
	}{
		{"one key", func(i, r *securesp.Config) { i.PSK, r.PSK = nil, nil }, "Noise_IKhfs_"},
		{"anyone", func(i, r *securesp.Config) { i.PSK, r.PSK, i.Trust = nil, nil, trust.Anyone() }, "Noise_XXhfs_"},
		{"key and PSK", func(_, _ *securesp.Config) {}, "Noise_XXhfs+psk3_"},
		{"PSK alone", func(i, r *securesp.Config) { i.Identity, i.Trust, r.Identity, r.Trust = nil, nil, nil, nil }, "Noise_NNhfs+psk0_"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			is := is.New(t)
			initiator, responder := configs(t, mechanism.XXAESGCM)
			initiator.Suites, responder.Suites = nil, nil
			tc.change(initiator, responder)
			w := wire(t, initiator, responder)
			defer w.close()
			st := w.a.ConnectionState()
			is.True(strings.HasPrefix(st.Suite.String(), tc.want))
			is.True(st.Traits.Hybrid)
		})
	}
}

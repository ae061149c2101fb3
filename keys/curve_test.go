package keys_test

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
)

// TestCurveGolden takes the key pairs of the manual page zmq_curve(7), which
// gives them in hexadecimal and Z85.
func TestCurveGolden(t *testing.T) {
	for _, pair := range []struct{ publicHex, public, secretHex, secret string }{
		{ // client
			"bb88471d65e2659b30c55a5321cebb5aab2b70a398645c26dca2b2fcb43fc518", "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID",
			"7bb864b489afa3671fbe69101f94b38972f24816dfb01b51656b3fec8dfd0888", "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs",
		},
		{ // server
			"54fcba24e93249969316fb617c872bb0c1d1ff14800427c594cbfacf1bc2d652", "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7",
			"8e0bdd697628b91d8f245587ee95c5b04d48963f79259877b49cd9063aead3b7", "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6",
		},
	} {
		is := is.New(t)
		private, err := keys.ParseCurvePrivate(pair.secret)
		is.NoErr(err) // secret key
		b := private.Bytes()
		is.Equal(hex.EncodeToString(b[:]), pair.secretHex)
		is.Equal(private.Reveal(), pair.secret)

		public, err := keys.ParseCurvePublic(pair.public)
		is.NoErr(err) // public key
		b = public.Bytes()
		is.Equal(hex.EncodeToString(b[:]), pair.publicHex)
		is.Equal(public.String(), pair.public)
		is.Equal(private.Public(), public)
		kept := private.ECDH()
		is.True(private.ECDH() == kept) // always the same object
		ecdhPublic, err := public.ECDH()
		is.NoErr(err) // public key for crypto/ecdh
		is.True(private.ECDH().PublicKey().Equal(ecdhPublic))
	}
}

func TestCurveParseRefuses(t *testing.T) {
	const good = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
	for name, text := range map[string]string{
		"empty":               "",
		"short":               good[:39],
		"five digits short":   good[:35],
		"long":                good + "0",
		"five digits more":    good + "00000",
		"not in the alphabet": "~" + good[1:],
		"space":               " " + good[1:],
		"not ASCII":           "é" + good[2:],
		"overflow":            "#####" + good[5:],
		"least overflow":      "%nSc1" + good[5:], // 2^32
		"all zero":            strings.Repeat("0", 40),
		"securesp key":        sequencePublic,
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			public, err := keys.ParseCurvePublic(text)
			is.True(errors.Is(err, keys.ErrFormat)) // refused
			is.True(public.IsZero())
			is.True(!strings.Contains(err.Error(), good[10:20])) // nothing of the text repeated
			private, err := keys.ParseCurvePrivate(text)
			is.True(errors.Is(err, keys.ErrFormat)) // refused
			is.True(private == nil)
			is.True(!strings.Contains(err.Error(), good[10:20]))
		})
	}
	is := is.New(t)
	_, err := keys.ParseCurvePublic("%nSc0" + good[5:]) // 2^32 - 1
	is.NoErr(err)                                       // the greatest group
}

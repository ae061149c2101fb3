package overlap_test

import (
	"testing"

	"github.com/matryer/is"

	"github.com/securesp/securesp/internal/overlap"
)

func TestOverlap(t *testing.T) {
	b := make([]byte, 8)
	other := make([]byte, 8)
	for _, tt := range []struct {
		name         string
		x, y         []byte
		any, inexact bool
	}{
		{"same", b, b, true, false},
		{"same start", b[:3], b, true, false},
		{"shifted", b[:5], b[4:], true, true},
		{"inside", b[2:3], b, true, true},
		{"adjacent", b[:4], b[4:], false, false},
		{"apart", b[:2], b[6:], false, false},
		{"empty inside", b[2:2], b, false, false},
		{"both empty", nil, nil, false, false},
		{"other array", b, other, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			is.Equal(overlap.Any(tt.x, tt.y), tt.any)
			is.Equal(overlap.Any(tt.y, tt.x), tt.any)
			is.Equal(overlap.Inexact(tt.x, tt.y), tt.inexact)
			is.Equal(overlap.Inexact(tt.y, tt.x), tt.inexact)
		})
	}
}

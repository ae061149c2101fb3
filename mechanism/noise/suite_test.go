package noise_test

import (
	"testing"

	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/mechanism/mechtest"
	"github.com/securesp/securesp/mechanism/noise"
)

// messageSizes are those of SPEC §1.
var messageSizes = map[mechanism.Suite][]int{
	mechanism.XXhfsChaChaPoly:     {1216, 1200, 64},
	mechanism.XXhfsAESGCM:         {1216, 1200, 64},
	mechanism.IKhfsChaChaPoly:     {1296, 1152},
	mechanism.IKhfsAESGCM:         {1296, 1152},
	mechanism.NKhfsChaChaPoly:     {1248, 1152},
	mechanism.NKhfsAESGCM:         {1248, 1152},
	mechanism.NNhfsPSK0ChaChaPoly: {1248, 1152},
	mechanism.NNhfsPSK0AESGCM:     {1248, 1152},
	mechanism.XXhfsPSK3ChaChaPoly: {1248, 1200, 64},
	mechanism.XXhfsPSK3AESGCM:     {1248, 1200, 64},
	mechanism.XXChaChaPoly:        {32, 96, 64},
	mechanism.XXAESGCM:            {32, 96, 64},
	mechanism.IKChaChaPoly:        {96, 48},
	mechanism.IKAESGCM:            {96, 48},
	mechanism.NKChaChaPoly:        {48, 48},
	mechanism.NKAESGCM:            {48, 48},
}

func TestConformance(t *testing.T) {
	for suite, sizes := range messageSizes {
		t.Run(suite.String(), func(t *testing.T) {
			m, ok := noise.Mechanism(suite)
			if !ok {
				t.Fatal("no such suite")
			}
			mechtest.Run(t, mechtest.Options{Mechanism: m, MessageSizes: sizes})
		})
	}
}

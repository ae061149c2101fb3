package keys_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/securesp/securesp/keys"
)

// A certificate that CZMQ and pyzmq read, too.
func ExampleCurveCert_Save() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	key, err := keys.GenerateCurve()
	if err != nil {
		fmt.Println(err)
		return
	}
	path := filepath.Join(dir, "server.key")
	cert := keys.CurveCert{
		Public:   key.Public(),
		Private:  key,
		Metadata: map[string]string{"name": "the server"},
	}
	if err := cert.Save(path); err != nil {
		fmt.Println(err)
		return
	}

	// The server loads the secret file, its clients the public one.
	own, err := keys.LoadCurveCert(path + "_secret")
	if err != nil {
		fmt.Println(err)
		return
	}
	public, err := keys.LoadCurveCert(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(own.Private != nil, public.Private != nil, own.Public == public.Public, public.Metadata["name"])
	// Output: true false true the server
}

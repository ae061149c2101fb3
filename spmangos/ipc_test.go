package spmangos_test

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/matryer/is"
	"go.nanomsg.org/mangos/v3"
	"go.nanomsg.org/mangos/v3/protocol/pair"

	"github.com/securesp/securesp/internal/leak"
)

// leftover returns the path of a socket file whose process is gone.
func leftover(t *testing.T) string {
	t.Helper()
	is := is.New(t)
	path := filepath.Join(t.TempDir(), "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	is.NoErr(err) // make a socket file
	l.SetUnlinkOnClose(false)
	is.NoErr(l.Close())
	_, err = os.Lstat(path)
	is.NoErr(err) // it is still there
	return path
}

func TestSocketFiles(t *testing.T) {
	is := is.New(t)
	leak.Check(t)
	server, client := configs(t)
	a, b := open(t, pair.NewSocket), open(t, pair.NewSocket)

	stale := "securesp+ipc://" + leftover(t)
	a.listen(stale, options(server)) // a stale file is replaced
	b.dial(stale, options(client))
	b.await(mangos.PipeEventAttached)

	busy := open(t, pair.NewSocket)
	is.Equal(busy.ListenOptions(stale, options(server)), mangos.ErrAddrInUse) // a busy one is not
	other := open(t, pair.NewSocket)
	other.dial(stale, options(client)) // and goes on working

	file := filepath.Join(t.TempDir(), "file")
	is.NoErr(os.WriteFile(file, []byte("precious"), 0o600))
	is.Equal(busy.ListenOptions("securesp+ipc://"+file, options(server)), mangos.ErrAddrInUse)
	content, err := os.ReadFile(file)
	is.NoErr(err)
	is.Equal(string(content), "precious") // what is no socket stays as it is

	is.True(busy.ListenOptions("securesp+ipc://"+file+"/below", options(server)) != nil)
}

func TestSocketFileOptions(t *testing.T) {
	is := is.New(t)
	leak.Check(t)
	server, _ := configs(t)
	for _, mode := range []interface{}{uint32(0o620), fs.FileMode(0o604)} {
		path := filepath.Join(t.TempDir(), "s")
		sock := open(t, pair.NewSocket)
		sock.listen("securesp+ipc://"+path, options(server,
			"UNIX-IPC-CHMOD", mode, "UNIX-IPC-OWNER", os.Getuid(), "UNIX-IPC-GROUP", os.Getgid()))
		info, err := os.Stat(path)
		is.NoErr(err)
		want, ok := mode.(fs.FileMode)
		if !ok {
			want = fs.FileMode(mode.(uint32))
		}
		is.Equal(info.Mode().Perm(), want)
	}
	sock := open(t, pair.NewSocket)
	for _, c := range []struct {
		name  string
		value interface{}
	}{
		{"UNIX-IPC-CHMOD", uint32(0o1777)}, {"UNIX-IPC-CHMOD", uint32(0)}, {"UNIX-IPC-CHMOD", fs.FileMode(0)},
		{"UNIX-IPC-OWNER", "root"}, {"UNIX-IPC-GROUP", uint32(0)},
	} {
		_, err := sock.NewListener("securesp+ipc:///nowhere", options(server, c.name, c.value))
		is.Equal(err, mangos.ErrBadValue)
	}
	if os.Getuid() != 0 {
		path := filepath.Join(t.TempDir(), "s")
		err := sock.ListenOptions("securesp+ipc://"+path, options(server, "UNIX-IPC-OWNER", 0))
		is.True(err != nil) // rather nobody than the wrong ones
		_, err = os.Lstat(path)
		is.True(os.IsNotExist(err))
	}
}

// TestPeerCredentials asks for what mangos' own ipc transport knows, under its
// names.
func TestPeerCredentials(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only known on Linux")
	}
	is := is.New(t)
	leak.Check(t)
	sc, cc := configs(t)
	server, client := pipes(t, schemes[1], options(sc), options(cc))
	for name, want := range map[string]int{
		mangos.OptionPeerPID: os.Getpid(), mangos.OptionPeerUID: os.Getuid(), mangos.OptionPeerGID: os.Getgid(),
	} {
		got, err := server.GetOption(name)
		is.NoErr(err)
		is.Equal(got, want)
		got, err = client.GetOption(name)
		is.NoErr(err)
		is.Equal(got, want)
	}
	server, _ = pipes(t, schemes[0], options(sc), options(cc))
	_, err := server.GetOption(mangos.OptionPeerUID)
	is.Equal(err, mangos.ErrBadOption) // TCP does not know
}

package securesp

import (
	"net"
	"syscall"

	"github.com/securesp/securesp/trust"
)

// peerCredentials returns who connected to a UNIX socket, as the kernel says
// (unix(7), SO_PEERCRED), or nil for other carriers.
func peerCredentials(carrier net.Conn) *trust.Credentials {
	u, ok := carrier.(*net.UnixConn)
	if !ok {
		return nil
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil
	}
	var cred *syscall.Ucred
	if raw.Control(func(fd uintptr) {
		cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}) != nil || err != nil {
		return nil
	}
	return &trust.Credentials{PID: int(cred.Pid), UID: cred.Uid, GID: cred.Gid}
}

module github.com/securesp/securesp/interop

go 1.26.0

require (
	github.com/flynn/noise v1.1.0
	github.com/matryer/is v1.4.1
	github.com/securesp/securesp v0.0.0
	go.nanomsg.org/mangos/v3 v3.4.2
)

require (
	github.com/quic-go/quic-go v0.65.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/securesp/securesp => ../

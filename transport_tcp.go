package securesp

import (
	"context"
	"net"
)

// tcp is the carrier that package net makes best: Happy Eyeballs, keepalive
// probes and no delay are its defaults.
var tcp = transport{
	dial: func(ctx context.Context, d *net.Dialer, network, address string, _ *Config) (net.Conn, error) {
		return d.DialContext(ctx, network, address)
	},
	listen: func(network, address string, _ *Config) (net.Listener, error) {
		return net.Listen(network, address)
	},
}

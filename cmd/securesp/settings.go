package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/cpu"

	"github.com/securesp/securesp"
	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/mechanism"
	"github.com/securesp/securesp/trust"
)

// settings are the flags that all commands share which make connections.
type settings struct {
	identity, psk      string
	peers              list
	trust, firstUse    string
	anyone             bool
	suites             list
	protocol           string
	name, peerName     string
	keepAlive, timeout time.Duration
	padding, mode      string
	verbose            bool
	makeDo             bool // what is missing is made up: a new key, and trust in everybody
}

// list is a flag that may be given several times, or once with commas.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(text string) error {
	*l = append(*l, strings.Split(text, ",")...)
	return nil
}

// register defines the flags. Those that stand for files and keys are plain
// strings: package flag repeats a value that it rejects, and somebody may pass
// a secret by mistake.
func (s *settings) register(flags *flag.FlagSet) {
	flags.StringVar(&s.identity, "identity", "", "")
	flags.StringVar(&s.identity, "i", "", "")
	flags.StringVar(&s.psk, "psk-file", "", "")
	flags.Var(&s.peers, "peer", "")
	flags.StringVar(&s.trust, "trust", "", "")
	flags.StringVar(&s.firstUse, "first-use", "", "")
	flags.BoolVar(&s.anyone, "anyone", false, "")
	flags.Var(&s.suites, "suite", "")
	flags.StringVar(&s.protocol, "protocol", "", "")
	flags.StringVar(&s.name, "name", "", "")
	flags.StringVar(&s.peerName, "peer-name", "", "")
	flags.DurationVar(&s.keepAlive, "keep-alive", 0, "")
	flags.DurationVar(&s.timeout, "timeout", securesp.DefaultHandshakeTimeout, "")
	flags.StringVar(&s.padding, "padding", "none", "")
	flags.StringVar(&s.mode, "mode", "", "")
	flags.BoolVar(&s.verbose, "v", false, "")
}

// config turns the settings into a Config. What is missing for the chosen
// suites is left to package securesp to find, but for what nearly everybody
// forgets.
func (s *settings) config(log *slog.Logger) (*securesp.Config, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	c := &securesp.Config{
		Protocol:         s.protocol,
		Name:             s.name,
		PeerName:         s.peerName,
		KeepAlive:        s.keepAlive,
		HandshakeTimeout: s.timeout,
	}
	var err error
	if c.SocketMode, err = s.socketMode(0); err != nil {
		return nil, err
	}
	if c.Padding, err = parsePadding(s.padding); err != nil {
		return nil, err
	}
	if c.Suites, err = parseSuites(s.suites); err != nil {
		return nil, err
	}
	if s.identity != "" {
		if c.Identity, err = keys.Load(s.identity); err != nil {
			return nil, configError(err)
		}
	}
	if c.Identity == nil && s.makeDo {
		if c.Identity, err = s.newIdentity(); err != nil {
			return nil, err
		}
	}
	if s.psk != "" {
		if c.PSK, err = keys.LoadShared(s.psk); err != nil {
			return nil, configError(err)
		}
	}
	if c.Trust, err = s.policy(log); err != nil {
		return nil, err
	}
	return c, nil
}

// check finds mistakes that need no file to be opened.
func (s *settings) check() error {
	for _, path := range []string{s.identity, s.psk} {
		if looksSecret(path) {
			return usageError{secretInArguments}
		}
	}
	switch {
	case s.timeout <= 0:
		return usagef("--timeout must be positive")
	case s.keepAlive < 0:
		return usagef("--keep-alive must not be negative")
	case s.suites != nil || s.identity != "" || s.psk != "" || s.makeDo:
		return nil
	}
	return usageError{identityMissing}
}

// looksSecret reports whether an argument is a secret itself rather than the
// name of a file.
func looksSecret(text string) bool {
	return strings.HasPrefix(text, "ssk1:") || strings.HasPrefix(text, "sps1:")
}

// policy returns whom to trust. Nil is for suites in which no peer proves a
// key.
func (s *settings) policy(log *slog.Logger) (trust.Policy, error) {
	given := 0
	for _, is := range []bool{len(s.peers) > 0, s.trust != "", s.firstUse != "", s.anyone} {
		if is {
			given++
		}
	}
	keyless := s.suites != nil || s.identity == "" // in the latter case a shared secret is all
	if s.makeDo && given == 0 {
		return trust.Anyone(), nil
	}
	switch {
	case given > 1:
		return nil, usageError{trustTwice}
	case len(s.peers) > 0:
		return parsePeers(s.peers)
	case s.trust != "":
		p, err := trust.File(s.trust)
		if f, ok := p.(*trust.FilePolicy); ok {
			f.OnError(func(err error) { log.Error("the last good content stays in force", "err", plainText(err)) })
		}
		return p, err
	case s.firstUse != "":
		return trust.FirstUse(s.firstUse)
	case s.anyone:
		return trust.Anyone(), nil
	case keyless:
		return nil, nil
	}
	return nil, usageError{trustMissing}
}

func parsePeers(texts []string) (trust.Policy, error) {
	list := make([]keys.Public, len(texts))
	for i, text := range texts {
		if looksSecret(text) {
			return nil, usageError{secretInArguments}
		}
		var err error
		if list[i], err = keys.ParsePublic(text); err != nil {
			return nil, usagef("--peer: %s", plainText(err))
		}
	}
	return trust.Keys(list...), nil
}

// configError makes an error with a file of keys one of usage.
func configError(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return usagef("%v", err)
	}
	return err
}

// parsePadding understands what the usage of --padding says.
func parsePadding(text string) (securesp.Padding, error) {
	switch text {
	case "none":
		return 0, nil
	case "power-of-two":
		return securesp.PadPowerOfTwo, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > mechanism.MaxPlaintext {
		return 0, usagef("--padding is none, power-of-two or a number from 1 to %d", mechanism.MaxPlaintext)
	}
	return securesp.Padding(n), nil
}

// socketMode returns the mode for socket files, or preset if none was given.
func (s *settings) socketMode(preset fs.FileMode) (fs.FileMode, error) {
	if s.mode == "" {
		return preset, nil
	}
	n, err := strconv.ParseUint(s.mode, 8, 32)
	if err != nil || n == 0 || n > 0o777 {
		return 0, usagef("--mode is an octal number such as 660")
	}
	return fs.FileMode(n), nil
}

// parseSuites understands the full names of suites and, for each pattern, the
// part of the name that says which, as in "XXhfs" or "NNhfs+psk0". A pattern
// stands for its suites with either cipher.
func parseSuites(names []string) ([]mechanism.Suite, error) {
	var suites []mechanism.Suite
	for _, name := range names {
		if s, err := mechanism.ParseSuite(name); err == nil && s != mechanism.Curve {
			suites = append(suites, s)
			continue
		}
		both := suitesOf(name)
		if both == nil {
			return nil, usagef("there is no suite %q; the suites are:\n%s", name, suiteNames())
		}
		suites = append(suites, both...)
	}
	return suites, nil
}

// suitesOf returns the suites of a pattern, the one first whose cipher this
// processor is made for: without its help AES is slow and not constant-time.
func suitesOf(pattern string) (found []mechanism.Suite) {
	aes := cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ && cpu.X86.HasSSE41 || cpu.ARM64.HasAES && cpu.ARM64.HasPMULL ||
		cpu.S390X.HasAES && cpu.S390X.HasAESGCM
	for _, s := range mechanism.Suites() {
		parts := strings.Split(s.String(), "_")
		if len(parts) != 5 || !strings.EqualFold(parts[1], pattern) {
			continue
		}
		if aes == (parts[3] == "AESGCM") {
			found = append([]mechanism.Suite{s}, found...)
		} else {
			found = append(found, s)
		}
	}
	return found
}

func suiteNames() string {
	var b strings.Builder
	for _, s := range mechanism.Suites() {
		if s != mechanism.Curve { // for whose keys there are no flags
			fmt.Fprintf(&b, "  %v\n", s)
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// dialer returns a dialer that gives up when the settings say.
func (s *settings) dialer(config *securesp.Config) *securesp.Dialer {
	return &securesp.Dialer{NetDialer: &net.Dialer{Timeout: s.timeout}, Config: config}
}

// newIdentity returns a new key for who has none. A pre-shared key alone is
// identity enough.
func (s *settings) newIdentity() (*keys.Private, error) {
	if s.psk != "" {
		return nil, nil
	}
	return keys.Generate()
}

package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// All texts for the terminal are in this file.

const mainUsage = `securesp joins programs over authenticated, encrypted connections.

Usage:
  securesp keygen FILE                    make a key
  securesp pub FILE                       show its public key
  securesp cat listen|dial ADDRESS        join standard input and output, or a
                                          command, to a sealed connection
  securesp tunnel listen|dial FROM TO     carry plain connections over sealed ones
  securesp device PATTERN SIDE SIDE       carry messages of nanomsg, nng and mangos
  securesp probe ADDRESS                  connect, and explain what happens
  securesp demo [FILE]                    see it all work on this machine
  securesp help COMMAND                   everything about one command
  securesp version

Addresses:
  HOST:PORT, tcp://HOST:PORT              TCP; also tcp4://, tcp6://
  udp://HOST:PORT                         UDP; also udp4://, udp6://
  ipc://PATH, unix://PATH                 a UNIX socket (ipc:///run/x.socket)

Exit codes:
  0    success
  1    failure for any other reason
  2    mistake in the arguments, or in a key or trust file
  3    nobody listens there
  4    whoever listens there does not speak securesp
  5    the peer is not who it should be, or we do not trust it
  6    the peer does not trust us
  7    no answer in time, or the peer is too busy
  8    no common version, suite or application protocol
  9    an open connection was cut
  130  interrupted

Secrets are never passed as arguments, only as files with mode 0600.
This software is experimental and has not been audited.
`

const keygenUsage = `Usage: securesp keygen [-psk | -service] FILE

Makes a new key and writes it to FILE, with mode 0600. A file that exists is
never overwritten. The public key goes to standard output.

  -psk        make a pre-shared key, for two sides that hold it both; it has
              no public key
  -service    make a service key, for messages sealed end to end

Examples:
  securesp keygen alice.key
  securesp keygen -psk pair.psk
`

const pubUsage = `Usage: securesp pub [-name NAME] FILE

Prints the public key that belongs to the private key in FILE. With a name it
is a line for a trust file.

  -name NAME  what the owner of the trust file calls the key's holder

Examples:
  securesp pub alice.key
  securesp pub -name alice alice.key >> bob.trust
`

const catUsage = `Usage: securesp cat dial   [flags] ADDRESS
       securesp cat listen [flags] ADDRESS

Joins a sealed connection to standard input and output. The end of standard
input ends our direction only; what the peer still sends is written out. The
exit code is 0 only if the peer ended its direction, too: a cut connection is
never mistaken for the end of the data.

  --exec COMMAND    join the connection to this shell command instead; it
                    finds the peer in SECURESP_PEER_KEY, SECURESP_PEER_NAME and
                    SECURESP_REMOTE_ADDR. It is killed if the connection is cut
  -k, --keep        go on listening, for any number of connections (with --exec)
  --max N           as many at the same time (default 64)
  --recv-only       do not read standard input; confirm the end of the data
                    once everything is written. Without this flag a terminal as
                    standard input has the same effect at the end of the data
` + commonUsage + `
Examples:
  securesp cat listen -i bob.key --trust bob.trust :7000 --recv-only > copy.tar
  securesp cat dial -i alice.key --peer spk1:… bob.example:7000 < original.tar
  securesp cat listen -i bob.key --trust bob.trust ipc:///run/date -k --exec date
`

const tunnelUsage = `Usage: securesp tunnel dial   [flags] FROM TO
       securesp tunnel listen [flags] FROM TO

Carries any number of connections: what comes in at FROM goes on to TO.
"dial" listens for plain connections and dials a sealed one for each; "listen"
listens for sealed connections and dials a plain one for each. The ends of
directions pass through one by one, and a connection that breaks on one side
breaks on the other. Changes of the trust file count at once: connections of a
key that leaves it are cut.

Whoever reaches the plain side acts with our key. So let it listen on
localhost or on a UNIX socket, which gets mode 600 unless --mode says otherwise.

  --max N           connections at the same time; more wait (default 1024)
` + commonUsage + `
Examples, for a database at the remote machine and its clients here:
  securesp tunnel listen -i db.key --trust db.trust :7000 127.0.0.1:5432
  securesp tunnel dial -i me.key --peer spk1:… 127.0.0.1:5432 db.example:7000
`

const deviceUsage = `Usage: securesp device [flags] PATTERN listen|dial FRONT listen|dial BACK

Forwards messages of programs that speak the Scalability Protocols (nanomsg,
nng, mangos), message by message, so that programs that know nothing of
security talk through sealed connections. One such device stands at each end,
or one alone where the other program speaks securesp itself.

FRONT is the side of those who begin, BACK is the other:
  reqrep        REQ sockets         REP sockets
  pubsub        PUB                 SUB
  pipeline      PUSH                PULL
  survey        SURVEYOR            RESPONDENT
  pair, bus, star                   it does not matter
Addresses are tcp://HOST:PORT and ipc://PATH for plain programs, and
securesp+tcp://, securesp+ipc:// and securesp+udp:// for sealed connections.
(On Windows there is no plain ipc://.)
Each side listens or dials, whichever its programs do not.

Whoever reaches a plain side acts with our key. So let it listen on localhost
or on a UNIX socket, which gets mode 600 unless --mode says otherwise. Messages
that are on their way when a connection breaks may be lost.

  --max-size N      largest message in bytes, 0 for any (default 1048576)
` + commonUsage + `
Examples, for a REP program at the remote machine and its REQ clients here:
  securesp device -i db.key --trust db.trust reqrep listen securesp+tcp://:7000 dial tcp://127.0.0.1:5555
  securesp device -i me.key --peer spk1:… reqrep listen ipc:///run/db.ipc dial securesp+tcp://db.example:7000
`

const probeUsage = `Usage: securesp probe [flags] ADDRESS

Connects, says what it found, and disconnects. The exit code says the same.
Without an identity it uses a new key, which the peer will hardly trust; without
--peer, --trust or --first-use it shows the peer's key and believes it. Both
are good enough to see whether a peer is there and which key it has.
` + commonUsage + `
Examples:
  securesp probe bob.example:7000
  securesp probe -i alice.key --peer spk1:… bob.example:7000 && echo ready
`

const demoUsage = `Usage: securesp demo [-size SIZE] [FILE]

Shows on this machine what the library is for. It makes keys in a temporary
directory, sends FILE over TCP, UDP and a UNIX socket and compares hashes; then
it asks two workers of a service through a device that can read nothing; then it
tries what must fail: a stranger, an impostor, a flipped bit on the way, and
a peer whose key is taken off the trust file while it is connected. The exit
code is 0 only if all of that went as it should. It takes a few seconds.

  -size SIZE  how much to send when no FILE is given: this program itself, over
              and over, so many MiB (default 256)

Examples:
  securesp demo
  securesp demo /var/backups/home.tar
`

const commonUsage = `
Who we are and whom we trust:
  -i, --identity FILE   our private key (see "securesp keygen")
  --peer KEY            trust this public key, spk1:…; may be repeated
  --trust FILE          trust the public keys in FILE, as it is at any moment
  --first-use FILE      trust the key that a peer shows first, and note it in FILE
  --anyone              trust everybody
  --psk-file FILE       a pre-shared key, with an identity or instead of one
  --name NAME, --peer-name NAME
                        what the two sides call themselves if a pre-shared key
                        is all they have
How:
  --suite NAME          only this suite, or pattern such as XXhfs; may be repeated
  --protocol NAME       application protocol; both sides must name the same
  --timeout TIME        for connecting and handshake together (default 10s)
  --keep-alive TIME     ask a silent peer for a sign of life after that time; one
                        that does not read cannot give it (default never)
  --padding HOW         none, power-of-two, or up to a multiple of N bytes
  --mode MODE           of the socket file we listen on, for example 660
  -v                    say more on standard error
`

// Texts of mistakes in the arguments.
const (
	secretInArguments = "this is a secret where a file or a public key belongs. Arguments are visible to all users " +
		"of this machine: make a new key, and pass the name of its file"
	exposedText     = "the plain side is open to other machines: whoever reaches it acts with our key"
	identityMissing = "who are we? Pass --identity FILE (\"securesp keygen FILE\" makes one) or --psk-file FILE"
	trustMissing    = "whom do we trust? Pass --peer spk1:…, --trust FILE, --first-use FILE or, for everybody, --anyone"
	trustTwice      = "pass only one of --peer, --trust, --first-use and --anyone"
)

// verdict is how a diagnosis is presented: the exit code, what is wrong, and
// what to do next. what is empty where the error says it best.
type verdict struct {
	code       int
	what, next string
}

func (d diagnosis) verdict() verdict {
	switch d {
	case isOK:
		return verdict{exitOK, "a securesp peer that accepts us", ""}
	case isUsage:
		return verdict{exitUsage, "", ""}
	case isConfig:
		return verdict{exitUsage, "", "Correct that, and try again; -h explains all flags."}
	case isNobody:
		return verdict{exitNobody, "nobody listens there", "Start the other side first, and check the address."}
	case isForbidden:
		return verdict{exitFailure, "we are not permitted to connect there", "Check the owner and the mode of the socket and its directory."}
	case isForeign:
		return verdict{exitForeign, "whoever listens there does not speak securesp", "Check the address, and that the other side is not a plain service."}
	case isHungUp:
		return verdict{exitForeign, "whoever listens there hung up without an answer: most likely it does not speak securesp",
			"Check the address; if it is right, see the other side's log."}
	case isPlainSP:
		return verdict{exitForeign, "plain SP without security listens there", "Make the other side use securesp, too."}
	case isVersion:
		return verdict{exitIncompatible, "the two sides have no protocol version in common", "Upgrade the older side."}
	case isSuite:
		return verdict{exitIncompatible, "the two sides have no suite in common", "Pass a --suite that the other side accepts, or none on either side."}
	case isProtocol:
		return verdict{exitIncompatible, "the two sides run different application protocols", "Pass the same --protocol on both sides."}
	case isRejected:
		return verdict{exitUntrusted, "wrong key: the peer cannot use what we sent; it is not the holder of the expected key, or the pre-shared keys or names differ",
			"Ask the peer's operator for its public key and compare. If it is right, somebody else answers at this address."}
	case isUnauthentic:
		return verdict{exitUntrusted, "what the peer sent does not authenticate: it holds another key, or somebody altered it on the way",
			"Compare the keys of both sides. If they are right, distrust the network."}
	case isUntrusted:
		return verdict{exitUntrusted, "we do not trust the peer's key", "If its operator confirms the key, add it to the trust file, or pass it as --peer."}
	case isKeyChanged:
		return verdict{exitUntrusted, "the peer's key is not the one we know", ""}
	case isRevoked:
		return verdict{exitUntrusted, "the peer's key was taken off our trust file", ""}
	case isRefused:
		return verdict{exitRefused, "not authorised: the peer does not trust our key",
			"Have its operator add our key to its trust file; \"securesp pub FILE\" prints it."}
	case isConnectTimeout:
		return verdict{exitTimeout, "no answer at all within the time", "Check the address, the route and any firewall, or pass a longer --timeout."}
	case isHandshakeTimeout:
		return verdict{exitTimeout, "somebody listens there, but does not answer us in time",
			"Check that it is a securesp peer and that it is not overloaded, or pass a longer --timeout."}
	case isBusy:
		return verdict{exitTimeout, "the peer has no room for another connection now", "Try again later."}
	case isCut:
		return verdict{exitCut, "the connection was cut: what arrived is not everything", "Try again."}
	case isClosedEarly:
		return verdict{exitCut, "the peer closed the connection before it had all we sent", ""}
	case isBrokenBehind:
		return verdict{exitCut, "the connection was cut behind the peer: what arrived is not everything", "See the other side's log."}
	case isCommandFailed:
		return verdict{exitCut, "the command that the peer runs has failed", "See the other side's log."}
	case isInterrupted:
		return verdict{exitInterrupted, "interrupted", ""}
	}
	return verdict{exitFailure, "", ""}
}

// plainText returns err's text without the library's prefix.
func plainText(err error) string {
	return strings.TrimPrefix(err.Error(), "securesp: ")
}

// report tells the user about err on w.
func report(w io.Writer, command string, err error) {
	v := diagnose(err).verdict()
	var usage usageError
	switch {
	case errors.As(err, &usage):
		fmt.Fprintf(w, "%s: %s\nsee \"%s -h\"\n", command, plainText(err), command)
		return
	case v.code == exitInterrupted:
		fmt.Fprintf(w, "%s: %s\n", command, v.what)
		return
	case v.what == "":
		fmt.Fprintf(w, "%s: %s\n", command, plainText(err))
	default:
		fmt.Fprintf(w, "%s: %s\n  cause: %s\n", command, v.what, plainText(err))
	}
	if v.next != "" {
		fmt.Fprintf(w, "  next:  %s\n", v.next)
	}
}

// row prints one line of a two-column table.
func row(w io.Writer, name string, format string, args ...any) {
	fmt.Fprintf(w, "  %-12s %s\n", name, fmt.Sprintf(format, args...))
}

// formatTime returns d with three digits or so.
func formatTime(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// formatSize returns n bytes in the unit that suits.
func formatSize(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for ; n >= 1024 && i < len(units)-1; i++ {
		n /= 1024
	}
	if i == 0 {
		return fmt.Sprintf("%.0f B", n)
	}
	return fmt.Sprintf("%.1f %s", n, units[i])
}

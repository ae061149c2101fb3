package trust

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/securesp/securesp/keys"
)

// pollInterval is how often a trust file is looked at while somebody watches.
const pollInterval = time.Second

// FilePolicy is the [Policy] of a trust file: what [File] returns. It is also a
// [Pinner], a [Namer] and a [Watcher]. All its methods are safe for concurrent
// use.
type FilePolicy struct {
	mu       sync.Mutex
	file     tracked
	set      entries // the last good content
	parseErr error   // what is wrong with the content last read
	problem  error   // why set is not what the file says now, if it is not
	onError  func(error)
	watchers map[*watcher]struct{}
	quit     chan struct{} // ends the polling goroutine; exists while watchers do
}

// File returns a [Policy], in fact a *[FilePolicy], that authorises the holders
// of the keys listed in a file (SPEC §6):
//
//	# key, then optionally a name, then restrictions
//	spk1:A… alice
//	spk1:B… build-7  from=192.0.2.0/24,2001:db8::/32  expires=2030-12-31T23:59:59Z
//	spk1:C… uid=1000 # only user 1000, over a UNIX socket
//
// A restriction "from" is met by connections from one of the networks, and may
// be given more than once; connections without an IP address never meet it.
// "uid" is met by processes of that user, over a UNIX socket only. "expires" is
// met until then. A line that is not understood, that repeats a key or is
// longer than 4096 bytes spoils the whole file, as does one of more than
// 16 MiB or one that anybody on the machine may write to (but on Windows):
// File then returns a *[FileError].
//
// The file is looked at whenever the policy is asked, about once a second while
// connections are watched, and reread if it has changed; to replace it by
// rename is best. A connection whose key has left the file ends about two
// seconds later: a second look tells a removal from a file that is just being
// written. One whose trust expires ends within about a second of that.
//
// If the file becomes bad, or vanishes, the last good content stays in force
// and the problem is reported once: to slog.Default, or as [FilePolicy.OnError]
// says. An empty file is good, and authorises nobody.
func File(path string) (Policy, error) {
	f := &FilePolicy{
		file:     tracked{path: path},
		watchers: make(map[*watcher]struct{}),
		onError: func(err error) {
			slog.Default().Error("trust file not usable, its last good content stays in force", "error", err)
		},
	}
	if err := f.lookLocked(); err != nil {
		return nil, err
	}
	return f, nil
}

// OnError has report called, in place of slog.Default, with each new problem:
// a *[FileError]. It is called from whatever goroutine noticed the problem and
// may use the policy.
func (f *FilePolicy) OnError(report func(error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onError = report
}

// Err looks at the file and returns the *[FileError] because of which older
// content than the file's is in force, or nil: for health checks, and for
// whoever wants to know at once whether a change of the file was good.
func (f *FilePolicy) Err() error {
	f.refresh()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.problem
}

// Authorize implements [Policy].
func (f *FilePolicy) Authorize(_ context.Context, peer Peer) error {
	return f.refresh().authorize(peer, time.Now())
}

// Pinned implements [Pinner]: the file has one entry.
func (f *FilePolicy) Pinned() (keys.Public, bool) { return only(f.refresh()) }

// NameOf implements [Namer].
func (f *FilePolicy) NameOf(key keys.Public) string {
	if e, ok := f.refresh()[key]; ok {
		return e.name
	}
	return ""
}

// refresh looks at the file and returns what is in force.
func (f *FilePolicy) refresh() entries {
	f.mu.Lock()
	news := f.lookLocked()
	set, report := f.set, f.onError
	f.mu.Unlock()
	if news != nil {
		report(news)
	}
	return set
}

// lookLocked takes up the file's content if it has changed. It returns a
// problem if that is news.
func (f *FilePolicy) lookLocked() (news error) {
	content, changed, err := f.file.look(time.Now())
	if changed {
		var set entries
		set, f.parseErr = parseEntries(content)
		if f.parseErr == nil {
			f.set = set
		} else {
			f.parseErr = f.file.named(f.parseErr)
		}
	}
	if err == nil {
		err = f.parseErr
	}
	last := f.problem
	f.problem = err
	if err != nil && last != nil && !changed && err.Error() == last.Error() {
		return nil
	}
	return err
}

// watcher is one call of Watch.
type watcher struct {
	peer   Peer
	revoke func(error)
	denied bool        // the last look found the peer refused; guarded by FilePolicy.mu
	ended  atomic.Bool // stopped or revoked
}

// Watch implements [Watcher]. While anybody watches, one goroutine looks at the
// file.
func (f *FilePolicy) Watch(peer Peer, revoke func(error)) (stop func()) {
	w := &watcher{peer: peer, revoke: revoke}
	set := f.refresh()
	f.mu.Lock()
	defer f.mu.Unlock()
	w.denied = set.authorize(peer, time.Now()) != nil
	if len(f.watchers) == 0 {
		f.quit = make(chan struct{})
		go f.poll(f.quit)
	}
	f.watchers[w] = struct{}{}
	return func() { f.end(w) }
}

// end ends a watcher. It reports whether that was not done before.
func (f *FilePolicy) end(w *watcher) bool {
	if !w.ended.CompareAndSwap(false, true) {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.watchers, w)
	if len(f.watchers) == 0 {
		close(f.quit)
	}
	return true
}

// poll looks at the file until quit is closed.
func (f *FilePolicy) poll(quit <-chan struct{}) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-quit:
			return
		case <-ticker.C:
		}
		for w, err := range f.lost() {
			if f.end(w) {
				w.revoke(err)
			}
		}
	}
}

// lost returns the watchers whose peers are no longer authorised, and why.
func (f *FilePolicy) lost() map[*watcher]error {
	set := f.refresh()
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	lost := make(map[*watcher]error)
	for w := range f.watchers {
		err := set.authorize(w.peer, now)
		// A file that is not replaced but rewritten is empty or
		// incomplete for a moment. That must not end connections, so
		// only what two looks agree on counts. Time only goes forward.
		if err != nil && (w.denied || errors.Is(err, ErrExpired)) {
			lost[w] = err
		}
		w.denied = err != nil
	}
	return lost
}

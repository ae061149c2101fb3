package trust_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/securesp/securesp/keys"
	"github.com/securesp/securesp/trust"
)

// revocation is how long a removal may take to end connections: two looks, a
// second apart.
const revocation = 2 * time.Second

// watch watches a key; what revoke was called with is in the channel.
func watch(policy *trust.FilePolicy, key keys.Public) (revoked chan error, stop func()) {
	revoked = make(chan error, 10)
	return revoked, policy.Watch(trust.Peer{Key: key, Addr: tcp("192.0.2.1")}, func(err error) { revoked <- err })
}

// TestWatch takes trust away in each way there is.
func TestWatch(t *testing.T) {
	for name, c := range map[string]struct {
		line string // what becomes of the key's line
		want error
	}{
		"removed":          {"", trust.ErrUnknownKey},
		"commented out":    {"#KEY", trust.ErrUnknownKey},
		"confined":         {"KEY from=198.51.100.0/24", trust.ErrAddress},
		"given to a user":  {"KEY uid=7", trust.ErrCredentials},
		"expired":          {"KEY expires=1999-12-31T23:59:59Z", trust.ErrExpired},
		"renamed":          {"KEY another", nil},
		"confined to here": {"KEY from=192.0.2.0/24", nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				alice, bob := newKey(t), newKey(t)
				policy, path := openFile(t, alice.String()+"\n"+bob.String()+"\n")
				aliceRevoked, stopAlice := watch(policy, alice)
				defer stopAlice()
				bobRevoked, stopBob := watch(policy, bob)
				defer stopBob()
				time.Sleep(time.Minute)
				is.Equal(len(aliceRevoked), 0) // not without a reason

				replace(t, path, strings.ReplaceAll(c.line, "KEY", alice.String())+"\n"+bob.String()+"\n")
				time.Sleep(revocation)
				synctest.Wait()
				if c.want == nil {
					is.Equal(len(aliceRevoked), 0) // still trusted
				} else {
					is.Equal(len(aliceRevoked), 1)
					err := <-aliceRevoked
					is.True(errors.Is(err, c.want)) // for the right reason
					is.True(errors.Is(err, trust.ErrDenied))
				}
				time.Sleep(time.Minute)
				is.Equal(len(aliceRevoked), 0) // once
				is.Equal(len(bobRevoked), 0)   // nobody else
			})
		})
	}
}

func TestWatchExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		alice := newKey(t)
		policy, _ := openFile(t, alice.String()+" expires="+time.Now().Add(time.Minute).Format(time.RFC3339))
		revoked, stop := watch(policy, alice)
		defer stop()
		time.Sleep(time.Minute - 1)
		synctest.Wait()
		is.Equal(len(revoked), 0) // a nanosecond left
		time.Sleep(time.Second)
		synctest.Wait()
		is.Equal(len(revoked), 1) // at the next look
		is.True(errors.Is(<-revoked, trust.ErrExpired))
	})
}

// TestWatchTooLate watches a peer whose key left the file after it was
// authorised.
func TestWatchTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		alice := newKey(t)
		policy, path := openFile(t, alice.String())
		is.NoErr(policy.Authorize(t.Context(), trust.Peer{Key: alice})) // in time
		replace(t, path, "")
		revoked, stop := watch(policy, alice)
		defer stop()
		time.Sleep(time.Second)
		synctest.Wait()
		is.Equal(len(revoked), 1) // at the next look
		is.True(errors.Is(<-revoked, trust.ErrUnknownKey))
	})
}

// TestWatchRewrite sees that a file which is empty for a moment, because it is
// rewritten in place, ends no connection.
func TestWatchRewrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		alice := newKey(t)
		policy, path := openFile(t, alice.String())
		revoked, stop := watch(policy, alice)
		defer stop()
		for range 5 {
			time.Sleep(500 * time.Millisecond)
			write(t, path, "") // half a second before a look
			time.Sleep(time.Second)
			write(t, path, alice.String()) // half a second after it
			time.Sleep(500 * time.Millisecond)
		}
		synctest.Wait()
		is.Equal(len(revoked), 0)
	})
}

// TestWatchBadFile sees that a file which cannot be used ends no connection.
func TestWatchBadFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		alice := newKey(t)
		policy, path := openFile(t, alice.String())
		var reports atomic.Int32
		policy.OnError(func(error) { reports.Add(1) })
		revoked, stop := watch(policy, alice)
		defer stop()
		replace(t, path, "nonsense")
		time.Sleep(time.Minute)
		is.Equal(reports.Load(), int32(1)) // told once, without being asked
		is.NoErr(os.Remove(path))
		time.Sleep(time.Minute)
		is.Equal(reports.Load(), int32(2))
		is.Equal(len(revoked), 0)

		replace(t, path, "")
		time.Sleep(revocation)
		synctest.Wait()
		is.True(errors.Is(<-revoked, trust.ErrUnknownKey)) // a good file counts again
	})
}

// TestVanishingFile looks at a file that comes and goes: whichever look at it
// fails, that is one problem, to be reported once.
func TestVanishingFile(t *testing.T) {
	is := is.New(t)
	policy, path := openFile(t, newKey(t).String())
	policy.OnError(func(error) {})
	var enough atomic.Bool
	moved := make(chan error, 1)
	go func() {
		var err error
		for err == nil && !enough.Load() {
			err = errors.Join(os.Rename(path, path+".away"), os.Rename(path+".away", path))
		}
		moved <- err
	}()
	problems := make(map[string]int)
	for missing := 0; missing < 500 && len(moved) == 0; {
		if err := policy.Err(); err != nil {
			is.True(errors.Is(err, fs.ErrNotExist))
			problems[err.Error()]++
			missing++
		}
	}
	enough.Store(true)
	is.NoErr(<-moved)
	is.Equal(len(problems), 1)
	is.NoErr(policy.Err())
}

func TestWatchStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		alice := newKey(t)
		policy, path := openFile(t, alice.String())
		for range 3 { // a goroutine comes and goes each time
			replace(t, path, alice.String())
			revoked, stop := watch(policy, alice)
			_, stopOther := watch(policy, alice)
			replace(t, path, "")
			stop()
			stop() // once more does no harm
			time.Sleep(time.Minute)
			is.Equal(len(revoked), 0) // nobody listens
			stopOther()
		}
		// synctest fails the test if a goroutine is left.
	})
}

// TestWatchStopWithin calls stop, and everything else, from revoke.
func TestWatchStopWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		alice := newKey(t)
		policy, path := openFile(t, alice.String())
		errs := make(chan error, 1)
		var stop func()
		stop = policy.Watch(trust.Peer{Key: alice}, func(error) {
			stop()
			err := policy.Authorize(t.Context(), trust.Peer{Key: alice})
			_, again := watch(policy, alice)
			again()
			errs <- err
		})
		replace(t, path, "")
		is.True(errors.Is(<-errs, trust.ErrUnknownKey))
		stop()
	})
}

// TestWatchStopOther has the first of two that lose trust at the same look
// stop the other, which must then hear nothing.
func TestWatchStopOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		alice := newKey(t)
		policy, path := openFile(t, alice.String())
		var stops [2]func()
		revoked := make(chan int, len(stops))
		for i := range stops {
			stops[i] = policy.Watch(trust.Peer{Key: alice}, func(error) {
				stops[1-i]()
				revoked <- i
			})
		}
		replace(t, path, "")
		time.Sleep(time.Minute)
		is.Equal(len(revoked), 1)
	})
}

func TestWatchAnonymous(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		policy, _ := openFile(t, newKey(t).String())
		revoked, stop := watch(policy, keys.Public{})
		defer stop()
		is.True(errors.Is(<-revoked, trust.ErrAnonymous))
	})
}

// TestWatchRace has everything happen at once, for the race detector. Each
// watcher of the removed key is revoked or stopped, never revoked after that.
func TestWatchRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		alice, bob := newKey(t), newKey(t)
		policy, path := openFile(t, alice.String()+"\n"+bob.String())
		policy.OnError(func(error) {})
		failures := make(chan error, 1000)
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				for j := range 20 {
					var stopped atomic.Bool
					stop := policy.Watch(trust.Peer{Key: bob}, func(error) {
						if stopped.Load() {
							failures <- fmt.Errorf("watcher %d/%d revoked after stop", i, j)
						}
					})
					time.Sleep(time.Duration(i*j) * 10 * time.Millisecond)
					if err := policy.Authorize(t.Context(), trust.Peer{Key: alice}); err != nil {
						failures <- err
					}
					policy.Pinned()
					policy.NameOf(bob)
					stop()
					time.Sleep(time.Nanosecond) // until a call that was under way is over
					stopped.Store(true)
				}
			})
		}
		all.Go(func() {
			for i := range 40 {
				switch i % 4 {
				case 0:
					replace(t, path, alice.String()+"\n"+bob.String())
				case 1:
					replace(t, path, alice.String())
				case 2:
					replace(t, path, "nonsense")
				case 3:
					os.Remove(path)
				}
				time.Sleep(700 * time.Millisecond)
			}
		})
		all.Wait()
		close(failures)
		for err := range failures {
			is.NoErr(err)
		}
	})
}

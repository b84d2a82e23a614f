package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/calroll/calroll/tasks"
)

// Standing says how things stand with a lock.
type Standing string

// The standings.
const (
	Free  Standing = "free"
	Held  Standing = "held"  // a helper of the holder is there, and hears its controller
	Quiet Standing = "quiet" // a helper is there, but has not heard its controller for a while
	Left  Standing = "left"  // the helper is gone, and the controller has not said that it is done
)

// aliveFor is how long a controller that lives may be silent: it says something every half minute.
const aliveFor = 75 * time.Second

// LockState is how things stand with the lock of a host, or of one identity on it.
type LockState struct {
	Standing Standing      `json:"standing"`
	Token    int64         `json:"token"`             // the newest that was given
	Holder   *Holder       `json:"holder,omitempty"`  // nil when free
	Silence  time.Duration `json:"silence,omitempty"` // since the holder was last heard, by the host's clock; in nanoseconds
	Expires  time.Duration `json:"expires,omitempty"` // how long the lock lasts if nothing is heard; in nanoseconds
	Helpers  []int         `json:"helpers,omitempty"` // processes on the host
}

// LockOf looks at the lock of the runs below dir and writes nothing.
func LockOf(dir string) (LockState, error) {
	gate, err := openGate(dir, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return LockState{Standing: Free}, nil
	}
	if err != nil {
		return LockState{}, fmt.Errorf("cannot look at the lock: %w", err)
	}
	defer gate.Close()
	f, err := os.Open(filepath.Join(dir, lockName))
	if errors.Is(err, fs.ErrNotExist) {
		return LockState{Standing: Free}, nil
	}
	if err != nil {
		return LockState{}, fmt.Errorf("cannot look at the lock: %w", err)
	}
	defer f.Close()
	r, err := readRecord(f)
	if err != nil {
		return LockState{}, err
	}
	return lockState(f, gate, r), nil
}

// lockState is what the record comes to; the gate is held.
func lockState(f, gate *os.File, r record) LockState {
	s := LockState{Standing: Free, Token: r.Token}
	manned := !free(f)
	quiet := silence(gate)
	if !r.held() || !manned && (quiet > Expiry || r.Holder.PID == 0 || r.Holder.Gone()) {
		return s
	}
	s.Holder, s.Silence, s.Expires = r.Holder, quiet, max(Expiry-quiet, 0)
	switch {
	case !manned:
		s.Standing = Left
	case quiet > aliveFor:
		s.Standing = Quiet
	default:
		s.Standing = Held
	}
	if manned {
		for _, p := range r.Helpers {
			if !p.Gone() {
				s.Helpers = append(s.Helpers, p.PID)
			}
		}
	}
	return s
}

// free tells whether no helper holds the lock file; the gate is held.
func free(f *os.File) bool {
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return false
	}
	return unix.Flock(int(f.Fd()), unix.LOCK_UN) == nil
}

// Unlock takes the lock from its holder and returns what it was. From then on the holder is refused here; its helper is told to leave and completes
// the alteration in hand. A holder that is Held is an Error of kind Refused, unless force is set.
func Unlock(ctx context.Context, dir string, force bool) (LockState, error) {
	was, err := LockOf(dir)
	if err != nil || was.Standing == Free {
		return was, err
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR, 0o600)
	if err != nil {
		return was, fmt.Errorf("cannot unlock the host: %w", err)
	}
	defer f.Close()
	helpers, err := fence(dir, f, &was, force)
	if err != nil {
		return was, err
	}
	return was, evict(ctx, f, helpers)
}

// evict sends helpers away, and returns when they are gone.
func evict(ctx context.Context, f *os.File, helpers []Process) error {
	return untilFree(ctx, func(e *eviction) error {
		if !free(f) {
			e.tell(helpers)
			return fmt.Errorf("%w that was told to leave: process %s", errBusy, pids(helpers))
		}
		return nil
	})
}

// fence writes that the host is nobody's, under a new token.
func fence(dir string, f *os.File, was *LockState, force bool) ([]Process, error) {
	gate, err := openGate(dir, os.O_RDWR)
	if err != nil {
		return nil, fmt.Errorf("cannot unlock the host: %w", err)
	}
	defer gate.Close()
	r, err := readRecord(f)
	if err != nil {
		return nil, err
	}
	*was = lockState(f, gate, r)
	if was.Standing == Held && !force {
		return nil, &tasks.Error{Kind: tasks.Refused, Op: "unlock the host",
			Detail: fmt.Sprintf("its holder is alive: %s, heard %s ago (--force unlocks all the same)", was.Holder, was.Silence.Round(time.Second))}
	}
	if l := was.lease(); l != nil {
		r.Leases[l.Issuer] = max(r.Leases[l.Issuer], l.Revision+1)
	}
	r.Token, r.Holder = r.Token+1, nil
	return r.Helpers, r.write(f, true)
}

func (s LockState) lease() *Lease {
	if s.Holder == nil {
		return nil
	}
	return s.Holder.Lease
}

// eviction sends helpers away.
type eviction struct{ told, kill time.Time }

// tell asks helpers to leave: they complete the alteration in hand. If that takes too long they are killed, which the journal survives.
func (e *eviction) tell(helpers []Process) {
	now := time.Now()
	if e.told.IsZero() {
		e.told, e.kill = now, now.Add(killPatience)
		for _, p := range helpers {
			p.signal(unix.SIGTERM)
		}
	}
	if now.After(e.kill) {
		for _, p := range helpers {
			p.signal(unix.SIGKILL)
		}
	}
}

// untilFree tries until it is something else than errBusy, which stands for a helper that has to end first.
func untilFree(ctx context.Context, try func(*eviction) error) error {
	e := &eviction{}
	begun := time.Now()
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		err := try(e)
		switch {
		case !errors.Is(err, errBusy):
			return err
		case time.Since(begun) > backPatience, time.Since(begun) > lockPatience && !errors.Is(err, errGoesBack):
			return refused(err.Error())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func pids(helpers []Process) string {
	var all []string
	for _, p := range helpers {
		if !p.Gone() {
			all = append(all, strconv.Itoa(p.PID))
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

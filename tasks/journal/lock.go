package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/calroll/calroll/tasks"
)

// Expiry is how long a lock outlasts the last word of its holder, on the host's own clock since boot.
const Expiry = 2 * time.Minute

const (
	// lockPatience is how long another helper may take to leave the host by itself, or when it was told to.
	lockPatience = 15 * time.Second
	// backPatience is how long the host may take to go back by itself.
	backPatience = 5 * time.Minute
	// killPatience is how long one may take that was told to; it kills a command three seconds after asking it to stop.
	killPatience = 10 * time.Second
	lockPoll     = 20 * time.Millisecond
)

// Holder says who runs, for the one who is kept out.
type Holder struct {
	User    string    `json:"user,omitempty"`
	Bastion string    `json:"bastion,omitempty"`
	PID     int       `json:"pid,omitempty"`     // of the controller, on the bastion
	Started string    `json:"started,omitempty"` // as in Process
	Run     string    `json:"run"`
	Since   time.Time `json:"since,omitzero"`
	// Token is what the host gave the controller when it took the lock; 0 before that. It grows with each new holder.
	Token int64 `json:"token,omitempty"`
	// Lease is the right to the host that the bastions share; nil without such a state, and for hosts that it does not cover.
	Lease *Lease `json:"lease,omitempty"`
	// Returns says that the controller comes to take back: it is let in also where the host has gone back by itself meanwhile, and given a new token.
	Returns bool `json:"-"`
}

// Lease is a right that somebody else than the host gives. Of two of one issuer only the newer one is in force.
type Lease struct {
	Issuer   string `json:"issuer"`
	Revision int64  `json:"revision"`
}

// String is "ann from bastion1 (run 20260101-1, process 42, since 10:04:05)".
func (h Holder) String() string {
	return fmt.Sprintf("%s (run %s, process %d, since %s)", h.Who(), h.Run, h.PID, h.Since.Format(time.DateTime))
}

// Who is "ann from bastion1".
func (h Holder) Who() string {
	who := h.User
	if who == "" {
		who = "somebody"
	}
	if h.Bastion != "" {
		who += " from " + h.Bastion
	}
	return who
}

// Gone tells whether the controller is known, on this machine, to have ended.
func (h Holder) Gone() bool { return Process{h.PID, h.Started}.Gone() }

// SameController tells whether both are one process. A holder without a process is whoever carries out the same run.
func (h Holder) SameController(o Holder) bool {
	if h.PID == 0 || o.PID == 0 {
		return h.Run == o.Run
	}
	return h.User == o.User && h.Bastion == o.Bastion && h.PID == o.PID && h.Started == o.Started
}

// supersedes tells whether h has a newer lease of the same issuer: that of o is over.
func (h Holder) supersedes(o Holder) bool {
	return h.Lease != nil && o.Lease != nil && h.Lease.Issuer == o.Lease.Issuer && h.Lease.Revision > o.Lease.Revision
}

// Lock takes the host for the run, which several processes of the same controller may hold together. The lock lasts until Release, the host's next
// boot, or Expiry after the last Heard; as long as one of the holder's helpers lives, nobody takes it before that one has ended. An Error of kind
// Refused says who holds it, or that a newer controller has taken the host from this one. Locking again is fine.
func (j *Journal) Lock(ctx context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.acquire(ctx)
}

// TakeFrom lets Lock take the host from the holder of this token, whose controller is known to have ended.
func (j *Journal) TakeFrom(token int64) { j.dead = token }

// Token is what the host has given this controller; 0 before Lock.
func (j *Journal) Token() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.holder.Token
}

var (
	// errBusy says that a helper has to end first.
	errBusy = errors.New("a helper is at work")
	// errGoesBack says that the host goes back by itself, which takes its time.
	errGoesBack = fmt.Errorf("%w: the host goes back by itself", errBusy)
)

// Itself is the user of a Holder that is no controller, but the host that goes back by itself.
const Itself = "the host itself"

// acquire waits until helpers that have to leave have done so. j.mu is held.
func (j *Journal) acquire(ctx context.Context) error {
	if j.lock != nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := os.MkdirAll(j.dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(j.dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	// A disk that the run has filled must not keep anybody from taking the run back. Not every file system can promise room.
	_ = unix.Fallocate(int(f.Fd()), 0, 0, 2*slotSize)
	if err = untilFree(ctx, func(e *eviction) error { return j.try(f, e) }); err != nil {
		_ = f.Close()
		return err
	}
	j.lock = f
	return nil
}

// try takes the lock, joins those who share it, or says why not. It holds the gate, because flock cannot turn an exclusive lock into a shared one
// without letting go.
func (j *Journal) try(f *os.File, e *eviction) error {
	gate, err := openGate(j.dir, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	defer gate.Close()
	r, err := readRecord(f)
	if err != nil {
		return err
	}
	if j.returns(r) {
		j.holder.Token = 0
	}
	if err := j.outdated(r); err != nil {
		return err
	}
	if err := j.unwatched(gate); err != nil {
		return err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return j.take(f, gate, r)
	}
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return err
	}
	return j.join(f, gate, r, e)
}

// outdated refuses a controller that is older than the newest that was seen here.
func (j *Journal) outdated(r record) error {
	h := j.holder
	if h.Token > 0 && h.Token < r.Token && r.Back != nil && r.Back.Run == j.run && r.Back.Token == h.Token {
		return refused(wentBack)
	}
	if h.Token > 0 && h.Token < r.Token || h.Lease != nil && h.Lease.Revision < r.Leases[h.Lease.Issuer] {
		detail := "a newer controller has taken the host"
		if r.Holder != nil {
			detail += ": " + r.Holder.String()
		}
		return refused(detail)
	}
	return nil
}

func refused(detail string) error {
	return &tasks.Error{Kind: tasks.Refused, Op: "work on this host", Detail: detail}
}

// take makes the host ours while no helper of anybody lives.
func (j *Journal) take(f, gate *os.File, r record) error {
	if r.held() && !j.mayFollow(r, gate) {
		left := (Expiry - silence(gate)).Round(time.Second)
		_ = unix.Flock(int(f.Fd()), unix.LOCK_UN) // closing it does so too
		return refused(fmt.Sprintf("another run holds it: %s; its helper is gone, and the lock expires in %s unless it comes back (see calroll locks)",
			r.Holder, left))
	}
	h := j.holder
	ours := r.held() && r.Holder.Run == j.run && h.SameController(*r.Holder)
	if h.Token == 0 && ours {
		h.Token = r.Token
	} else if h.Token == 0 {
		h.Token = r.Token + 1
	}
	r.Helpers = nil
	if r.Back != nil && r.Back.Run != j.run {
		r.Back = nil
	}
	if err := r.granted(h).write(f, true); err != nil {
		return fmt.Errorf("cannot note who holds the host: %w", err)
	}
	j.holder, j.took = h, !ours
	return errors.Join(noteHeard(gate), unix.Flock(int(f.Fd()), unix.LOCK_SH))
}

// mayFollow tells whether the lock may pass from the record's holder, who has no helper here any more, to us. One without a process will not come
// back.
func (j *Journal) mayFollow(r record, gate *os.File) bool {
	dead := j.dead > 0 && j.dead == r.Token || r.Holder.PID == 0 || r.Holder.Gone()
	return r.Holder.Run == j.run || dead || j.ends(r, gate)
}

// ends tells whether the right of the record's holder is over.
func (j *Journal) ends(r record, gate *os.File) bool {
	return j.holder.supersedes(*r.Holder) || silence(gate) > Expiry
}

// join shares the lock with other helpers of the same controller. Helpers of one whose right is over are sent away.
func (j *Journal) join(f, gate *os.File, r record, e *eviction) error {
	if r.Holder == nil { // it was unlocked, and its helper has not left yet
		e.tell(r.Helpers)
		return fmt.Errorf("%w that was told to leave: process %s", errBusy, pids(r.Helpers))
	}
	switch h := j.holder; {
	case r.Holder.Run == j.run && h.SameController(*r.Holder):
		h.Token, h.Since = r.Token, r.Holder.Since
		if err := r.granted(h).write(f, false); err != nil {
			return err
		}
		j.holder.Token = r.Token
		return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	case j.ends(r, gate):
		e.tell(r.Helpers)
		return fmt.Errorf("%w whose controller lost the host: %s, process %s", errBusy, r.Holder, pids(r.Helpers))
	case r.Holder.Run == j.run && r.Holder.User == Itself:
		return fmt.Errorf("%w (process %s)", errGoesBack, pids(r.Helpers))
	case r.Holder.Run == j.run:
		return fmt.Errorf("%w: of %s (process %s)", errBusy, r.Holder, pids(r.Helpers))
	}
	return refused("another run holds it: " + r.Holder.String())
}

// Current refuses to go on when a newer controller has taken the host, or somebody has unlocked it. Without a lock it is fine.
func (j *Journal) Current() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.current()
}

func (j *Journal) current() error {
	if j.lock == nil {
		return nil
	}
	r, err := readRecord(j.lock)
	if err != nil {
		return err
	}
	return j.outdated(r)
}

// Heard notes that the controller has been heard, from when on the lock lasts for another Expiry.
func (j *Journal) Heard() error {
	gate, err := openGate(j.dir, os.O_RDWR)
	if err != nil {
		return err
	}
	defer gate.Close()
	return noteHeard(gate)
}

// part ends a use of the lock for one call: a lock that it took is given back. One that its controller had already stays, even if no helper lives that
// the controller works with: it is in the middle of its run.
func (j *Journal) part() {
	if j.took {
		_ = j.Release() // or it expires
	}
	_ = j.Close() // what was written is synced
}

// Release gives the host back before Close: the controller has said that it is done. Without it the lock lasts until it expires.
func (j *Journal) Release() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.lock == nil {
		return nil
	}
	gate, err := openGate(j.dir, os.O_RDWR)
	if err != nil {
		return err
	}
	defer gate.Close()
	r, err := readRecord(j.lock)
	if err != nil || r.Token != j.holder.Token {
		return err // it is somebody else's by now
	}
	r.Holder = nil
	return r.write(j.lock, false)
}

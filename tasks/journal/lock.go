package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/calroll/calroll/tasks"
)

// Holder says who runs, for the one who is kept out.
type Holder struct {
	User    string    `json:"user,omitempty"`
	Bastion string    `json:"bastion,omitempty"`
	PID     int       `json:"pid,omitempty"` // of the controller, on the bastion
	Run     string    `json:"run"`
	Since   time.Time `json:"since,omitzero"`
}

// String is "ann from bastion1 (run 20260101-1, process 42, since 10:04:05)".
func (h Holder) String() string {
	who := h.User
	if who == "" {
		who = "somebody"
	}
	if h.Bastion != "" {
		who += " from " + h.Bastion
	}
	return fmt.Sprintf("%s (run %s, process %d, since %s)", who, h.Run, h.PID, h.Since.Format(time.DateTime))
}

// Lock takes the host for the run, which several processes of the same run may hold together. Another run's lock is an
// Error of kind Refused that names its holder. Locking again is fine.
func (j *Journal) Lock(ctx context.Context) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.acquire(ctx)
}

// acquire holds a gate while it asks, because flock cannot turn an exclusive lock into a shared one without letting go.
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
	gate, err := os.OpenFile(filepath.Join(j.dir, "gate"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer gate.Close() // gives the gate free
	if err := unix.Flock(int(gate.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(j.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := j.hold(f); err != nil {
		_ = f.Close()
		return err
	}
	j.lock = f
	return nil
}

func (j *Journal) hold(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		if err := writeHolder(f, j.holder); err != nil {
			return err
		}
		return unix.Flock(int(f.Fd()), unix.LOCK_SH)
	}
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return err
	}
	h, err := readHolder(f)
	if err != nil {
		return err
	}
	if h.Run != j.run {
		return &tasks.Error{Kind: tasks.Refused, Op: "work on this host", Detail: "another run holds it: " + h.String()}
	}
	return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
}

func writeHolder(f *os.File, h Holder) error {
	raw, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(append(raw, '\n'), 0)
	return err
}

func readHolder(f *os.File) (h Holder, err error) {
	raw, err := os.ReadFile(f.Name())
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal(raw, &h); err != nil {
		return h, fmt.Errorf("cannot read who holds the host from %s: %w", f.Name(), err)
	}
	return h, nil
}

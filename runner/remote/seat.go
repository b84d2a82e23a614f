package remote

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
	"github.com/calroll/calroll/tasks/journal"
)

// seat is the right to alter a host as one identity. The journal's lock keeps other runs out; the seat keeps out another helper
// of the same run, whose link broke and who still completes its last alteration: an undo that overtakes it would be overtaken
// by it in turn. The controller that had it may take it over at once, another one only when it is left.
type seat struct{ file *os.File }

// sitter is the helper in the seat, as the file says.
type sitter struct {
	PID    int            `json:"pid"` // of the helper
	Holder journal.Holder `json:"holder"`
}

const (
	// seatPatience is how long a helper may take to leave the seat by itself.
	seatPatience = 15 * time.Second
	// killPatience is how long one may take that was told to; it kills a command three seconds after asking it to stop.
	killPatience = 10 * time.Second
	seatPoll     = 20 * time.Millisecond
)

// take sits down, or says who does not get up.
func (s *seat) take(ctx context.Context, dir string, h journal.Holder) error {
	if s.file != nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, "seat"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := waitFor(ctx, f, h); err != nil {
		_ = f.Close()
		return err
	}
	raw, err := json.Marshal(sitter{PID: os.Getpid(), Holder: h})
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt(raw, 0)
	}
	if err != nil {
		_ = f.Close()
		return err
	}
	s.file = f
	return nil
}

// leave gets up. The end of the process does so too.
func (s *seat) leave() {
	if s.file != nil {
		_ = s.file.Close()
		s.file = nil
	}
}

// waitFor locks f. A helper of the same controller is told to leave: it completes its alteration in hand. If that hangs it is
// killed, which the journal survives.
func waitFor(ctx context.Context, f *os.File, h journal.Holder) error {
	tick := time.NewTicker(seatPoll)
	defer tick.Stop()
	late := time.After(seatPatience)
	told, kill := false, time.After(killPatience)
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil || !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		who := readSitter(f)
		ours := who.PID > 1 && who.PID != os.Getpid() && who.Holder.SameController(h)
		if ours && !told {
			_ = unix.Kill(who.PID, unix.SIGTERM) // it may have left meanwhile
			told = true
		}
		select {
		case <-tick.C:
		case <-kill:
			if ours {
				_ = unix.Kill(who.PID, unix.SIGKILL)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-late:
			return &tasks.Error{Kind: tasks.Refused, Op: "work on this host",
				Detail: fmt.Sprintf("a helper of %s is still at work there (process %d)", who.Holder, who.PID)}
		}
	}
}

func readSitter(f *os.File) (who sitter) {
	raw, err := os.ReadFile(f.Name())
	if err == nil {
		_ = json.Unmarshal(raw, &who) // it is being written: the next look will tell
	}
	return who
}

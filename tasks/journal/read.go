package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/calroll/calroll/tasks"
)

// Entry is one record of a run, and what became of it.
type Entry struct {
	tasks.Before
	At      time.Time     `json:"at"`
	Outcome tasks.Outcome `json:"outcome,omitempty"` // of its undoing; "" when it was not undone
	// ByItself says that the host has undone it without a controller.
	ByItself bool `json:"by_itself,omitempty"`
}

// Run is what can be said of a run without looking at its records.
type Run struct {
	ID        string    `json:"id"`
	Holder    Holder    `json:"holder"` // who began it
	Began     time.Time `json:"began"`
	Records   int       `json:"records"`
	Undone    int       `json:"undone"`    // of the records
	Committed bool      `json:"committed"` // it is not to be undone by itself any more
	Ended     bool      `json:"ended"`     // it was undone entirely
	// Switch is what became of the last switch; what is undone by it was done by tasks from Since on. Within is how long it waits.
	Switch  SwitchState   `json:"switch,omitempty"`
	Since   int64         `json:"since,omitempty"`
	Within  time.Duration `json:"within,omitempty"`
	undoing bool          // an undo of it was begun
}

// Open tells whether the run was neither committed nor undone: it is under way, or it was cut.
func (r Run) Open() bool { return !r.Committed && !r.Ended }

// Runs are the runs below dir, oldest first. No folder is no run.
func Runs(dir string) ([]Run, error) {
	return runs(dir, func(string) bool { return true })
}

// OpenRuns are those that are neither committed nor undone. A host keeps many runs, and every start of a helper asks for the open ones:
// of the others only the end is read.
func OpenRuns(dir string) ([]Run, error) {
	open, err := runs(dir, func(run string) bool { return !closed(filepath.Join(dir, run, linesName)) })
	return slices.DeleteFunc(open, func(r Run) bool { return !r.Open() }), err
}

func runs(dir string, wanted func(run string) bool) ([]Run, error) {
	names, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list the runs in %s: %w", dir, err)
	}
	var runs []Run
	for _, n := range names {
		if !n.IsDir() || !wanted(n.Name()) {
			continue
		}
		r, _, err := read(dir, n.Name())
		if errors.Is(err, os.ErrNotExist) {
			continue // being made or pruned
		}
		if err != nil {
			return nil, err
		}
		runs = append(runs, r)
	}
	slices.SortStableFunc(runs, func(a, b Run) int { return a.Began.Compare(b.Began) })
	return runs, nil
}

// closed tells whether a journal's last whole line says that its run is over. False may also mean that one has to read it all.
func closed(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return false
	}
	end := make([]byte, min(st.Size(), 512)) // the lines in question are short
	if _, err := f.ReadAt(end, st.Size()-int64(len(end))); err != nil {
		return false
	}
	end = end[:bytes.LastIndexByte(end, '\n')+1]
	last := end[bytes.LastIndexByte(bytes.TrimSuffix(end, []byte("\n")), '\n')+1:]
	return bytes.HasPrefix(last, []byte(`{"what":"commit"`)) || bytes.HasPrefix(last, []byte(`{"what":"ended"`))
}

// Kept tells whether the run has done something here.
func Kept(dir, run string) bool {
	_, err := os.Stat(filepath.Join(dir, run, linesName))
	return err == nil
}

// Read is the run's records in their order. A run that altered nothing has no folder: os.ErrNotExist.
func Read(dir, run string) ([]Entry, error) {
	_, entries, err := read(dir, run)
	return entries, err
}

func read(dir, run string) (Run, []Entry, error) {
	r := Run{ID: run}
	raw, err := os.ReadFile(filepath.Join(dir, run, linesName))
	if err != nil {
		return r, nil, fmt.Errorf("cannot read the journal of the run %s: %w", run, err)
	}
	lines, err := parse(raw[:bytes.LastIndexByte(raw, '\n')+1])
	if err != nil {
		return r, nil, fmt.Errorf("cannot read the journal of the run %s: %w", run, err)
	}
	var entries []Entry
	at := map[int64]int{}
	for _, l := range lines {
		switch l.What {
		case "begin":
			r.Began = l.At
			if l.Holder != nil {
				r.Holder = *l.Holder
			}
		case "before":
			at[l.Before.Seq] = len(entries)
			entries = append(entries, Entry{Before: *l.Before, At: l.At})
			r.Ended = false
		case "done":
			if i, ok := at[l.Seq]; ok {
				entries[i].Done = true
			}
		case "undone":
			if i, ok := at[l.Seq]; ok {
				entries[i].Outcome, entries[i].ByItself = l.Outcome, l.ByItself
			}
		case "armed", "confirmed", "disarmed", "fired":
			r.Switch = switchStates[l.What]
			if l.What == "armed" {
				r.Since, r.Within = l.Since, l.Within
			}
		case "commit":
			r.Committed = true
		case "undoing":
			r.undoing = true
		case "ended":
			r.Ended = true
		}
	}
	r.Records = len(entries)
	for i, e := range entries {
		// An undo that was cut may have left half of what is restored in place, as a cut in doing it may.
		entries[i].Done = e.Done && !r.undoing
		if settled(e.Outcome) {
			r.Undone++
		}
	}
	return r, entries, nil
}

// settled outcomes need no further undo.
func settled(o tasks.Outcome) bool {
	switch o {
	case tasks.Restored, tasks.Unchanged, tasks.Forced, tasks.Fired, tasks.Needless:
		return true
	}
	return false
}

// Commit notes that the run is not to be undone by itself any more. A run that altered nothing needs none.
func Commit(ctx context.Context, dir, run string, h Holder) error {
	if _, err := os.Stat(filepath.Join(dir, run)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	j, err := Open(dir, run, h)
	if err != nil {
		return err
	}
	defer j.part()
	if err := j.write(ctx, line{What: "commit", At: time.Now().UTC()}, true); err != nil {
		return fmt.Errorf("cannot commit the run %s: %w", run, err)
	}
	return nil
}

// Prune removes runs that are committed or undone, all but the keep newest of them and those younger than maxAge before now.
func Prune(dir string, keep int, maxAge time.Duration, now time.Time) error {
	if names, err := os.ReadDir(dir); err == nil && len(names) <= keep {
		return nil // nearly always, and at every commit
	}
	runs, err := Runs(dir)
	if err != nil {
		return err
	}
	runs = slices.DeleteFunc(runs, Run.Open)
	for i, r := range runs {
		if i >= len(runs)-keep || now.Sub(r.Began) < maxAge {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, r.ID)); err != nil {
			return fmt.Errorf("cannot prune the run %s: %w", r.ID, err)
		}
	}
	return nil
}

package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// What a store keeps when nobody says otherwise.
const (
	KeepRuns = 200
	KeepAge  = 90 * 24 * time.Hour
)

// openAge is how long a run that may have left changes behind is kept in any case: as long as the hosts keep their journals of it.
const openAge = 30 * 24 * time.Hour

// Pruning says which runs are forgotten: those older than Age, and those beyond the newest Keep. Zero sets no limit. A run that is running stays, and so
// does one that may have left changes on hosts as long as they can be taken back.
type Pruning struct {
	Age  time.Duration
	Keep int
}

// Chooses are those of runs, the newest first, that are forgotten.
func (p Pruning) Chooses(runs []Meta, now time.Time) []Meta {
	var gone []Meta
	for newer, m := range runs {
		if p.forgets(m, newer, now) {
			gone = append(gone, m)
		}
	}
	return gone
}

// forgets tells whether a run goes; newer is how many are newer.
func (p Pruning) forgets(m Meta, newer int, now time.Time) bool {
	age := now.Sub(m.Started)
	return !m.mustStay(age) && (p.Age > 0 && age > p.Age || p.Keep > 0 && newer >= p.Keep)
}

func (m Meta) mustStay(age time.Duration) bool {
	switch m.State {
	case Running:
		return true
	case Passed, RolledBack:
		return false
	}
	return !m.Check && len(m.Identities) > 0 && age <= openAge
}

// prunedPrefix begins the name of a run that is being removed: from the renaming on it is gone for everybody.
const prunedPrefix = ".pruned-"

// Remove forgets runs. Two processes may do so at the same time. What an earlier one left half removed is removed too.
func (s *Store) Remove(ids ...string) error {
	var errs []error
	for _, id := range ids {
		errs = append(errs, s.hide(id))
	}
	if err := errors.Join(append(errs, s.sweep())...); err != nil {
		return fmt.Errorf("cannot forget runs: %w", err)
	}
	return nil
}

func (s *Store) hide(id string) error {
	err := os.Rename(filepath.Join(s.dir, id), filepath.Join(s.dir, prunedPrefix+id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another process did it
	}
	return err
}

// sweep removes the runs that are hidden.
func (s *Store) sweep() error {
	entries, err := os.ReadDir(s.dir)
	errs := []error{err}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prunedPrefix) {
			errs = append(errs, os.RemoveAll(filepath.Join(s.dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

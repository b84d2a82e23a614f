package journal_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/calroll/calroll/tasks/journal"
)

// TestOpenRunsAreThoseOfRuns: reading only the ends of journals finds the same runs as reading them whole, whatever their last line is.
func TestOpenRunsAreThoseOfRuns(t *testing.T) {
	dir := t.TempDir()
	runs, file := filepath.Join(dir, "runs"), filepath.Join(dir, "f")
	same := func(when string, want ...string) {
		t.Helper()
		all, err := journal.Runs(runs)
		must(t, err)
		all = slices.DeleteFunc(all, func(r journal.Run) bool { return !r.Open() })
		open, err := journal.OpenRuns(runs)
		must(t, err)
		var ids []string
		for _, r := range open {
			ids = append(ids, r.ID)
		}
		if !slices.Equal(ids, want) || len(all) != len(open) {
			t.Errorf("%s: open are %v, want %v; of all runs %v are open", when, ids, want, all)
		}
	}
	same("without a folder")
	one, two := open(t, runs, "one"), open(t, runs, "two")
	write(t, one, file, "one")
	must(t, one.Close())
	same("after a record", "one")
	must(t, journal.Commit(ctx, runs, "one", journal.Holder{}))
	same("after a commit")
	write(t, two, file, "two")
	must(t, two.Close())
	same("beside a committed run", "two")
	torn, err := os.OpenFile(filepath.Join(runs, "one", "journal"), os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	_, err = torn.WriteString(`{"what":"before","at"`)
	must(t, err)
	must(t, torn.Close())
	same("after a commit and a torn line", "two")
	undo(t, runs, "two", journal.UndoOptions{})
	same("after an undo")
	again := open(t, runs, "two")
	write(t, again, file, "two again")
	same("after more work in an ended run", "two")
}

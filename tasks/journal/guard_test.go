package journal_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
)

// TestGuard: what is older than a point of no return stays once it is passed, what is newer goes back; force goes past it.
func TestGuard(t *testing.T) {
	for _, c := range []struct {
		name         string
		argv         []string
		force        bool
		older, newer string
		says         string
	}{
		{"open", []string{"true"}, false, "absent", "absent", ""},
		{"closed", []string{"false"}, false, "older", "absent", "the data moved"},
		{"never open", nil, false, "older", "absent", "the data moved"},
		{"cannot be asked", []string{"/no/such/program"}, false, "older", "absent", "/no/such/program"},
		{"forced", nil, true, "absent", "absent", ""},
	} {
		dir := t.TempDir()
		older, newer := filepath.Join(dir, "older"), filepath.Join(dir, "newer")
		j := open(t, filepath.Join(dir, "runs"), "r")
		write(t, j, older, "older")
		must(t, tasks.NewSys(tasks.Options{Recorder: j}).Guard(ctx, "the data moved", c.argv))
		write(t, j, newer, "newer")
		must(t, j.Close())
		report := undo(t, filepath.Join(dir, "runs"), "r", journal.UndoOptions{Force: c.force})
		if text(older) != c.older || text(newer) != c.newer {
			t.Errorf("%s: there are %q and %q, not %q and %q", c.name, text(older), text(newer), c.older, c.newer)
		}
		var said string
		for _, p := range report.Problems() {
			said += p.Error
		}
		if !strings.Contains(said, c.says) || (said == "") != (c.says == "") && !c.force {
			t.Errorf("%s: it says %q", c.name, said)
		}
	}
}

package journal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
)

func preview(t *testing.T, dir, run string, o journal.UndoOptions) string {
	t.Helper()
	report, err := journal.Preview(ctx, dir, run, o, tasks.NodeKinds(tasks.KindOptions{}))
	must(t, err)
	var words []string
	for _, i := range report.Items {
		words = append(words, fmt.Sprintf("%s=%s", filepath.Base(i.Key), i.Outcome))
	}
	return strings.Join(words, " ")
}

// TestPreviewTellsWhatUndoDoes compares a preview with the undo that follows it, and looks whether it has altered anything.
func TestPreviewTellsWhatUndoDoes(t *testing.T) {
	dir := t.TempDir()
	runs := filepath.Join(dir, "runs")
	if got := preview(t, runs, "r", journal.UndoOptions{}); got != "" {
		t.Errorf("of a run that is not there: %s", got)
	}
	j := open(t, runs, "r")
	for _, text := range []string{"1", "2"} { // twice the same file: the older record is judged by what the newer one leaves
		write(t, j, filepath.Join(dir, "twice"), text)
	}
	sys := tasks.NewSys(tasks.Options{Recorder: j})
	_, err := sys.Mkdir(ctx, filepath.Join(dir, "made"), tasks.Attrs{})
	must(t, err)
	write(t, j, filepath.Join(dir, "made", "inside"), "x")
	write(t, j, filepath.Join(dir, "theirs"), "new")
	write(t, j, filepath.Join(dir, "gone"), "new")
	must(t, os.WriteFile(filepath.Join(dir, "theirs"), []byte("other"), 0o644))
	must(t, os.Remove(filepath.Join(dir, "gone")))
	before := text(filepath.Join(runs, "r", "journal"))
	for _, o := range []journal.UndoOptions{{}, {Force: true}} {
		got := preview(t, runs, "r", o)
		if text(filepath.Join(runs, "r", "journal")) != before || text(filepath.Join(dir, "twice")) != "2" {
			t.Fatal("the preview has altered something")
		}
		want := "gone=unchanged theirs=refused inside=restored made=restored twice=restored twice=restored"
		if o.Force {
			want = "gone=unchanged theirs=forced inside=restored made=restored twice=restored twice=restored"
		}
		if got != want {
			t.Errorf("%+v: %s, not %s", o, got, want)
		}
	}
	var did []string
	for _, i := range undo(t, runs, "r", journal.UndoOptions{Force: true}).Items {
		did = append(did, fmt.Sprintf("%s=%s", filepath.Base(i.Key), i.Outcome))
	}
	if got := strings.Join(did, " "); got != "gone=unchanged theirs=forced inside=restored made=restored twice=restored twice=restored" {
		t.Errorf("the undo did %s", got)
	}
	if got := preview(t, runs, "r", journal.UndoOptions{}); got != "" {
		t.Errorf("of a run that is taken back: %s", got)
	}
}

// TestHold: states come back and refreshes wait for the undo that follows. That fires them also when only another journal has restored something.
func TestHold(t *testing.T) {
	for _, c := range []struct {
		kinds string // of the records
		last  journal.UndoOptions
		want  string
	}{
		{"state refresh state", journal.UndoOptions{}, "restore 2, restore 0; refresh 1"},
		{"refresh", journal.UndoOptions{}, "; "},
		{"refresh", journal.UndoOptions{Fire: true}, "; refresh 0"},
	} {
		var log []string
		kinds, runs := tasks.Kinds{"state": noted{log: &log}, "refresh": notedRefresh{noted{log: &log}}}, t.TempDir()
		j := open(t, runs, "r")
		for i, kind := range strings.Fields(c.kinds) {
			_, err := j.Record(ctx, tasks.Before{Kind: kind, Key: fmt.Sprint(i), Was: "x", After: "y"}, nil)
			must(t, err)
		}
		var did []string
		for _, o := range []journal.UndoOptions{{Hold: true}, c.last} {
			log = nil
			_, err := journal.Undo(ctx, runs, "r", o, kinds)
			must(t, err)
			did = append(did, strings.Join(log, ", "))
		}
		if got := strings.Join(did, "; "); got != c.want {
			t.Errorf("%s: %q, not %q", c.kinds, got, c.want)
		}
		if left, err := journal.OpenRuns(runs); err != nil || len(left) > 0 {
			t.Errorf("%s: it stays open: %+v, %v", c.kinds, left, err)
		}
	}
}

package journal_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
)

var ctx = context.Background()

func open(t *testing.T, dir, run string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(dir, run, journal.Holder{User: "ann", Bastion: "b1", PID: 7, Since: time.Now()})
	must(t, err)
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func write(t *testing.T, r tasks.Recorder, path, text string) {
	t.Helper()
	sys := tasks.NewSys(tasks.Options{Recorder: r})
	_, err := sys.WriteFile(ctx, path, tasks.Text([]byte(text)), tasks.Attrs{}, tasks.WriteOptions{})
	must(t, err)
}

func undo(t *testing.T, dir, run string, o journal.UndoOptions) journal.Report {
	t.Helper()
	report, err := journal.Undo(ctx, dir, run, o, tasks.NodeKinds(tasks.KindOptions{}))
	must(t, err)
	return report
}

func text(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "absent"
	}
	return string(raw)
}

// TestThreeCases is the table of undo: what is there now against what was there before and after.
func TestThreeCases(t *testing.T) {
	for _, c := range []struct {
		name, before, after string
		meanwhile           func(path string) error // what somebody else did
		force               bool
		outcome             tasks.Outcome
		want                string
	}{
		{"now is after", "old", "new", nil, false, tasks.Restored, "old"},
		{"now is after, made", "", "new", nil, false, tasks.Restored, "absent"},
		{"now is before", "old", "new", func(p string) error { return os.WriteFile(p, []byte("old"), 0o644) }, false, tasks.Unchanged, "old"},
		{"now is before, gone", "", "new", os.Remove, false, tasks.Unchanged, "absent"},
		{"neither, content", "old", "new", func(p string) error { return os.WriteFile(p, []byte("theirs"), 0o644) }, false, tasks.Foreign, "theirs"},
		{"neither, mode", "old", "new", func(p string) error { return os.Chmod(p, 0o600) }, false, tasks.Foreign, "new"},
		{"neither, gone", "old", "new", os.Remove, false, tasks.Foreign, "absent"},
		{"neither, forced", "old", "new", func(p string) error { return os.WriteFile(p, []byte("theirs"), 0o644) }, true, tasks.Forced, "old"},
		{"neither, forced over a folder", "old", "new", func(p string) error { return errors.Join(os.Remove(p), os.MkdirAll(p+"/sub", 0o755)) }, true, tasks.Forced, "old"},
	} {
		dir := t.TempDir()
		runs, path := filepath.Join(dir, "runs"), filepath.Join(dir, "file")
		if c.before != "" {
			must(t, os.WriteFile(path, []byte(c.before), 0o644))
		}
		j := open(t, runs, "r")
		write(t, j, path, c.after)
		if c.meanwhile != nil {
			must(t, c.meanwhile(path))
		}
		report := undo(t, runs, "r", journal.UndoOptions{Force: c.force})
		if len(report.Items) != 1 || report.Items[0].Outcome != c.outcome || text(path) != c.want {
			t.Errorf("%s: %+v, the file has %q", c.name, report.Items, text(path))
		}
		if refused := c.outcome == tasks.Foreign; refused == report.OK() || refused != strings.Contains(fmt.Sprint(report.Problems()), path) {
			t.Errorf("%s: problems %+v", c.name, report.Problems())
		}
	}
}

// TestUndoGoesOn has a refused item in the middle; the others are restored, and a later undo with force finishes.
func TestUndoGoesOn(t *testing.T) {
	dir := t.TempDir()
	runs := filepath.Join(dir, "runs")
	j := open(t, runs, "r")
	for _, name := range []string{"a", "b", "c"} {
		write(t, j, filepath.Join(dir, name), "new")
	}
	must(t, os.WriteFile(filepath.Join(dir, "b"), []byte("theirs"), 0o644))
	report := undo(t, runs, "r", journal.UndoOptions{})
	if p := report.Problems(); len(p) != 1 || p[0].Key != filepath.Join(dir, "b") || len(report.Items) != 3 {
		t.Fatalf("have %+v", report.Items)
	}
	if text(filepath.Join(dir, "a"))+text(filepath.Join(dir, "b"))+text(filepath.Join(dir, "c")) != "absenttheirsabsent" {
		t.Error("the others were not restored")
	}
	if report = undo(t, runs, "r", journal.UndoOptions{Force: true}); !report.OK() || len(report.Items) != 1 || text(filepath.Join(dir, "b")) != "absent" {
		t.Errorf("with force: %+v", report.Items)
	}
}

func TestUndoDownTo(t *testing.T) {
	dir := t.TempDir()
	runs := filepath.Join(dir, "runs")
	j := open(t, runs, "r")
	for task, name := range []string{"a", "b", "c"} {
		sys := tasks.NewSys(tasks.Options{Recorder: j, Task: int64(task + 1)})
		_, err := sys.WriteFile(ctx, filepath.Join(dir, name), tasks.Text(nil), tasks.Attrs{}, tasks.WriteOptions{})
		must(t, err)
	}
	if report := undo(t, runs, "r", journal.UndoOptions{DownTo: 2}); len(report.Items) != 2 || text(filepath.Join(dir, "a")) != "" || text(filepath.Join(dir, "b")) != "absent" {
		t.Errorf("have %+v", report.Items)
	}
}

func TestNothingAlteredLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	runs, path := filepath.Join(dir, "runs"), filepath.Join(dir, "f")
	must(t, os.WriteFile(path, []byte("same"), 0o644))
	write(t, open(t, runs, "r"), path, "same")
	if _, err := os.Stat(runs); !os.IsNotExist(err) {
		t.Errorf("there is a journal: %v", err)
	}
	if report := undo(t, runs, "r", journal.UndoOptions{}); len(report.Items) != 0 {
		t.Errorf("have %+v", report.Items)
	}
	must(t, journal.Commit(ctx, runs, "r", journal.Holder{}))
}

func TestLockKeepsAnotherRunOut(t *testing.T) {
	runs := t.TempDir()
	first := open(t, runs, "one")
	must(t, first.Lock(ctx))
	must(t, open(t, runs, "one").Lock(ctx)) // the same run, from another connection
	err := open(t, runs, "two").Lock(ctx)
	if tasks.KindOf(err) != tasks.Refused || !strings.Contains(err.Error(), "ann from b1 (run one, process 7") {
		t.Fatalf("have %v", err)
	}
	other := open(t, runs, "two")
	must(t, first.Close())
	if other.Lock(ctx) == nil {
		t.Fatal("the second connection of the first run holds the host still")
	}
}

// TestTwoWriters lets two connections of one run write in turns.
func TestTwoWriters(t *testing.T) {
	dir := t.TempDir()
	runs := filepath.Join(dir, "runs")
	writers := []*journal.Journal{open(t, runs, "r"), open(t, runs, "r")}
	for i := range 10 {
		write(t, writers[i%2], filepath.Join(dir, "f"), fmt.Sprint(i))
	}
	entries, err := journal.Read(runs, "r")
	must(t, err)
	for i, e := range entries {
		if e.Seq != int64(i+1) {
			t.Fatalf("the numbers are not in order: %d is %d", i, e.Seq)
		}
	}
	if report := undo(t, runs, "r", journal.UndoOptions{}); !report.OK() || text(filepath.Join(dir, "f")) != "absent" {
		t.Errorf("have %+v", report.Items)
	}
}

func TestRunsCommitPrune(t *testing.T) {
	dir := t.TempDir()
	runs := filepath.Join(dir, "runs")
	for _, run := range []string{"r1", "r2", "r3", "r4"} {
		j := open(t, runs, run)
		write(t, j, filepath.Join(dir, "f"), run)
		must(t, j.Release())
		must(t, j.Close())
		if run != "r2" {
			must(t, journal.Commit(ctx, runs, run, journal.Holder{}))
		}
	}
	ids := func() (ids []string) {
		all, err := journal.Runs(runs)
		must(t, err)
		for _, r := range all {
			ids = append(ids, fmt.Sprint(r.ID, r.Open()))
		}
		return ids
	}
	if got := ids(); !slices.Equal(got, []string{"r1false", "r2true", "r3false", "r4false"}) {
		t.Fatalf("have %v", got)
	}
	must(t, journal.Prune(runs, 1, time.Hour, time.Now()))
	if got := ids(); len(got) != 4 {
		t.Errorf("young runs were pruned: %v", got)
	}
	must(t, journal.Prune(runs, 1, time.Hour, time.Now().Add(2*time.Hour)))
	if got := ids(); !slices.Equal(got, []string{"r2true", "r4false"}) {
		t.Errorf("after pruning: %v", got)
	}
}

// TestBigFilesAreLinked proves that replacing a file costs no copy of it, that the journal never holds on to a file that stays,
// and that a kept file that somebody changed in place is refused.
func TestBigFilesAreLinked(t *testing.T) {
	dir := t.TempDir()
	runs, path := filepath.Join(dir, "runs"), filepath.Join(dir, "big")
	must(t, os.WriteFile(path, []byte("old"), 0o644))
	open, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	defer open.Close()
	inode := inodeOf(t, path)
	j, err := journal.Open(runs, "r", journal.Holder{})
	must(t, err)
	defer j.Close()
	write(t, j, path, "new")
	if kept := inodeOf(t, filepath.Join(runs, "r", "images", "1")); kept != inode {
		t.Fatalf("the image is inode %d, the old file was %d", kept, inode)
	}
	_, err = open.WriteAt([]byte("xxx"), 0)
	must(t, err)
	if report := undo(t, runs, "r", journal.UndoOptions{}); report.OK() || !strings.Contains(report.Items[0].Error, "changed it in place") {
		t.Errorf("have %+v", report.Items)
	}
	_, err = open.WriteAt([]byte("old"), 0)
	must(t, err)
	if report := undo(t, runs, "r", journal.UndoOptions{}); !report.OK() || inodeOf(t, path) != inode {
		t.Errorf("have %+v, inode %d, want %d", report.Items, inodeOf(t, path), inode)
	}
}

func inodeOf(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	return st.Ino
}

// kinds whose restores and refreshes are only noted, to see their order.
type noted struct {
	log  *[]string
	fail string
}

func (n noted) State(_ context.Context, b tasks.Before) (string, error) { return b.After, nil }

func (n noted) Restore(_ context.Context, b tasks.Before, _ tasks.Kept, _ bool) error {
	*n.log = append(*n.log, "restore "+b.Key)
	if b.Key == n.fail {
		return errors.New("no")
	}
	return nil
}

type notedRefresh struct{ noted }

func (n notedRefresh) Refresh(_ context.Context, b tasks.Before) (bool, error) {
	*n.log = append(*n.log, "refresh "+b.Key)
	return true, nil
}

// What failed before the refreshes is tried once more after them.
func TestRefreshesComeLastInTheirOrder(t *testing.T) {
	var log []string
	kinds := tasks.Kinds{"state": noted{&log, "s2"}, "refresh": notedRefresh{noted{log: &log}}}
	runs := t.TempDir()
	j := open(t, runs, "r")
	for _, k := range []string{"s1", "reload", "restart a", "s2", "reload", "restart b", "s3"} {
		kind := "refresh"
		if strings.HasPrefix(k, "s") {
			kind = "state"
		}
		_, err := j.Record(ctx, tasks.Before{Kind: kind, Key: k, Was: "x", After: "y"}, nil)
		must(t, err)
	}
	report, err := journal.Undo(ctx, runs, "r", journal.UndoOptions{}, kinds)
	must(t, err)
	want := []string{"restore s3", "restore s2", "restore s1", "refresh reload", "refresh restart a", "refresh restart b", "restore s2"}
	if !slices.Equal(log, want) || len(report.Problems()) != 1 {
		t.Errorf("have %v, %+v", log, report.Problems())
	}
}

func TestDamagedJournal(t *testing.T) {
	dir := t.TempDir()
	runs := filepath.Join(dir, "runs")
	j := open(t, runs, "r")
	write(t, j, filepath.Join(dir, "f"), "x")
	file := filepath.Join(runs, "r", "journal")
	raw, err := os.ReadFile(file)
	must(t, err)
	must(t, os.WriteFile(file, append([]byte("{nonsense\n"), raw...), 0o600))
	if _, err := journal.Read(runs, "r"); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("have %v", err)
	}
	for _, bad := range []string{"", "..", "a/b", ".x"} {
		if _, err := journal.Open(runs, bad, journal.Holder{}); err == nil {
			t.Errorf("a run may be named %q", bad)
		}
	}
}

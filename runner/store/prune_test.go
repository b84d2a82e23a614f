package store

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestStateOfARunWhoseProcessIsGone: only the machine on which a run was started can tell that it was killed.
func TestStateOfARunWhoseProcessIsGone(t *testing.T) {
	at := machine{"bastion", "boot2", func(pid int) (string, bool) { return "500", pid == 7 }}
	m := Meta{State: Running, Bastion: "bastion", Process: Process{PID: 7, Boot: "boot2", Since: "500"}}
	for name, c := range map[string]struct {
		alter func(*Meta)
		want  State
	}{
		"it is there":                   {func(*Meta) {}, Running},
		"it is gone":                    {func(m *Meta) { m.PID = 8 }, Killed},
		"another one has its number":    {func(m *Meta) { m.Since = "400" }, Killed},
		"the bastion was started again": {func(m *Meta) { m.Boot = "boot1" }, Killed},
		"another bastion's":             {func(m *Meta) { m.Bastion, m.PID = "other", 8 }, Running},
		"it has ended":                  {func(m *Meta) { m.State, m.PID = Passed, 8 }, Passed},
	} {
		run := m
		if c.alter(&run); run.stateAt(at) != c.want {
			t.Errorf("%s: %s, want %s", name, run.stateAt(at), c.want)
		}
	}
	if p := ThisProcess(); (Meta{State: Running, Bastion: here().name, Process: p}).stateAt(here()) != Running {
		t.Errorf("this process is not there: %+v", p)
	}
}

func TestPrune(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)
	add := func(id string, state State, days int) {
		r, err := s.Create(Meta{ID: id, Started: now.AddDate(0, 0, -days), Identities: []Worked{{Identity: Identity{Host: "h"}}}})
		if err == nil {
			err = r.Close(state, 0, now)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	add("old-passed", Passed, 100)
	add("old-running", Running, 100)
	add("old-failed", Failed, 100)
	add("failed", Failed, 20)
	add("passed", Passed, 10)
	add("newest", Passed, 1)
	ids := func(runs []Meta) string {
		var ids []string
		for _, m := range runs {
			ids = append(ids, m.ID)
		}
		slices.Sort(ids)
		return strings.Join(ids, " ")
	}
	runs, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		p    Pruning
		want string
	}{
		{Pruning{Age: KeepAge, Keep: KeepRuns}, "old-failed old-passed"},
		{Pruning{Keep: 1}, "old-failed old-passed passed"},
		{Pruning{}, ""},
	} {
		if gone := ids(c.p.Chooses(runs, now)); gone != c.want {
			t.Errorf("%+v forgets %q, want %q", c.p, gone, c.want)
		}
	}
	for range 2 { // another process may have done it already
		if err := s.Remove("old-failed", "old-passed"); err != nil {
			t.Error(err)
		}
	}
	if runs, err := s.List(); err != nil || ids(runs) != "failed newest old-running passed" {
		t.Errorf("left are %q (%v)", ids(runs), err)
	}
	if left, err := os.ReadDir(s.dir); err != nil || len(left) != 4 {
		t.Errorf("left are %v (%v)", left, err)
	}
}

// TestRunIsGoneFromTheMomentItIsHidden: a process that dies while it removes a run leaves nothing that looks like one, and the next one cleans up.
func TestRunIsGoneFromTheMomentItIsHidden(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(Meta{ID: "r1"}); err != nil {
		t.Fatal(err)
	}
	if err := s.hide("r1"); err != nil {
		t.Fatal(err)
	}
	if runs, err := s.List(); err != nil || len(runs) > 0 {
		t.Errorf("%v, %v", runs, err)
	}
	if err := s.Remove(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(s.dir); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}

// TestKeyIsMadeOnce: all that use a store at the same time have one key, which nobody else can read.
func TestKeyIsMadeOnce(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	keys := make(chan []byte)
	for range 20 {
		go func() {
			key, err := s.Key()
			if err != nil {
				t.Error(err)
			}
			keys <- key
		}()
	}
	first := <-keys
	for range 19 {
		if key := <-keys; !bytes.Equal(key, first) || len(key) != keySize {
			t.Fatalf("keys %x and %x", first, key)
		}
	}
	if info, err := os.Stat(s.keyFile()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	again := slices.Clone(first)
	if Keyed(first, "a") == Keyed(first, "b") || Keyed(first, "a") != Keyed(again, "a") || Keyed(first, "a") == Keyed([]byte("other"), "a") {
		t.Error("keyed hashes tell texts apart, and keys")
	}
}

// TestReopenGoesOnBehindATornLine: what is added to the events of a killed run can be read.
func TestReopenGoesOnBehindATornLine(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Create(Meta{ID: "r1", State: Running})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range script(t, "run\nplay p\nbatch 1/1 a\nhost a ok\n") {
		r.Emit(e)
	}
	appendText(t, filepath.Join(s.dir, "r1", eventsName), `{"event":"to`)
	again, err := s.Reopen("r1")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range script(t, "undo a\nundone a changed\n") {
		again.Emit(e)
	}
	if err := again.Leave(); err != nil {
		t.Fatal(err)
	}
	h, err := HistoryOf(s, Meta{ID: "r1"})
	if err != nil || h.Host("a").State != HostUndone {
		t.Errorf("%+v, %v", h, err)
	}
}

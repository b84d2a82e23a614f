package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/runner/event"
)

type collected []event.Event

// Emit implements event.Sink.
func (c *collected) Emit(e event.Event) { *c = append(*c, e) }

func TestRunIsKeptWhole(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runs")
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 11, 21, 9, 15, 2, 0, time.UTC)
	id := NewID(start)
	r, err := s.Create(Meta{ID: id, State: Running, Started: start, Playbooks: []string{"site.yml"}})
	if err != nil {
		t.Fatal(err)
	}
	h := Worked{Identity: Identity{Host: "h1", Become: "sudo:root"}}
	for range 2 {
		if err := r.Used(h); err != nil {
			t.Fatal(err)
		}
	}
	r.Emit(event.Event{Kind: event.HostDone, Host: "h1", Status: event.OK})

	// A run that was killed here is there with all that was used and shown.
	killed, err := s.Load("last")
	if err != nil || killed.State != Running || len(killed.Identities) != 1 || killed.Identities[0] != h {
		t.Fatalf("%+v, %v", killed, err)
	}
	if err := r.Close(Passed, 0, start.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	m, err := s.Load(id[len(id)-6:])
	if err != nil || m.State != Passed || *m.Exit != 0 {
		t.Fatalf("%+v, %v", m, err)
	}
	var got collected
	appendText(t, filepath.Join(dir, id, "events.jsonl"), `{"event":"torn`)
	if err := s.Events(id, &got); err != nil || len(got) != 1 || got[0].Host != "h1" {
		t.Fatalf("%+v, %v", got, err)
	}
}

// TestTookBack follows a run through rollbacks by hand: the hosts, those of them that stay open, whether they were all, and what the run is then.
func TestTookBack(t *testing.T) {
	type step struct {
		hosts, open string
		all         bool
		want        State
		left        string
	}
	for name, steps := range map[string][]step{
		"as a whole":           {{"a b", "", true, RolledBack, ""}},
		"a part stays passed":  {{"a", "", false, Passed, ""}},
		"one does not answer":  {{"a b", "b", true, StillOpen, "b"}, {"b", "b", false, StillOpen, "b"}, {"b", "", false, RolledBack, ""}},
		"one of a part":        {{"a b", "a", false, StillOpen, "a"}, {"a", "", false, Passed, ""}},
		"the rest of a run":    {{"a", "a", false, StillOpen, "a"}, {"a b", "", true, RolledBack, ""}},
		"another one is open":  {{"a b", "a", true, StillOpen, "a"}, {"b", "b", false, StillOpen, "a b"}, {"a", "", false, StillOpen, "b"}},
		"open twice, all once": {{"a b", "a b", true, StillOpen, "a b"}, {"a b", "", true, RolledBack, ""}},
	} {
		s, err := Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Create(Meta{ID: "r", State: Running})
		if err == nil {
			err = r.Close(Passed, 0, time.Now())
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, st := range steps {
			if err := s.TookBack("r", strings.Fields(st.hosts), strings.Fields(st.open), st.all); err != nil {
				t.Fatal(err)
			}
			if m, err := s.Load("r"); err != nil || m.State != st.want || strings.Join(m.Open, " ") != st.left {
				t.Errorf("%s, %d: %s with %v open, %v; not %s with %s", name, i+1, m.State, m.Open, err, st.want, st.left)
			}
		}
	}
}

func appendText(t *testing.T, file, text string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestRunsArePrivateAndFound(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "runs")
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"20261121-090000-aaaaaa", "20261121-100000-bbbbbb"} {
		r, err := s.Create(Meta{ID: id})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Close(Passed, 0, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "20261121-090000-aaaaaa"))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	runs, err := s.List()
	if err != nil || len(runs) != 2 || runs[0].ID != "20261121-100000-bbbbbb" {
		t.Errorf("%+v, %v", runs, err)
	}
	if _, err := s.Load("20261121"); err == nil {
		t.Error("an id that two runs have must be refused")
	}
	if _, err := s.Load("nosuch"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

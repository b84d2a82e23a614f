package store

import (
	"testing"
	"time"
)

// TestLastOfOneSecond: ids tell seconds, and two runs that begin in one are told apart all the same.
func TestLastOfOneSecond(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	second := time.Date(2026, 11, 21, 9, 15, 2, 0, time.UTC)
	for i, id := range []string{"20261121-091502-ffffff", "20261121-091502-aaaaaa", "20261121-091502-cccccc"} {
		if _, err := s.Create(Meta{ID: id, Started: second.Add(time.Duration(i) * time.Millisecond)}); err != nil {
			t.Fatal(err)
		}
		if m, err := s.Load("last"); err != nil || m.ID != id {
			t.Errorf("the last run is %s, want %s (%v)", m.ID, id, err)
		}
	}
}

// TestIDsSortByTime: ids of runs that begin in one second are in the order in which they begin.
func TestIDsSortByTime(t *testing.T) {
	second := time.Date(2026, 11, 21, 9, 15, 2, 0, time.UTC)
	for last, i := "", 0; i < 1000; i++ {
		id := NewID(second.Add(time.Duration(i) * time.Millisecond))
		if id <= last {
			t.Fatalf("%s comes after %s", id, last)
		}
		last = id
	}
}

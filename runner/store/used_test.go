package store

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestUsedIsOnDiskWhenItReturns: hosts that begin at the same time share writes, and each is in the file before its work begins.
func TestUsedIsOnDiskWhenItReturns(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Create(Meta{ID: NewID(time.Now()), State: Running})
	if err != nil {
		t.Fatal(err)
	}
	const hosts = 50
	var wg sync.WaitGroup
	for i := range 2 * hosts { // each twice
		wg.Go(func() {
			id := Worked{Identity: Identity{Host: fmt.Sprintf("host%d", i%hosts)}}
			if err := r.Used(id); err != nil {
				t.Error(err)
			}
			if m, err := s.Load("last"); err != nil || !slices.Contains(m.Identities, id) {
				t.Errorf("%s is not recorded (%v)", id.Host, err)
			}
		})
	}
	wg.Wait()
	if err := r.Close(Passed, 0, time.Now()); err != nil {
		t.Fatal(err)
	}
	m, err := s.Load("last")
	if err != nil || len(m.Identities) != hosts || m.State != Passed {
		t.Errorf("the record is %+v (%v)", m, err)
	}
}

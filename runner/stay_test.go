package runner

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/calroll/calroll/runner/store"
	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
)

// crowd is a fleet with helpers in this process, each of which stands for a host with a journal of its own.
type crowd struct {
	*testing.T
	*fleet
	dir  string
	ways []way
}

func newCrowd(t *testing.T, hosts, most int) *crowd {
	t.Helper()
	c := &crowd{T: t, dir: t.TempDir()}
	c.fleet = newFleet(Options{Carried: Carried{StateDir: c.dir, ClusterKinds: func(tasks.Reach) tasks.Kinds { return nil }}, Forks: 2, Connections: most}, "run1", func(store.Worked) error { return nil }, func(string, string) {})
	t.Cleanup(c.fleet.close)
	for i := range hosts {
		c.ways = append(c.ways, way{Host: fmt.Sprintf("h%d", i), Local: true})
	}
	return c
}

// use has a helper answer.
func (c *crowd) use(w way) {
	client, done, err := c.client(context.Background(), w)
	if err != nil {
		c.Error(err)
		return
	}
	defer done()
	if _, err := client.Runs(context.Background()); err != nil {
		c.Errorf("%s: %v", w.Host, err)
	}
}

func (c *crowd) journalOf(w way) string { return filepath.Join(c.dir, "local", w.Host) }

func (c *crowd) lock(w way) journal.LockState {
	c.Helper()
	l, err := journal.LockOf(c.journalOf(w))
	if err != nil {
		c.Fatal(err)
	}
	return l
}

func (c *crowd) standing(want journal.Standing, ways ...way) {
	c.Helper()
	for _, w := range ways {
		if l := c.lock(w); l.Standing != want || l.Token != 1 {
			c.Errorf("the lock of %s is %s with token %d, want %s with 1", w.Host, l.Standing, l.Token, want)
		}
	}
}

// TestHostsThatNobodyNeedsAreLeft, the longest idle first; they stay locked under the same token, come back, and are free in the end.
func TestHostsThatNobodyNeedsAreLeft(t *testing.T) {
	c := newCrowd(t, 5, 3)
	for _, w := range c.ways {
		c.use(w)
	}
	c.standing(journal.Left, c.ways[:2]...)
	c.standing(journal.Held, c.ways[2:]...)
	c.use(c.ways[2]) // now h3 is idle for longest
	c.use(c.ways[0])
	c.standing(journal.Left, c.ways[1], c.ways[3])
	c.standing(journal.Held, c.ways[0], c.ways[2], c.ways[4])
	for _, w := range c.ways {
		if held := c.held(w.Host); len(held) != 1 {
			t.Errorf("of %s the run has %v", w.Host, held)
		}
	}
	c.close()
	c.standing(journal.Free, c.ways...)
}

// TestWorkInAHostsPlaceIsLeftWithIt: the controller's own helper for a host goes and comes with the host's.
func TestWorkInAHostsPlaceIsLeftWithIt(t *testing.T) {
	c := newCrowd(t, 2, 1)
	client, done, err := c.cluster(t.Context(), c.ways[0])
	if err != nil {
		t.Fatal(err)
	}
	c.use(c.ways[1]) // nobody can be left
	if !alive(client) {
		t.Fatal("it was left while it was in use")
	}
	done()
	c.use(c.ways[0])
	c.use(c.ways[1])
	<-client.Done()
	stands := func(want journal.Standing) {
		t.Helper()
		l, err := journal.LockOf(filepath.Join(c.dir, "cluster", c.ways[0].Host))
		if err != nil || l.Standing != want || l.Token != 1 {
			t.Errorf("the lock is %+v (%v), want %s", l, err, want)
		}
	}
	stands(journal.Left)
	if _, done, err = c.again(t.Context(), c.fleet.ways(c.ways[0].Host)[0]); err != nil {
		t.Fatal(err)
	}
	done()
	stands(journal.Held)
	c.close()
	stands(journal.Free)
}

// TestWhoIsNeededStays, even where that makes one connection more than there are to be.
func TestWhoIsNeededStays(t *testing.T) {
	c := newCrowd(t, 3, 2)
	var dones []func()
	for _, w := range c.ways {
		_, done, err := c.client(t.Context(), w)
		if err != nil {
			t.Fatal(err)
		}
		dones = append(dones, done)
	}
	c.standing(journal.Held, c.ways...)
	dones[1]()
	c.use(way{Host: "more", Local: true})
	c.standing(journal.Left, c.ways[1])
	c.standing(journal.Held, c.ways[0], c.ways[2])
}

// TestManyAtATime comes and goes from many sides.
func TestManyAtATime(t *testing.T) {
	c := newCrowd(t, 12, 8)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for round := range 30 {
				c.use(c.ways[(i*3+round*(i+1))%len(c.ways)])
			}
		})
	}
	wg.Wait()
	c.close()
	c.standing(journal.Free, c.ways...)
}

// TestAHostThatWasLeftIsVisited before its lock expires, and hears of its controller.
func TestAHostThatWasLeftIsVisited(t *testing.T) {
	c := newCrowd(t, 3, 1)
	for _, w := range c.ways {
		c.use(w)
	}
	gate := filepath.Join(c.journalOf(c.ways[0]), "gate")
	heard := func() string {
		text, err := os.ReadFile(gate)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	before := heard()
	c.lookIn(t.Context(), time.Now().Add(-visitAfter))
	if heard() != before {
		t.Error("it was visited at once")
	}
	c.lookIn(t.Context(), time.Now())
	if heard() == before {
		t.Error("it has heard nothing")
	}
	for _, w := range c.ways {
		if l := c.lock(w); l.Standing == journal.Free || l.Token != 1 {
			t.Errorf("the lock of %s is %+v", w.Host, l)
		}
	}
}

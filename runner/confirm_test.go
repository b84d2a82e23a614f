package runner

import (
	"testing"

	"github.com/calroll/calroll/runner/conn"
	"github.com/calroll/calroll/tasks"
)

// arms notes that something was altered that waits to be confirmed.
func (c *crowd) arms(w way) {
	s := c.enter(w)
	defer c.leave(s)
	c.mu.Lock()
	defer c.mu.Unlock()
	s.armed[w.identity()] = true
}

// TestAHostThatWaitsIsAskedWithoutAHelper: it was left to be connected to anew, which could not be done.
func TestAHostThatWaitsIsAskedWithoutAHelper(t *testing.T) {
	c := newCrowd(t, 1, 3)
	w := way{Host: "h0", SSH: conn.Options{Host: "127.0.0.1", Port: 1}}
	c.remember(w, true)
	if got := c.awaiting("h0"); len(got) != 0 {
		t.Errorf("nothing was altered, and %v waits", got)
	}
	c.arms(w)
	c.reset(t.Context(), w)
	waiting := c.awaiting("h0")
	if len(waiting) != 1 {
		t.Fatalf("%v waits", waiting)
	}
	if err := c.confirm(t.Context(), waiting); kindOf(err) != tasks.Unreachable {
		t.Errorf("it was confirmed: %v", err)
	}
	if len(c.awaiting("h0")) != 1 {
		t.Error("it does not wait any more")
	}
}

// TestAUserThatIsReachedInTwoWaysWaitsInBoth, and in none once it is confirmed.
func TestAUserThatIsReachedInTwoWaysWaitsInBoth(t *testing.T) {
	c := newCrowd(t, 1, 3)
	for _, login := range []string{"ann", "bob"} {
		c.remember(way{Host: "h0", SSH: conn.Options{Host: "127.0.0.1", Port: 1, User: login}, Become: &conn.Become{}}, true)
		if login == "ann" {
			c.arms(c.fleet.ways("h0")[0])
		}
	}
	waiting := c.awaiting("h0")
	if len(waiting) != 1 || waiting[0].SSH.User != "bob" {
		t.Fatalf("%v waits", waiting)
	}
	c.settled(waiting[0])
	if left := c.awaiting("h0"); len(left) != 0 {
		t.Errorf("%v waits still", left)
	}
}

// TestAHostThatWaitsIsConfirmed, whether its helper lives or not: here it has no journal of the run.
func TestAHostThatWaitsIsConfirmed(t *testing.T) {
	c := newCrowd(t, 1, 3)
	w := c.ways[0]
	c.remember(w, true)
	c.arms(w)
	if err := c.confirm(t.Context(), c.awaiting("h0")); err != nil || len(c.awaiting("h0")) != 0 {
		t.Errorf("%v; %v waits still", err, c.awaiting("h0"))
	}
}

package remote

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
)

// begun is a helper process that holds the host below state, or the error of its begin.
func begun(t *testing.T, state, run string, h journal.Holder) (*Client, error) {
	t.Helper()
	c, err := openChild(t, state, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c, c.Begin(t.Context(), run, h)
}

func mustBegin(t *testing.T, state, run string, h journal.Holder) *Client {
	t.Helper()
	c, err := begun(t, state, run, h)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustStand(t *testing.T, c *Client, want journal.Standing) journal.LockState {
	t.Helper()
	l, err := c.Lock(t.Context())
	if err != nil || l.Standing != want {
		t.Fatalf("the lock is %+v (%v), want %s", l, err, want)
	}
	return l
}

var other = journal.Holder{User: "bob", Bastion: "bastion2", PID: 43}

// TestALostLinkKeepsTheHostAndAFarewellFreesIt for others.
func TestALostLinkKeepsTheHostAndAFarewellFreesIt(t *testing.T) {
	state := t.TempDir()
	first := mustBegin(t, state, "run1", me)
	looker, err := openChild(t, state, nil)
	if err != nil {
		t.Fatal(err)
	}
	if l := mustStand(t, looker, journal.Held); l.Holder.Run != "run1" || l.Helpers[0] != first.Hello().PID {
		t.Errorf("the lock is %+v", l)
	}
	first.Abandon()
	eventually(t, "the helper to end", func() bool { return !alive(first.Hello().PID) })
	mustStand(t, looker, journal.Left)
	if err := looker.Begin(t.Context(), "run2", other); tasks.KindOf(err) != tasks.Refused {
		t.Errorf("another run: %v", err)
	}
	again := me
	again.Token = first.Token()
	back := mustBegin(t, state, "run1", again)
	if back.Token() != first.Token() {
		t.Errorf("the token was %d and is %d", first.Token(), back.Token())
	}
	_ = back.Close()
	mustStand(t, looker, journal.Free)
	if err := looker.Begin(t.Context(), "run2", other); err != nil || looker.Token() != first.Token()+1 {
		t.Errorf("after the farewell: %v, token %d", err, looker.Token())
	}
}

// TestTakingLeaveKeepsTheHost: the helper has ended when Leave returns, without having been told to, and the lock lasts from then on.
func TestTakingLeaveKeepsTheHost(t *testing.T) {
	state := t.TempDir()
	first := mustBegin(t, state, "run1", me)
	first.Leave()
	eventually(t, "the helper to end", func() bool { return !alive(first.Hello().PID) })
	looker, err := openChild(t, state, nil)
	if err != nil {
		t.Fatal(err)
	}
	if l := mustStand(t, looker, journal.Left); l.Token != first.Token() {
		t.Errorf("the lock is %+v", l)
	}
	if err := looker.Begin(t.Context(), "run2", other); tasks.KindOf(err) != tasks.Refused {
		t.Errorf("another run: %v", err)
	}
	again := me
	again.Token = first.Token()
	back := mustBegin(t, state, "run1", again)
	_ = back.Close()
	mustStand(t, looker, journal.Free)
}

// TestUnlockFencesTheHolderOff: it refuses one that is alive; with force the helper leaves, and its controller cannot come back.
func TestUnlockFencesTheHolderOff(t *testing.T) {
	state := t.TempDir()
	first := mustBegin(t, state, "run1", me)
	gate := filepath.Join(t.TempDir(), "begun")
	task := send(t, first, one("hang", map[string]any{"touch": gate}))
	eventually(t, "the task to begin", func() bool { return exists(gate) })
	second, err := openChild(t, state, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Unlock(t.Context(), false); tasks.KindOf(err) != tasks.Refused {
		t.Errorf("the holder is alive: %v", err)
	}
	was, err := second.Unlock(t.Context(), true)
	if err != nil || was.Holder.User != "ann" {
		t.Fatalf("have %+v, %v", was, err)
	}
	if _, err := task[0].Wait(t.Context()); err == nil {
		t.Error("the old controller's task came to its end")
	}
	<-first.Done()
	again := me
	again.Token = first.Token()
	if _, err := begun(t, state, "run1", again); tasks.KindOf(err) != tasks.Refused {
		t.Errorf("the old controller: %v", err)
	}
	if err := second.Begin(t.Context(), "run2", other); err != nil {
		t.Error(err)
	}
}

// TestAHelperRefusesAControllerOfOldToken, even one that it has worked for: tasks, undo and commit.
func TestAHelperRefusesAControllerOfOldToken(t *testing.T) {
	state := t.TempDir()
	c := pipe(t, ServeOptions{StateDir: state})
	if err := c.Begin(t.Context(), "run1", me); err != nil {
		t.Fatal(err)
	}
	mustRun(t, c, one("put", map[string]any{"dest": filepath.Join(state, "f"), "content": "x"}))
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM) // the helper is this process: it is asked to leave, and does not
	defer signal.Stop(asked)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := journal.Unlock(ctx, state, true); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	<-asked
	_, err := c.Run(t.Context(), one("echo", nil))
	_, undo := c.Undo(t.Context(), "run1", me, UndoOptions{})
	for name, err := range map[string]error{"task": err, "undo": undo, "commit": c.Commit(t.Context(), "run1", me)} {
		if tasks.KindOf(err) != tasks.Refused {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestANewerLeaseSendsTheOldHelperAway: the lease of its controller is over, whatever that believes.
func TestANewerLeaseSendsTheOldHelperAway(t *testing.T) {
	state := t.TempDir()
	leased := func(h journal.Holder, revision int64) journal.Holder {
		h.Lease = &journal.Lease{Issuer: "etcd", Revision: revision}
		return h
	}
	old := mustBegin(t, state, "run1", leased(me, 10))
	fresh := mustBegin(t, state, "run2", leased(other, 11))
	<-old.Done()
	stale := leased(me, 10)
	stale.Token = old.Token()
	if _, err := begun(t, state, "run1", stale); tasks.KindOf(err) != tasks.Refused {
		t.Errorf("the old controller: %v", err)
	}
	mustRun(t, fresh, one("echo", nil))
}

package journal_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
)

// controller is a journal as a process of its own would open it.
func controller(t *testing.T, dir, run string, h journal.Holder) *journal.Journal {
	t.Helper()
	j, err := journal.Open(dir, run, h)
	must(t, err)
	t.Cleanup(func() { _ = j.Close() })
	return j
}

var (
	ann = journal.Holder{User: "ann", Bastion: "b1", PID: 7}
	bob = journal.Holder{User: "bob", Bastion: "b2", PID: 7}
)

func refusedWith(t *testing.T, err error, words string) {
	t.Helper()
	if tasks.KindOf(err) != tasks.Refused || !strings.Contains(err.Error(), words) {
		t.Errorf("have %v, want a refusal with %q", err, words)
	}
}

func standing(t *testing.T, dir string, want journal.Standing) journal.LockState {
	t.Helper()
	s, err := journal.LockOf(dir)
	must(t, err)
	if s.Standing != want {
		t.Errorf("the lock is %s, want %s", s.Standing, want)
	}
	return s
}

// TestALockOutlastsItsHelper: a link that breaks does not give the host to others, the same controller comes back with its token, and time frees it.
func TestALockOutlastsItsHelper(t *testing.T) {
	dir := t.TempDir()
	journal.StopTime(t)
	first := controller(t, dir, "one", ann)
	must(t, first.Lock(ctx))
	standing(t, dir, journal.Held)
	must(t, first.Close()) // the link broke
	standing(t, dir, journal.Left)
	refusedWith(t, controller(t, dir, "two", bob).Lock(ctx), "ann from b1 (run one, process 7")

	back := ann
	back.Token = first.Token()
	again := controller(t, dir, "one", back)
	must(t, again.Lock(ctx))
	if again.Token() != first.Token() || again.Token() != 1 {
		t.Errorf("the tokens are %d and %d", first.Token(), again.Token())
	}
	must(t, again.Close())

	journal.PassTime(journal.Expiry - time.Second)
	refusedWith(t, controller(t, dir, "two", bob).Lock(ctx), "another run holds it")
	journal.PassTime(2 * time.Second)
	standing(t, dir, journal.Free)
	second := controller(t, dir, "two", bob)
	must(t, second.Lock(ctx))
	if second.Token() != 2 {
		t.Errorf("the new holder's token is %d", second.Token())
	}
	must(t, second.Release())
	must(t, second.Close())
	refusedWith(t, controller(t, dir, "one", back).Lock(ctx), "a newer controller has taken the host")
}

// TestALockLastsWhileItsControllerIsHeard, and a living helper that hears nothing for a while is told from one that does.
func TestALockLastsWhileItsControllerIsHeard(t *testing.T) {
	journal.StopTime(t)
	dir := t.TempDir()
	j := controller(t, dir, "one", ann)
	must(t, j.Lock(ctx))
	for range 3 {
		journal.PassTime(journal.Expiry - time.Second)
		standing(t, dir, journal.Quiet)
		must(t, j.Heard())
		if s := standing(t, dir, journal.Held); s.Silence > time.Second || s.Expires < journal.Expiry-time.Second {
			t.Errorf("heard %s ago, expires in %s", s.Silence, s.Expires)
		}
	}
	refusedWith(t, controller(t, dir, "two", bob).Lock(ctx), "ann from b1")
}

// TestAReleasedLockIsFreeAtOnce and its token is spent all the same.
func TestAReleasedLockIsFreeAtOnce(t *testing.T) {
	dir := t.TempDir()
	for i := range int64(3) {
		j := controller(t, dir, "one", ann)
		must(t, j.Lock(ctx))
		if j.Token() != i+1 {
			t.Errorf("token %d, want %d", j.Token(), i+1)
		}
		must(t, j.Release())
		must(t, j.Close())
		standing(t, dir, journal.Free)
	}
}

// TestTheRunGoesOnFromAnotherController: resume and rollback take the lock that a killed controller has left, and fence it off.
func TestTheRunGoesOnFromAnotherController(t *testing.T) {
	dir := t.TempDir()
	killed := controller(t, dir, "one", ann)
	must(t, killed.Lock(ctx))
	must(t, killed.Close())
	resumed := controller(t, dir, "one", bob)
	must(t, resumed.Lock(ctx))
	stale := ann
	stale.Token = killed.Token()
	refusedWith(t, controller(t, dir, "one", stale).Lock(ctx), "bob from b2")
	must(t, resumed.Close())
}

// TestANewerLeaseTakesTheHost: the issuer of leases has ended the older one; a stale controller is refused even where it never was.
func TestANewerLeaseTakesTheHost(t *testing.T) {
	dir := t.TempDir()
	leased := func(h journal.Holder, issuer string, revision int64) journal.Holder {
		h.Lease = &journal.Lease{Issuer: issuer, Revision: revision}
		return h
	}
	old := controller(t, dir, "one", leased(ann, "etcd", 10))
	must(t, old.Lock(ctx))
	must(t, old.Close()) // killed
	refusedWith(t, controller(t, dir, "two", leased(bob, "another etcd", 99)).Lock(ctx), "ann from b1")
	refusedWith(t, controller(t, dir, "two", bob).Lock(ctx), "ann from b1")
	fresh := controller(t, dir, "two", leased(bob, "etcd", 11))
	must(t, fresh.Lock(ctx))
	must(t, fresh.Release())
	must(t, fresh.Close())
	refusedWith(t, controller(t, dir, "three", leased(ann, "etcd", 10)).Lock(ctx), "a newer controller")
}

// TestAControllerThatEndedHereNeedsNoWait: whether a process of this machine lives can be seen.
func TestAControllerThatEndedHereNeedsNoWait(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("sleep", "1000")
	must(t, cmd.Start())
	h := ann
	h.PID, h.Started = cmd.Process.Pid, journal.ProcessOf(cmd.Process.Pid).Started
	j := controller(t, dir, "one", h)
	must(t, j.Lock(ctx))
	must(t, j.Close())
	refusedWith(t, controller(t, dir, "two", bob).Lock(ctx), "ann from b1")
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	standing(t, dir, journal.Free)
	must(t, controller(t, dir, "two", bob).Lock(ctx))
}

func TestUnlock(t *testing.T) {
	dir := t.TempDir()
	if s, err := journal.Unlock(ctx, filepath.Join(dir, "none"), false); err != nil || s.Standing != journal.Free {
		t.Errorf("have %+v, %v", s, err)
	}
	alive := controller(t, dir, "one", ann)
	must(t, alive.Lock(ctx))
	_, err := journal.Unlock(ctx, dir, false)
	refusedWith(t, err, "its holder is alive: ann from b1")
	must(t, alive.Current())
	must(t, alive.Close())

	was, err := journal.Unlock(ctx, dir, false)
	must(t, err)
	if was.Standing != journal.Left || was.Holder.User != "ann" {
		t.Errorf("it was %+v", was)
	}
	stale := ann
	stale.Token = alive.Token()
	refusedWith(t, controller(t, dir, "one", stale).Lock(ctx), "a newer controller")
	must(t, controller(t, dir, "two", bob).Lock(ctx))
}

// TestATornWriteKeepsTheToken: a crash in writing the next record leaves the one before, and its token is not given again.
func TestATornWriteKeepsTheToken(t *testing.T) {
	for given, torn := range map[int]int64{3: 0, 4: 4096} {
		dir := t.TempDir()
		for i := range given {
			j := controller(t, dir, fmt.Sprint("run", i), ann)
			must(t, j.Lock(ctx))
			must(t, j.Close())
			journal.PassTime(journal.Expiry + time.Second)
		}
		f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0)
		must(t, err)
		_, err = f.WriteAt([]byte("torn"), torn)
		must(t, err)
		must(t, f.Close())
		j := controller(t, dir, "next", bob)
		must(t, j.Lock(ctx))
		if j.Token() != int64(given+1) {
			t.Errorf("after %d holders and a torn write the token is %d", given, j.Token())
		}
	}
}

// TestACallLeavesTheLockToItsController, who is in the middle of its run, even when the helper that took the lock has died.
func TestACallLeavesTheLockToItsController(t *testing.T) {
	for name, call := range map[string]func(dir string, h journal.Holder) error{
		"confirm": func(dir string, h journal.Holder) error { return journal.Confirm(ctx, dir, "one", h) },
		"commit":  func(dir string, h journal.Holder) error { return journal.Commit(ctx, dir, "one", h) },
		"undo": func(dir string, h journal.Holder) error {
			_, err := journal.Undo(ctx, dir, "one", journal.UndoOptions{Holder: h}, tasks.NodeKinds(tasks.KindOptions{}))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			j := controller(t, dir, "one", ann)
			write(t, j, filepath.Join(t.TempDir(), "file"), "new")
			again := ann
			again.Token = j.Token()
			must(t, j.Close()) // the helper has died
			must(t, call(dir, again))
			if s := standing(t, dir, journal.Left); s.Token != again.Token {
				t.Errorf("the token is %d", s.Token)
			}
			refusedWith(t, controller(t, dir, "two", bob).Lock(ctx), "another run holds it")
		})
	}
}

// TestAHelperIsNotedOnce, however often it is called.
func TestAHelperIsNotedOnce(t *testing.T) {
	dir := t.TempDir()
	j := controller(t, dir, "one", ann)
	write(t, j, filepath.Join(t.TempDir(), "file"), "new")
	for range 100 {
		must(t, journal.Commit(ctx, dir, "one", ann))
	}
	if s := standing(t, dir, journal.Held); len(s.Helpers) != 1 || s.Helpers[0] != os.Getpid() {
		t.Errorf("the helpers are %v", s.Helpers)
	}
}

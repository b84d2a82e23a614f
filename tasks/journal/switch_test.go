package journal

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/calroll/calroll/tasks"
)

// watching arms a run with a watcher in this process. The channel has what Watch returned; fired has the switches that went off.
func watching(t *testing.T, dir, run string, within time.Duration, fire func(Switch) error) (j *Journal, over chan error) {
	t.Helper()
	j, err := Open(dir, run, Holder{User: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	look := make(chan os.Signal, 1)
	signal.Notify(look, syscall.SIGUSR1) // the watcher is this process
	t.Cleanup(func() { signal.Stop(look) })
	over = make(chan error, 1)
	start := func() error {
		ready := make(chan error, 1)
		go func() {
			err := Watch(t.Context(), dir, look, func() error { ready <- nil; return nil }, func(_ context.Context, s Switch) error { return fire(s) })
			select {
			case ready <- err: // it has not come so far
			default:
			}
			over <- err
		}()
		return <-ready
	}
	if err := j.Arm(t.Context(), within, 3, start); err != nil {
		t.Fatal(err)
	}
	return j, over
}

func neverFires(t *testing.T) func(Switch) error {
	return func(s Switch) error {
		t.Errorf("it has fired: %+v", s)
		return nil
	}
}

func stateOf(t *testing.T, dir, run string) Run {
	t.Helper()
	r, _, err := read(dir, run)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAConfirmedSwitchIsGone(t *testing.T) {
	dir := t.TempDir()
	j, over := watching(t, dir, "run1", time.Hour, neverFires(t))
	if r := stateOf(t, dir, "run1"); r.Switch != Armed || r.Since != 3 || r.Within != time.Hour {
		t.Errorf("armed: %+v", r)
	}
	if err := j.Arm(t.Context(), time.Hour, 5, func() error { return errors.New("there is a watcher") }); err != nil {
		t.Error(err)
	}
	other, err := Open(dir, "run2", Holder{User: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(j.Release(), j.Close()); err != nil {
		t.Fatal(err)
	}
	if err := other.Lock(t.Context()); tasks.KindOf(err) != tasks.Refused || !strings.Contains(err.Error(), "run run1 waits to be confirmed") {
		t.Errorf("another run: %v", err)
	}
	for range 2 { // an answer may be lost
		if err := Confirm(t.Context(), dir, "run1", Holder{User: "ann"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-over; err != nil {
		t.Error(err)
	}
	if r := stateOf(t, dir, "run1"); r.Switch != Confirmed {
		t.Errorf("confirmed: %+v", r)
	}
	if _, err := os.Stat(filepath.Join(dir, switchName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the switch is still there: %v", err)
	}
	if err := Confirm(t.Context(), dir, "nothing", Holder{}); err != nil {
		t.Errorf("a run that altered nothing: %v", err)
	}
}

// TestSilenceFires, and what has fired cannot be confirmed; a try to take back that fails is made again.
func TestSilenceFires(t *testing.T) {
	dir := t.TempDir()
	tries, went := 0, make(chan Switch, 1)
	confirm := func() error { return Confirm(t.Context(), dir, "run1", Holder{User: "ann"}) }
	_, over := watching(t, dir, "run1", time.Millisecond, func(s Switch) error {
		if tries++; tries == 1 {
			if err := confirm(); tasks.KindOf(err) != tasks.Refused {
				t.Errorf("while it goes back: %v", err)
			}
			return errors.New("not this time")
		}
		went <- s
		return nil
	})
	if err := <-over; err != nil {
		t.Fatal(err)
	}
	if s := <-went; s.Run != "run1" || s.Since != 3 || !s.Fired {
		t.Errorf("fired: %+v", s)
	}
	if _, err := os.Stat(filepath.Join(dir, switchName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the switch is still there: %v", err)
	}
}

// TestWhoIsHeardIsWaitedFor: the clock counts from the last word.
func TestWhoIsHeardIsWaitedFor(t *testing.T) {
	was := boottime
	defer func() { boottime = was }()
	dir := t.TempDir()
	now := time.Hour
	boottime = func() time.Duration { return now }
	s := Switch{Run: "run1", Within: time.Minute}
	if err := s.create(dir); err != nil {
		t.Fatal(err)
	}
	gate, err := openGate(dir, os.O_RDWR|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(noteHeard(gate), gate.Close()); err != nil {
		t.Fatal(err)
	}
	w := &watch{dir: dir}
	if err := w.begin(); err != nil {
		t.Fatal(err)
	}
	look := func(passed, left time.Duration, fired bool) {
		t.Helper()
		now += passed
		s, wait, err := w.due()
		if err != nil || wait != left || s.Fired != fired {
			t.Errorf("after %s: %+v, %s, %v", passed, s, wait, err)
		}
	}
	look(20*time.Second, 40*time.Second, false)
	now += 30 * time.Second
	if err := (&Journal{dir: dir}).Heard(); err != nil {
		t.Fatal(err)
	}
	look(0, time.Minute, false)
	look(time.Hour, lastLook, false) // the machine has slept: what came meanwhile is read first
	look(lastLook, 0, true)
}

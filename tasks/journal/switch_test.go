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
	start, over := watcher(t, dir, fire)
	if err := j.Arm(t.Context(), within, 3, start); err != nil {
		t.Fatal(err)
	}
	return j, over
}

// watcher starts one in this process. The channel has what Watch returned.
func watcher(t *testing.T, dir string, fire func(Switch) error) (start func() error, over chan error) {
	t.Helper()
	look := make(chan os.Signal, 1)
	signal.Notify(look, syscall.SIGUSR1) // the watcher is this process
	t.Cleanup(func() { signal.Stop(look) })
	over = make(chan error, 1)
	return func() error {
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
	}, over
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

// untold arms a run as a helper does that is killed before it can write so into the journal.
func untold(t *testing.T, dir string) (j *Journal, start func() error, over chan error) {
	t.Helper()
	j, err := Open(dir, "run1", Holder{User: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	start, over = watcher(t, dir, neverFires(t))
	err = j.turn(t.Context(), func() error {
		_, fresh, err := j.arm(Switch{Run: "run1", Since: 3, Within: time.Hour}, start)
		if !fresh {
			t.Error("there is a watcher")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return j, start, over
}

// TestASwitchCountsWithoutItsLine: its watcher would take back what was confirmed, or what the controller has taken back and done again.
func TestASwitchCountsWithoutItsLine(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(dir string) error
		want SwitchState
	}{
		"confirmed": {func(dir string) error { return Confirm(t.Context(), dir, "run1", Holder{User: "ann"}) }, Confirmed},
		"undone": {func(dir string) error {
			r, err := Undo(t.Context(), dir, "run1", UndoOptions{Holder: Holder{User: "ann"}, DownTo: 3}, nil)
			if !r.Disarmed {
				t.Error("the undo says that the run waits still")
			}
			return err
		}, NoSwitch},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			j, _, over := untold(t, dir)
			if r := stateOf(t, dir, "run1"); r.Switch != NoSwitch {
				t.Fatalf("the journal has the line: %+v", r)
			}
			if err := errors.Join(j.Close(), c.end(dir)); err != nil {
				t.Fatal(err)
			}
			if r := stateOf(t, dir, "run1"); r.Switch != c.want || !disarmed(dir, "run1") {
				t.Fatalf("the journal says %+v", r)
			}
			if err := <-over; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestALineThatIsMissingIsWritten by the next who arms, who finds the watcher that a killed helper has started.
func TestALineThatIsMissingIsWritten(t *testing.T) {
	dir := t.TempDir()
	_, start, over := untold(t, dir)
	again, err := Open(dir, "run1", Holder{User: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	for range 2 {
		if err := again.Arm(t.Context(), time.Hour, 5, start); err != nil {
			t.Fatal(err)
		}
	}
	if r := stateOf(t, dir, "run1"); r.Switch != Armed || r.Since != 3 || r.Within != time.Hour {
		t.Errorf("the journal says %+v", r)
	}
	raw, err := os.ReadFile(again.path(linesName))
	if n := strings.Count(string(raw), `"armed"`); err != nil || n != 1 {
		t.Errorf("the line is there %d times, %v", n, err)
	}
	if err := Confirm(t.Context(), dir, "run1", Holder{User: "ann"}); err != nil {
		t.Fatal(err)
	}
	<-over
}

// TestASwitchThatCannotBeNotedIsTakenAway: nothing is altered, so nobody would know that there is something to be confirmed.
func TestASwitchThatCannotBeNotedIsTakenAway(t *testing.T) {
	dir := t.TempDir()
	j, err := Open(dir, "run1", Holder{User: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := j.turn(t.Context(), func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	whole := j.file
	defer whole.Close()
	if j.file, err = os.Open(j.path(linesName)); err != nil { // it takes nothing
		t.Fatal(err)
	}
	start, over := watcher(t, dir, neverFires(t))
	if err := j.Arm(t.Context(), time.Hour, 3, start); err == nil {
		t.Fatal("the line was written")
	}
	if !disarmed(dir, "run1") {
		t.Fatal("the switch is still there")
	}
	if err := <-over; err != nil {
		t.Error(err)
	}
}

// TestWhatWaitsGoesOnWaiting when the run is armed anew, which cannot be noted.
func TestWhatWaitsGoesOnWaiting(t *testing.T) {
	dir := t.TempDir()
	j, first := watching(t, dir, "run1", time.Hour, neverFires(t))
	whole := j.file
	defer whole.Close()
	var err error
	if j.file, err = os.Open(j.path(linesName)); err != nil { // it takes nothing
		t.Fatal(err)
	}
	start, second := watcher(t, dir, neverFires(t))
	if err := j.Arm(t.Context(), 2*time.Hour, 3, start); err == nil {
		t.Fatal("the line was written")
	}
	if disarmed(dir, "run1") {
		t.Fatal("what was altered before does not wait any more")
	}
	if err := Confirm(t.Context(), dir, "run1", Holder{User: "ann"}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-first, <-second); err != nil {
		t.Error(err)
	}
}

// TestAnUndoTellsWhetherTheRunWaitsStill: one that does not take back all that the watcher would leaves the switch as it is.
func TestAnUndoTellsWhetherTheRunWaitsStill(t *testing.T) {
	dir := t.TempDir()
	j, over := watching(t, dir, "run1", time.Hour, neverFires(t))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		o    UndoOptions
		ends bool
	}{
		{"of another host's", UndoOptions{For: []string{"web2"}, DownTo: 3}, false},
		{"of a part", UndoOptions{DownTo: 4}, false},
		{"of states alone", UndoOptions{DownTo: 3, Hold: true}, false},
		{"of all that waits", UndoOptions{DownTo: 3, For: []string{"web2", ""}}, true},
	} {
		c.o.Holder = Holder{User: "ann"}
		r, err := Undo(t.Context(), dir, "run1", c.o, nil)
		if err != nil || r.Disarmed != c.ends || disarmed(dir, "run1") != c.ends {
			t.Errorf("%s: %+v, %v", c.name, r, err)
		}
	}
	if err := <-over; err != nil {
		t.Error(err)
	}
}

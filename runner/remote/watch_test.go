package remote

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
)

// waiting is a helper whose run has written a file that has to be confirmed.
type waiting struct {
	*Client
	state, file string
	holder      journal.Holder
	cut         *cutter
}

// waits puts "new" in the place of "old", by task 2; the first task is of another batch.
func waits(t *testing.T, within time.Duration) *waiting {
	t.Helper()
	dir := t.TempDir()
	w := &waiting{state: filepath.Join(dir, "state"), file: filepath.Join(dir, "file"), holder: me, cut: &cutter{}}
	if err := os.WriteFile(w.file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.Client, err = openChild(t, w.state, w.cut); err != nil {
		t.Fatal(err)
	}
	if err := w.Begin(t.Context(), "run1", w.holder); err != nil {
		t.Fatal(err)
	}
	w.holder.Token = w.Token()
	first := one("put", map[string]any{"dest": w.file + ".first", "content": "stays"})
	first.Number = 1
	mustRun(t, w.Client, first)
	task := one("put", map[string]any{"dest": w.file, "content": "new"})
	task.Number, task.Confirm = 2, &Confirm{Within: within, Since: 2}
	mustRun(t, w.Client, task)
	mustRun(t, w.Client, task) // and nothing to do
	if !w.Armed() {
		t.Error("the controller does not know that the host waits")
	}
	return w
}

func (w *waiting) content(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(w.file)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// watcher is the process that watches, which lives.
func (w *waiting) watcher(t *testing.T) int {
	t.Helper()
	s, watched, err := journal.SwitchOf(w.state)
	if err != nil || !watched || !alive(s.Watcher.PID) {
		t.Fatalf("nobody watches: %+v, %v", s, err)
	}
	return s.Watcher.PID
}

func (w *waiting) run(t *testing.T) journal.Run {
	t.Helper()
	runs, err := journal.Runs(w.state)
	if err != nil || len(runs) != 1 {
		t.Fatal(runs, err)
	}
	return runs[0]
}

// TestASilentControllerHasTheHostGoBack, however it fell silent, and whatever has become of the helper.
func TestASilentControllerHasTheHostGoBack(t *testing.T) {
	for name, silence := range map[string]func(*waiting){
		"link":   func(w *waiting) { w.cut.now() },
		"helper": func(w *waiting) { _ = syscall.Kill(w.Hello().PID, syscall.SIGKILL) },
		"bye":    func(w *waiting) { _ = w.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			w := waits(t, 6*time.Second)
			pid := w.watcher(t)
			if sid, err := syscall.Getpgid(pid); err != nil || sid != pid {
				t.Errorf("the watcher is in the process group %d, %v", sid, err)
			}
			silence(w)
			eventually(t, "the host to go back", func() bool { return w.content(t) == "old" })
			eventually(t, "the watcher to end", func() bool { return !alive(pid) })
			if !exists(w.file + ".first") {
				t.Error("what was done before went back too")
			}
			if r := w.run(t); r.Switch != journal.Fired || r.Undone != 1 {
				t.Errorf("the journal says %+v", r)
			}
			w.comesBack(t)
		})
	}
}

// comesBack: the controller is told, can do nothing but take back the rest, and then begin again.
func (w *waiting) comesBack(t *testing.T) {
	t.Helper()
	fresh, err := openChild(t, w.state, nil)
	if err != nil {
		t.Fatal(err)
	}
	const why = "it was not confirmed in time: the host has taken back by itself what the run changed"
	for what, err := range map[string]error{"confirm": fresh.Confirm(t.Context(), "run1", w.holder), "begin": fresh.Begin(t.Context(), "run1", w.holder)} {
		if tasks.KindOf(err) != tasks.Refused || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", what, err)
		}
	}
	h := w.holder
	h.Returns = true
	if err := fresh.Begin(t.Context(), "run1", h); err != nil {
		t.Fatal(err)
	}
	r, err := fresh.Undo(t.Context(), "run1", h, UndoOptions{DownTo: 2})
	if want := "1 taken back by the host itself (not confirmed in 6s)"; err != nil || len(r.Items) != 0 || r.Note.String() != want {
		t.Errorf("the undo: %+v, %v", r, err)
	}
	h.Token, h.Returns = fresh.Token(), false
	if err := fresh.Begin(t.Context(), "run1", h); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestAControllerThatIsHeardIsWaitedFor, and one that confirms over another link ends the watcher.
func TestAControllerThatIsHeardIsWaitedFor(t *testing.T) {
	w := waits(t, 10*time.Second)
	pid := w.watcher(t)
	was := w.Stats().FramesOut
	eventually(t, "pings over more than that", func() bool { return w.Stats().FramesOut >= was+5 })
	if got := w.content(t); got != "new" || w.watcher(t) != pid {
		t.Errorf("it went back: %s", got)
	}
	fresh, err := openChild(t, w.state, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := fresh.Confirm(t.Context(), "run1", w.holder); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the watcher to end", func() bool { return !alive(pid) })
	if got := w.content(t); got != "new" || exists(filepath.Join(w.state, "switch")) {
		t.Errorf("it has %s", got)
	}
	mustRun(t, w.Client, one("echo", nil)) // the helper that worked is still there
}

// TestAnUndoEndsTheWatcher: what the controller takes back need not go back by itself.
func TestAnUndoEndsTheWatcher(t *testing.T) {
	w := waits(t, time.Minute)
	pid := w.watcher(t)
	for _, o := range []UndoOptions{{DownTo: 3}, {DownTo: 2, For: []string{"another"}}, {DownTo: 2, Preview: true}} {
		if r, err := w.Undo(t.Context(), "run1", w.holder, o); err != nil || r.Disarmed || w.watcher(t) != pid {
			t.Errorf("a part of it: %+v, %v", r, err)
		}
	}
	r, err := w.Undo(t.Context(), "run1", w.holder, UndoOptions{DownTo: 2, For: []string{""}})
	if err != nil || len(r.Items) != 1 || r.Note.String() != "" || !r.Disarmed {
		t.Errorf("the undo: %+v, %v", r, err)
	}
	eventually(t, "the watcher to end", func() bool { return !alive(pid) })
	if got := w.run(t); got.Switch != journal.NoSwitch {
		t.Errorf("the journal says %+v", got)
	}
}

// TestALostWatcherIsTold: a boot ends it. Whoever goes on with the run has it started again, and whoever takes back is told.
func TestALostWatcherIsTold(t *testing.T) {
	w := waits(t, time.Minute)
	pid := w.watcher(t)
	_ = syscall.Kill(pid, syscall.SIGKILL)
	eventually(t, "the watcher to end", func() bool { // all of its threads
		_, watched, err := journal.SwitchOf(w.state)
		return err == nil && !watched
	})
	r, err := w.Undo(t.Context(), "run1", w.holder, UndoOptions{Preview: true})
	if want := "it was not confirmed in 1m0s, and did not go back by itself: the host was booted, or its watcher was killed"; err != nil || r.Note.String() != want {
		t.Errorf("the preview: %+v, %v", r.Note, err)
	}
	w.Abandon()
	again, err := openChild(t, w.state, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Begin(t.Context(), "run1", w.holder); err != nil || !again.Armed() {
		t.Fatal(again.Armed(), err)
	}
	if w.watcher(t) == pid {
		t.Error("there is no new watcher")
	}
	if err := again.Confirm(t.Context(), "run1", w.holder); err != nil {
		t.Error(err)
	}
}

// TestNothingAlteredArmsNothing, in check mode too.
func TestNothingAlteredArmsNothing(t *testing.T) {
	state := t.TempDir()
	c := mustBegin(t, state, "run1", me)
	file := filepath.Join(t.TempDir(), "f")
	task := one("put", map[string]any{"dest": file, "content": "new"})
	task.Check, task.Confirm = true, &Confirm{Within: time.Minute, Since: 1}
	mustRun(t, c, task)
	task = one("echo", nil)
	task.Confirm = &Confirm{Within: time.Minute, Since: 1}
	mustRun(t, c, task)
	if c.Armed() || exists(filepath.Join(state, "switch")) {
		t.Error("a switch was armed")
	}
}

// TestWhoComesWhileTheHostGoesBackWaits: a rollback, of the same run, comes to a host that is at work on it.
func TestWhoComesWhileTheHostGoesBackWaits(t *testing.T) {
	w := waits(t, 6*time.Second)
	begun, goOn := filepath.Join(w.state, "begun"), filepath.Join(w.state, "go-on")
	task := one("run", map[string]any{"argv": []any{"true"}, "alters": true})
	task.Number, task.Confirm = 3, &Confirm{Within: 6 * time.Second, Since: 2}
	task.Undo = []tasks.Invocation{{Module: "run", Args: map[string]any{"argv": []any{"sh", "-c", "touch " + begun + "; until test -e " + goOn + "; do sleep 0.05; done"}}}}
	mustRun(t, w.Client, task)
	w.cut.now()
	eventually(t, "the host to begin to go back", func() bool { return exists(begun) })
	fresh, err := openChild(t, w.state, nil)
	if err != nil {
		t.Fatal(err)
	}
	came := make(chan error, 1)
	go func() { came <- fresh.Begin(t.Context(), "run1", other) }()
	eventually(t, "the rollback to be at the lock", func() bool { return fresh.Stats().FramesOut > 0 })
	select {
	case err := <-came:
		t.Errorf("it did not wait: %v", err)
	default:
	}
	if err := os.WriteFile(goOn, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-came; err != nil {
		t.Errorf("when the host is back: %v", err)
	}
	if got := w.content(t); got != "old" {
		t.Errorf("it has %s", got)
	}
}

// TestALongTimeToConfirmIsNoPauseForTheLock: that the controller is heard is noted as often as without it.
func TestALongTimeToConfirmIsNoPauseForTheLock(t *testing.T) {
	for within, want := range map[time.Duration]time.Duration{time.Millisecond: minListen, 40 * time.Second: 5 * time.Second, 30 * time.Minute: listenEvery} {
		s := &server{faster: make(chan time.Duration, 1)}
		s.listenFor(within)
		if got := <-s.faster; got != want {
			t.Errorf("with %s it listens every %s, want %s", within, got, want)
		}
	}
	s := &server{o: ServeOptions{QuietLimit: 100 * time.Millisecond}, faster: make(chan time.Duration, 1)}
	s.ctx, s.stop = context.WithCancelCause(t.Context())
	s.listenFor(30 * time.Minute)
	ended := make(chan error, 1)
	go func() { s.listen(); ended <- context.Cause(s.ctx) }()
	select {
	case err := <-ended:
		if !errors.Is(err, errGone) {
			t.Error(err)
		}
	case <-time.After(listenEvery - time.Second):
		t.Error("it listens less often than before")
	}
}

// TestALostAnswerMayHaveToBeConfirmed: what it would have said is not known.
func TestALostAnswerMayHaveToBeConfirmed(t *testing.T) {
	state, begun := t.TempDir(), filepath.Join(t.TempDir(), "begun")
	c := mustBegin(t, state, "run1", me)
	task := one("hang", map[string]any{"touch": begun})
	task.Confirm = &Confirm{Within: time.Minute, Since: 1}
	sent, err := c.Send(task)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the task to begin", func() bool { return exists(begun) })
	_ = syscall.Kill(c.Hello().PID, syscall.SIGKILL)
	if _, err := sent.Wait(t.Context()); tasks.KindOf(err) != tasks.Unreachable || !c.Armed() {
		t.Errorf("%v, armed is %v", err, c.Armed())
	}
}

// TestAPreviewAsksForGuardsWithoutTheLock, which is somebody else's.
func TestAPreviewAsksForGuardsWithoutTheLock(t *testing.T) {
	state := t.TempDir()
	j, err := journal.Open(state, "run1", me)
	if err != nil {
		t.Fatal(err)
	}
	if err := tasks.NewSys(tasks.Options{Recorder: j, Task: 4}).Guard(t.Context(), "it moved", nil); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(j.Release(), j.Close()); err != nil {
		t.Fatal(err)
	}
	mustBegin(t, state, "run2", other)
	c := pipe(t, ServeOptions{StateDir: state, Kinds: tasks.NodeKinds(tasks.KindOptions{})})
	r, err := c.Undo(t.Context(), "run1", me, UndoOptions{Guards: true, Preview: true})
	if err != nil || len(r.Items) != 1 || r.Items[0].Task != 4 || !strings.Contains(r.Items[0].Error, "it moved") {
		t.Errorf("have %+v, %v", r, err)
	}
	if l := mustStand(t, c, journal.Held); l.Holder.Run != "run2" {
		t.Errorf("the lock is %+v", l)
	}
}

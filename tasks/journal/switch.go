package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/calroll/calroll/tasks"
)

// switchName is beside the lock while a run waits to be confirmed. Its watcher holds a lock on it as long as it lives. Whoever reads or writes it holds the gate.
const switchName = "switch"

// Switch is a dead man's switch: when nothing was heard of the controller for so long, the host takes back what the run did, by itself.
type Switch struct {
	Run     string        `json:"run"`
	Since   int64         `json:"since,omitempty"` // the number of the first task that is taken back; 0 is all
	Within  time.Duration `json:"within"`          // by the host's clock since boot; in nanoseconds
	Fired   bool          `json:"fired,omitempty"` // it is being taken back
	Watcher Process       `json:"watcher"`
}

// SwitchState is what became of the last switch that a run had on a host.
type SwitchState string

// The states. A switch that is Armed and has no watcher any more, because the host was booted or somebody has killed it, takes nothing back.
const (
	NoSwitch  SwitchState = ""
	Armed     SwitchState = "armed"
	Confirmed SwitchState = "confirmed"
	Fired     SwitchState = "fired"
)

// switchStates are the lines of a journal that tell of switches.
var switchStates = map[string]SwitchState{"armed": Armed, "confirmed": Confirmed, "fired": Fired, "disarmed": NoSwitch}

// readSwitch is the switch below dir, nil for none, and whether its watcher lives. The gate is held.
func readSwitch(dir string) (s *Switch, alive bool, err error) {
	f, err := os.Open(filepath.Join(dir, switchName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	s = &Switch{}
	if err := json.NewDecoder(f).Decode(s); err != nil { // what is left behind it is of a longer one
		return nil, false, fmt.Errorf("cannot read %s: %w", f.Name(), err)
	}
	return s, errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK), nil
}

// write puts the switch into its file by one write. It is not synced: a boot ends the watcher anyway.
func (s Switch) write(f *os.File) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(append(raw, '\n'), 0)
	return err
}

// Arm has the host take back by itself what the run did from task since on, unless the controller is heard within each such length of time until Confirm.
// start starts the watcher, a program that calls Watch, and returns when that is ready. A run that is armed already keeps its since.
func (j *Journal) Arm(ctx context.Context, within time.Duration, since int64, start func() error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.turn(ctx, func() error {
		s, fresh, err := j.arm(Switch{Run: j.run, Since: since, Within: within}, start)
		if err != nil || !fresh && j.state == Armed {
			return err
		}
		// A helper that was killed may have left a watcher without the line.
		err = j.append(line{What: "armed", At: time.Now().UTC(), Within: s.Within, Since: s.Since}, true)
		if err != nil && fresh && j.state != Armed { // nothing was altered: nobody would know of it, and confirm it
			_, _, cannot := j.disarm(true)
			err = errors.Join(err, cannot)
		}
		return err
	})
}

// arm sees to it that there is a switch with a watcher, and tells which; a fresh one has a new watcher.
func (j *Journal) arm(s Switch, start func() error) (now Switch, fresh bool, err error) {
	gate, err := openGate(j.dir, os.O_RDWR)
	if err != nil {
		return s, false, err
	}
	defer gate.Close()
	was, alive, err := readSwitch(j.dir)
	if err != nil {
		return s, false, err
	}
	if was != nil && was.Run == j.run && was.Fired && alive {
		return s, false, refused(goesBack)
	}
	if was != nil && was.Run == j.run && !was.Fired {
		s.Since = min(s.Since, was.Since)
		if alive && s.Since == was.Since && s.Within == was.Within {
			return s, false, nil
		}
	}
	if was != nil && alive && was.Run != j.run {
		return s, false, waitedFor(was, gate)
	}
	if was != nil && alive { // the old watcher sees that the file is another one, and ends
		was.Watcher.signal(unix.SIGUSR1)
	}
	if err := errors.Join(noteHeard(gate), s.create(j.dir)); err != nil {
		return s, false, err
	}
	if err := start(); err != nil {
		return s, false, errors.Join(err, os.Remove(filepath.Join(j.dir, switchName)))
	}
	return s, true, nil
}

// create makes a new file of the switch, in the place of an old one.
func (s Switch) create(dir string) error {
	fresh := filepath.Join(dir, switchName+".new")
	f, err := os.OpenFile(fresh, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(s.write(f), f.Close()); err != nil {
		return err
	}
	return os.Rename(fresh, filepath.Join(dir, switchName))
}

// waitedFor refuses another run while a switch is armed.
func waitedFor(s *Switch, gate *os.File) error {
	if s.Fired {
		return fmt.Errorf("%w from run %s, which was not confirmed", errGoesBack, s.Run)
	}
	left := max(s.Within-silence(gate), 0).Round(time.Second)
	return refused(fmt.Sprintf("run %s waits to be confirmed: the host takes back what it changed in %s, unless more is heard of it", s.Run, left))
}

// unwatched errs while the host waits for another run to be confirmed; the gate is held.
func (j *Journal) unwatched(gate *os.File) error {
	s, alive, err := readSwitch(j.dir)
	if err != nil || s == nil || !alive || s.Run == j.run {
		return err
	}
	return waitedFor(s, gate)
}

// SwitchOf is the switch below dir, nil for none, and whether its watcher lives.
func SwitchOf(dir string) (s *Switch, alive bool, err error) {
	gate, err := openGate(dir, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("cannot look at the switch: %w", err)
	}
	defer gate.Close()
	return readSwitch(dir)
}

// watched tells whether the run's switch has a watcher.
func watched(dir, run string) bool {
	s, alive, err := SwitchOf(dir)
	return err == nil && alive && s.Run == run
}

// Confirm ends the run's switch: what it did stays. A run that has none needs no confirmation. The error is Refused when the host has taken the run back
// by itself, or is about to.
func Confirm(ctx context.Context, dir, run string, h Holder) error {
	if !Kept(dir, run) {
		return nil
	}
	j, err := Open(dir, run, h)
	if err != nil {
		return err
	}
	defer j.part()
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.turn(ctx, func() error { return j.confirm() })
}

// confirm decides under the gate, as the watcher does: what is confirmed does not fire, and what has fired is not confirmed. The file counts also where the
// journal lacks the line of it, because the helper was killed or the disk full: its watcher would take back what was confirmed.
func (j *Journal) confirm() error {
	if j.state == Fired {
		return refused(wentBack)
	}
	there, fired, err := j.disarm(false)
	switch {
	case err != nil:
		return err
	case fired:
		return refused(goesBack)
	case !there && j.state != Armed:
		return nil
	}
	return j.append(line{What: "confirmed", At: time.Now().UTC()}, true)
}

const (
	wentBack = "it was not confirmed in time: the host has taken back by itself what the run changed"
	goesBack = "it was not confirmed in time: the host is taking back what the run changed"
)

// disarm takes the run's switch away, if it is there. One that has fired stays unless even is set.
func (j *Journal) disarm(even bool) (there, fired bool, err error) {
	gate, err := openGate(j.dir, os.O_RDWR)
	if err != nil {
		return false, false, err
	}
	defer gate.Close()
	s, alive, err := readSwitch(j.dir)
	if err != nil || s == nil || s.Run != j.run {
		return false, false, err
	}
	if s.Fired && alive && !even {
		return true, true, nil
	}
	if err := os.Remove(filepath.Join(j.dir, switchName)); err != nil {
		return true, false, err
	}
	s.Watcher.signal(unix.SIGUSR1)
	return true, false, nil
}

// undid takes the switch away when a controller has taken back all that it would, and says so. The file counts also where the journal lacks the line of it.
func (u *undo) undid(ctx context.Context, r Run) error {
	since, waits := r.Since, r.Switch == Armed || r.Switch == Fired
	s, _, err := SwitchOf(u.journal.dir)
	if err != nil {
		return err
	}
	if s != nil && s.Run == r.ID {
		since, waits = s.Since, true
	}
	if !waits || u.ByItself || u.Hold || !u.own() || u.DownTo > since {
		return nil
	}
	if _, _, err := u.journal.disarm(true); err != nil || r.Switch == Fired {
		return err
	}
	return u.journal.write(ctx, line{What: "disarmed", At: time.Now().UTC()}, true)
}

// own tells whether what was done for the host itself goes back.
func (o UndoOptions) own() bool { return o.For == nil || slices.Contains(o.For, "") }

// disarmed tells whether the run has no switch here: it never waited to be confirmed, or does not any more.
func disarmed(dir, run string) bool {
	s, _, err := SwitchOf(dir)
	return err == nil && (s == nil || s.Run != run)
}

const (
	lookEvery = 5 * time.Second // a pause of the whole machine stops timers, and not the clock that counts
	giveUp    = time.Hour       // trying to take back, which a disk that is full, say, has failed
	lastLook  = time.Second     // before it fires, for what came during such a pause
)

// Watch is the watcher of the switch below dir. It returns when the switch is gone: confirmed, taken away, or when fire, which takes the run back, has
// succeeded; a fire that fails is tried again. look wakes it up. When ctx ends it gives up, and the switch stays armed without a watcher.
func Watch(ctx context.Context, dir string, look <-chan os.Signal, ready func() error, fire func(context.Context, Switch) error) error {
	w := &watch{dir: dir, fire: fire}
	if err := w.begin(); err != nil {
		return fmt.Errorf("cannot watch over the run: %w", err)
	}
	defer w.file.Close()
	if err := ready(); err != nil {
		return fmt.Errorf("cannot watch over the run: %w", err)
	}
	for {
		wait, over := w.look(ctx)
		if over {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-look:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		timer.Stop()
	}
}

// watch is one Watch.
type watch struct {
	dir    string
	file   *os.File
	fire   func(context.Context, Switch) error
	late   bool          // the time was over at the last look
	failed time.Duration // how long the next try has to wait; 0 before the first
	since  time.Time     // of the first try
}

// begin takes the switch's file; whoever arms holds the gate meanwhile.
func (w *watch) begin() error {
	f, err := os.OpenFile(filepath.Join(w.dir, switchName), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	w.file = f
	var s Switch
	if err := json.NewDecoder(f).Decode(&s); err != nil {
		return err
	}
	s.Watcher = Self()
	return errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_EX), s.write(f))
}

// look does what is due, and says when to look again.
func (w *watch) look(ctx context.Context) (wait time.Duration, over bool) {
	s, left, err := w.due()
	switch {
	case err != nil || s == nil:
		return lookEvery, err == nil || errors.Is(err, fs.ErrNotExist) // somebody has taken the journals away
	case left > 0:
		return min(left, lookEvery), false
	}
	if w.since.IsZero() {
		w.since = time.Now()
	}
	if w.fire(ctx, *s) == nil {
		w.end()
		return 0, true
	}
	w.failed = min(max(2*w.failed, time.Second), 30*time.Second)
	return w.failed, time.Since(w.since) > giveUp
}

// due is the switch, nil when it is not the watcher's any more, and how long it has to wait. When that is over the switch has fired.
func (w *watch) due() (s *Switch, left time.Duration, err error) {
	gate, err := openGate(w.dir, os.O_RDWR)
	if err != nil {
		return nil, 0, err
	}
	defer gate.Close()
	if s, err = w.mine(); s == nil || s.Fired {
		return s, 0, err
	}
	left = s.Within - silence(gate)
	switch {
	case left > 0:
		w.late = false
		return s, left, nil
	case !w.late:
		w.late = true
		return s, min(lastLook, s.Within/4), nil
	}
	s.Fired = true
	return s, 0, s.write(w.file)
}

// mine is the switch as its file says, nil when the file is gone or another one. The gate is held.
func (w *watch) mine() (*Switch, error) {
	now, err := os.Stat(filepath.Join(w.dir, switchName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	own, err := w.file.Stat()
	if err != nil || !os.SameFile(now, own) {
		return nil, err
	}
	s, _, err := readSwitch(w.dir)
	return s, err
}

// end takes the switch away.
func (w *watch) end() {
	gate, err := openGate(w.dir, os.O_RDWR)
	if err != nil {
		return // without a watcher it stands for nothing
	}
	defer gate.Close()
	if s, err := w.mine(); err == nil && s != nil {
		_ = os.Remove(w.file.Name())
	}
}

// displaced is the controller that lost the host because its run was not confirmed. It may come back to take back the rest.
type displaced struct {
	Run   string `json:"run"`
	Token int64  `json:"token"`
}

// Seize takes the host from the run's controller, in favour of the host itself, and returns when its helpers have ended: they complete the alteration in
// hand, and are killed when that takes too long.
func Seize(ctx context.Context, dir, run string) error {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	helpers, err := displace(dir, f, run)
	if err != nil {
		return err
	}
	return evict(ctx, f, helpers)
}

// displace writes that the host is nobody's, under a new token.
func displace(dir string, f *os.File, run string) ([]Process, error) {
	gate, err := openGate(dir, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	defer gate.Close()
	r, err := readRecord(f)
	if err != nil {
		return nil, err
	}
	if r.held() && r.Holder.Run != run {
		return nil, refused("another run holds it: " + r.Holder.String())
	}
	if again := r.Back != nil && r.Back.Run == run && (r.Holder == nil || r.Holder.PID == os.Getpid()); !again {
		r.Back = &displaced{Run: run, Token: r.Token}
	}
	r.Token, r.Holder = r.Token+1, nil
	return r.Helpers, r.write(f, true)
}

// returns tells whether the journal's controller lost the host to the host itself, and comes to take back the rest.
func (j *Journal) returns(r record) bool {
	return j.holder.Returns && r.Back != nil && r.Back.Run == j.run && r.Back.Token == j.holder.Token
}

// note is what a report has to say of the run's switch.
func (r Run) note(dir string, entries []Entry, downTo int64) Note {
	n := 0
	for _, e := range entries {
		if e.Task >= downTo && e.ByItself && (e.Outcome == tasks.Restored || e.Outcome == tasks.Forced) {
			n++
		}
	}
	lost := n == 0 && r.Switch == Armed && !watched(dir, r.ID)
	if n == 0 && !lost {
		return Note{}
	}
	return Note{Restored: n, Lost: lost, Within: r.Within}
}

package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
)

// watchFlag is the argument with which the helper's program is the watcher of the journals below the folder that follows.
const watchFlag = "--watch"

// Confirm says that a task has to be confirmed. Without it nothing has to be.
type Confirm struct {
	Within time.Duration `json:"within"`          // the host takes back what the run did when the controller is not heard for so long
	Since  int64         `json:"since,omitempty"` // the number of the first task that goes back
}

// armed is the journal of a task that has to be confirmed: the watcher is there before the first alteration.
type armed struct {
	*journal.Journal
	s  *server
	by Confirm
}

// Record implements tasks.Recorder.
func (a armed) Record(ctx context.Context, b tasks.Before, image *tasks.Image) (int64, error) {
	if err := a.Arm(ctx, a.by.Within, a.by.Since, func() error { return startWatcher(a.s.o.StateDir) }); err != nil {
		return 0, beginError(fmt.Errorf("cannot see to it that the host goes back when it is not confirmed: %w", err))
	}
	a.s.armed.Store(true)
	a.s.listenFor(a.by.Within)
	return a.Journal.Record(ctx, b, image)
}

// startPatience is how long a watcher may take to be ready.
const startPatience = 20 * time.Second

// startWatcher starts this very program as the watcher, away from whatever may end this one: in a session of its own, without a terminal. It runs the
// inode that runs here, whose hash was compared when it came, whatever has become of its name.
func startWatcher(dir string) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{os.Args[0], Command, watchFlag, dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.ExtraFiles = []*os.File{w}
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // how it ended is in the journal
	if err := r.SetReadDeadline(time.Now().Add(startPatience)); err != nil {
		return err
	}
	if said, err := io.ReadAll(r); err != nil || string(said) != checkWord {
		_ = cmd.Process.Kill()
		return errors.Join(errors.New("its watcher does not start"), err)
	}
	return nil
}

// watch is the watcher.
func watch(dir string, o ServeOptions) error {
	leaveSession()
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	look := make(chan os.Signal, 1)
	signal.Notify(look, syscall.SIGUSR1)
	parent := os.NewFile(3, "parent")
	ready := func() error {
		_, err := parent.WriteString(checkWord)
		return errors.Join(err, parent.Close())
	}
	return journal.Watch(ctx, dir, look, ready, func(ctx context.Context, s journal.Switch) error { return takeBack(ctx, dir, s, o.Kinds) })
}

// leaveSession gets root's watcher out of the control group of the login, which some hosts clear when the login ends. It is another's place, so no
// is an answer.
func leaveSession() {
	if os.Geteuid() != 0 {
		return
	}
	for _, group := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/systemd"} {
		if f, err := os.OpenFile(group+"/cgroup.procs", os.O_WRONLY, 0); err == nil {
			_, _ = f.WriteString("0")
			_ = f.Close()
		}
	}
}

// takeBack takes the host from the controller that is not heard any more, and undoes what was not confirmed.
func takeBack(ctx context.Context, dir string, s journal.Switch, kinds tasks.Kinds) (err error) {
	self := journal.Self()
	host, _ := os.Hostname() // empty is an honest answer
	h := journal.Holder{User: journal.Itself, Bastion: host, PID: self.PID, Started: self.Started, Run: s.Run, Since: time.Now()}
	if err := journal.Seize(ctx, dir, s.Run); err != nil {
		return err
	}
	b := book{}
	if b.journal, err = journal.Open(dir, s.Run, h); err != nil {
		return err
	}
	defer func() { b.close(true) }()
	if err := b.journal.Lock(ctx); err != nil {
		return err
	}
	if err := b.seat.take(ctx, dir, h); err != nil {
		return err
	}
	defer keepLock(b.journal)()
	o := journal.UndoOptions{Holder: b.holder(h), DownTo: s.Since, For: []string{""}, ByItself: true}
	_, err = journal.Undo(ctx, dir, s.Run, o, kinds)
	return err
}

// keepLock has the lock last until stop, however long the undo takes.
func keepLock(j *journal.Journal) (stop func()) {
	tick, done := time.NewTicker(listenEvery), make(chan struct{})
	go func() {
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = j.Heard() // or the lock expires
			case <-done:
				return
			}
		}
	}()
	return func() { close(done) }
}

// confirm ends the switch of a run. It takes no seat: the helper that worked may still be there.
func (s *server) confirm(ctx context.Context, payload []byte) error {
	var b beginCall
	if err := json.Unmarshal(payload, &b); err != nil {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	if err := journal.Confirm(ctx, s.o.StateDir, b.Run, s.book.holder(b.Holder)); err != nil {
		return beginError(err)
	}
	return nil
}

// watchedOver tells for how long the run waits to be confirmed here, 0 when it does not, and has the controller listened for often enough. A watcher that a
// boot of the host has ended is started again.
func (s *server) watchedOver(ctx context.Context, run string) (time.Duration, error) {
	w, alive, err := journal.SwitchOf(s.o.StateDir)
	if err != nil || w == nil || w.Run != run || w.Fired {
		return 0, err
	}
	if !alive {
		err = s.book.journal.Arm(ctx, w.Within, w.Since, func() error { return startWatcher(s.o.StateDir) })
	}
	s.listenFor(w.Within)
	return w.Within, err
}

// listenFor has it noted at least eight times within so long that the controller was heard, and as often as ever for the sake of the lock.
func (s *server) listenFor(within time.Duration) {
	select {
	case s.faster <- min(max(within/8, minListen), listenEvery):
	default: // it was told so already
	}
}

const minListen = 50 * time.Millisecond

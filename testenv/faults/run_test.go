package faults

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/calroll/calroll/runner/event"
)

// run is a calroll at work, and what it has said so far.
type run struct {
	*rig
	cmd    *exec.Cmd
	errors bytes.Buffer
	events []event.Event // the reader's until wait returns
	ended  chan struct{}
	later  sync.WaitGroup // what goes on beside the run
	missed bool           // the run ended before its point came; read after later
}

// runPatience bounds a run, whatever happens to it. The longest faults last half a minute, the longest silence of a link three quarters.
const runPatience = 10 * time.Minute

// start runs the play. at is told each event, by one goroutine, as soon as the program has written it.
func (r *rig) start(at func(*run, event.Event)) *run {
	r.Helper()
	return r.follow(at, "run", r.book, "-i", r.inventory, "--output", "json", "-T", "30")
}

func (r *rig) follow(at func(*run, event.Event), args ...string) *run {
	r.Helper()
	w := &run{rig: r, cmd: r.command(args...), ended: make(chan struct{})}
	w.cmd.Stderr = &w.errors
	out, err := w.cmd.StdoutPipe()
	r.must(err)
	r.must(w.cmd.Start())
	go func() { // ends with the program's output
		defer close(w.ended)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 64<<20)
		for lines.Scan() {
			var e event.Event
			if json.Unmarshal(lines.Bytes(), &e) != nil {
				continue // a line torn by the program's death
			}
			w.events = append(w.events, e)
			if at != nil {
				at(w, e)
			}
		}
	}()
	return w
}

// still holds the program while do is done.
func (w *run) still(do func()) {
	_ = w.cmd.Process.Signal(syscall.SIGSTOP) // it may have ended, so here and below
	defer func() { _ = w.cmd.Process.Signal(syscall.SIGCONT) }()
	do()
}

// kill ends the program at once.
func (w *run) kill() { _ = w.cmd.Process.Kill() }

// wait waits for the end of the program, which it hastens when it takes too long.
func (w *run) wait() {
	w.Helper()
	late := time.AfterFunc(runPatience, func() {
		w.Errorf("a run did not end in %v", runPatience)
		_ = w.cmd.Process.Signal(syscall.SIGABRT) // shows where it hangs
	})
	defer late.Stop()
	<-w.ended
	_ = w.cmd.Wait() // its status is read by whoever wants it
	w.later.Wait()
}

// String is the end of what the run showed, for a failure.
func (w *run) String() string {
	var b strings.Builder
	for _, e := range w.events[max(0, len(w.events)-30):] {
		if line, err := json.Marshal(e); err == nil {
			fmt.Fprintf(&b, "%.400s\n", line)
		}
	}
	return b.String() + w.errors.String()
}

// said is what a run claims.
type said struct {
	id        string
	over      bool // the run came to its own end
	exit      int
	batches   [][]string
	committed []string
	undone    []string // as before again
	open      []string // an undo did not reach them, or not all of them
	away      []string // those of them that it did not reach
	failed    []string
	lost      []string
	tasks     int // that were started in the last batch, handlers too
	recap     map[string]event.Counts
	advice    string
}

// said reads the events. It is called when the run has ended.
func (w *run) said() said {
	var s said
	for _, e := range w.events {
		switch e.Kind {
		case event.RunStart:
			s.id = e.Run
		case event.BatchStart:
			s.batches, s.tasks = append(s.batches, e.Hosts), 0
		case event.TaskStart:
			s.tasks++
		case event.HostDone:
			s.judge(e)
		case event.Commit:
			s.committed = append(s.committed, e.Hosts...)
		case event.UndoHost:
			s.took(e)
		case event.Recap:
			s.recap = e.Counts
		case event.RunEnd:
			s.over, s.exit, s.advice = true, *e.Exit, e.Message
		}
	}
	return s
}

func (s *said) judge(e event.Event) {
	switch e.Status {
	case event.Failed:
		s.failed = append(s.failed, e.Host)
	case event.Unreachable:
		s.lost = append(s.lost, e.Host)
	}
}

func (s *said) took(e event.Event) {
	if e.Status == event.OK || e.Status == event.Changed {
		s.undone = append(s.undone, e.Host)
	} else {
		s.open = append(s.open, e.Host)
	}
	if e.Status == event.Unreachable {
		s.away = append(s.away, e.Host)
	}
}

// worked are the hosts of the batches that were begun.
func (s *said) worked() []string { return slices.Concat(s.batches...) }

// bad are the hosts that failed or were lost.
func (s *said) bad() []string { return slices.Concat(s.failed, s.lost) }

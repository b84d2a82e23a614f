package faults

import (
	"context"
	"fmt"
	"strings"

	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/testenv"
)

// point is when a fault strikes, within a batch.
type point struct {
	name string
	// ready prepares the victim before the run; nil where there is nothing to prepare.
	ready func(*rig, *testenv.Host)
	// here tells whether the event is the point, or where wait begins.
	here func(p *progress, e event.Event) bool
	// plant is done on the victim there, while the program stands still; nil for nothing.
	plant func(*rig, *testenv.Host)
	// wait, if there is one, goes on beside the run from here on, and returns when the point has come.
	wait func(*run, *testenv.Host) error
	// release lets the victim go on, once the fault is made; nil where nothing waits.
	release func(*rig, *testenv.Host) error
	// hangs: nothing is released before the run has ended.
	hangs bool
}

// progress is how far a run has got in the batch of the victim.
type progress struct {
	batch int // that counts; from 1
	in    bool
	tasks int // begun in it
	undo  bool
}

// see takes an event in.
func (p *progress) see(e event.Event) {
	switch e.Kind {
	case event.BatchStart:
		p.in = e.Batch == p.batch
	case event.TaskStart:
		if p.in {
			p.tasks++
		}
	case event.UndoStart:
		p.undo = true
	}
}

// boundary is the beginning of the batch's nth task; handlers count too.
func boundary(n int) point {
	return point{name: fmt.Sprintf("task %d", n), here: func(p *progress, e event.Event) bool {
		return p.in && e.Kind == event.TaskStart && p.tasks == n
	}}
}

// inside is where a faults-hold waits, of the play or of its unit.
func inside(name, hold string) point {
	return point{
		name:  "inside " + name,
		ready: func(r *rig, h *testenv.Host) { r.sh(h, plantHold(hold)) },
		here:  func(p *progress, e event.Event) bool { return p.in && e.Kind == event.BatchStart },
		wait: func(w *run, h *testenv.Host) error {
			return w.watch(h, "while [ ! -e /run/faults/at-"+hold+" ]; do sleep 0.02; done")
		},
		release: func(r *rig, h *testenv.Host) error {
			_, err := h.Sh(r.Context(), "rm -rf /run/faults")
			return err
		},
	}
}

func plantHold(hold string) string { return "mkdir -p /run/faults && : >/run/faults/hold-" + hold }

// hanging is a point that stays as it is until the run has ended.
func hanging(p point) point {
	p.name, p.hangs = p.name+" that hangs", true
	return p
}

// undoing is where a faults-hold waits in the undo of a batch whose victim fails at the last task.
func undoing(name, hold string) point {
	p := inside(name, hold)
	const fail = "mkdir -p /run/faults && : >/run/faults/break"
	p.ready = func(r *rig, h *testenv.Host) { r.sh(h, fail) }
	p.plant = func(r *rig, h *testenv.Host) { r.sh(h, plantHold(hold)) }
	if hold == "undo" { // nothing of the run itself waits there, and an undo may be through before it is planted
		p.ready, p.plant = func(r *rig, h *testenv.Host) { r.sh(h, fail+" && "+plantHold(hold)) }, nil
	}
	p.here = func(p *progress, e event.Event) bool { return e.Kind == event.UndoStart }
	return p
}

// inCopy is when some of the large file has crossed the wire.
func inCopy() point {
	return point{
		name: "inside a copy",
		here: func(p *progress, e event.Event) bool {
			return p.in && e.Kind == event.TaskStart && strings.HasPrefix(e.Task, "08")
		},
		wait: func(w *run, h *testenv.Host) error {
			link := w.relays[h.Name]
			from := link.Moved(testenv.ToHost)
			link.Throttle(512 << 10)
			_, err := eventually(w.Context(), func() (string, error) {
				if link.Moved(testenv.ToHost)-from < 200<<10 {
					return "not yet", nil
				}
				return "", nil
			})
			return err
		},
		release: func(r *rig, h *testenv.Host) error {
			r.relays[h.Name].Throttle(0)
			return nil
		},
	}
}

// journal is when the run's journal on the victim has n lines.
func journal(n int) point {
	return point{
		name: fmt.Sprintf("journal of %d lines", n),
		here: func(p *progress, e event.Event) bool { return p.in && e.Kind == event.BatchStart },
		wait: func(w *run, h *testenv.Host) error {
			return w.watch(h, fmt.Sprintf(`f=/var/lib/calroll/runs/%s/journal; until [ -e $f ] && [ $(wc -l <$f) -ge %d ]; do sleep 0.002; done`, w.id(), n))
		},
	}
}

// id is the name of a run that has begun.
func (w *run) id() string { return w.events[0].Run }

// watch waits on the victim until a script ends, or the run does.
func (w *run) watch(h *testenv.Host, script string) error {
	ctx, cancel := context.WithCancel(w.Context())
	defer cancel()
	go func() {
		select {
		case <-w.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	_, err := h.Sh(ctx, script)
	return err
}

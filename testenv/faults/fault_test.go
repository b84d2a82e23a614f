package faults

import (
	"context"
	"fmt"
	"time"

	"github.com/calroll/calroll/testenv"
)

// fault is something that happens to a run or to one of its hosts, the victim.
type fault struct {
	name string
	// small is a folder that is a file system of 4 MiB on the victim; "" for none.
	small string
	// strike makes the fault. The program stands still meanwhile, if it can.
	strike func(*run, *testenv.Host)
	// again is called when an undo begins on the victim; nil for most.
	again func(*run, *testenv.Host)
	// heal ends the fault, after the run.
	heal func(*run, *testenv.Host)

	ends   bool // it ends the program itself
	shared bool // it happens to all hosts that are at work then or later
	spares bool // the run goes on as if nothing had been
}

var (
	controllerKilled = fault{name: "kill -9 controller", ends: true, strike: func(w *run, _ *testenv.Host) { w.kill() }}

	helperKilled = fault{name: "kill -9 helper", strike: func(w *run, h *testenv.Host) { w.sh(h, "pkill -9 remote- || true") }}

	// systemd starts the listener again.
	sshdKilled = fault{name: "kill -9 sshd", strike: func(w *run, h *testenv.Host) { w.sh(h, "pkill -9 sshd") }}

	paused = fault{name: "pause 30 s", strike: func(w *run, h *testenv.Host) {
		w.check(h.Pause(w.Context()))
		w.after(30*time.Second, func() { w.check(h.Unpause(w.Context())) })
	}}

	linkReset = fault{name: "link cut, back at once", strike: reset}

	linkCut = fault{name: "link cut",
		strike: func(w *run, h *testenv.Host) { w.relays[h.Name].Cut() },
		heal:   func(w *run, h *testenv.Host) { w.check(w.relays[h.Name].Restore()) }}

	slowWithResets = fault{name: "300 ms delay, resets",
		strike: func(w *run, h *testenv.Host) {
			w.relays[h.Name].Delay(300 * time.Millisecond)
			reset(w, h)
		},
		again: reset,
		heal:  func(w *run, h *testenv.Host) { w.relays[h.Name].Delay(0) }}

	slow = fault{name: "300 ms delay",
		strike: func(w *run, h *testenv.Host) { w.relays[h.Name].Delay(300 * time.Millisecond) },
		heal:   func(w *run, h *testenv.Host) { w.relays[h.Name].Delay(0) }}

	diskFull = fault{name: "disk full, files", small: "/srv/faults/small",
		strike: func(w *run, h *testenv.Host) { w.sh(h, fill("/srv/faults/small")) },
		heal:   func(w *run, h *testenv.Host) { w.sh(h, "rm /srv/faults/small/.fill") }}

	journalFull = fault{name: "disk full, journal", small: "/var/lib/calroll",
		strike: func(w *run, h *testenv.Host) { w.sh(h, fill("/var/lib/calroll")) },
		heal:   func(w *run, h *testenv.Host) { w.sh(h, "rm /var/lib/calroll/.fill") }}

	diskReadOnly = fault{name: "read-only, files", small: "/srv/faults/small",
		strike: func(w *run, h *testenv.Host) { w.sh(h, "mount -o remount,ro /srv/faults/small") },
		heal:   func(w *run, h *testenv.Host) { w.sh(h, "mount -o remount,rw /srv/faults/small") }}

	powerCycled = fault{name: "power off, on again",
		strike: func(w *run, h *testenv.Host) {
			w.check(h.Kill(w.Context()))
			w.after(0, func() { w.check(h.Start(w.Context())) })
		}}

	poweredOff = fault{name: "power off",
		strike: func(w *run, h *testenv.Host) { w.check(h.Kill(w.Context())) },
		heal:   func(w *run, h *testenv.Host) { w.check(h.Start(w.Context())) }}

	clockBack    = clock("clock 5 years back", 5)
	clockForward = clock("clock 5 years on", -5)
)

// after does something later, and has the end of the run's case wait for it.
func (w *run) after(d time.Duration, do func()) {
	w.later.Go(func() {
		time.Sleep(d)
		do()
	})
}

// reset breaks the victim's connections and lets it be connected to again.
func reset(w *run, h *testenv.Host) {
	w.relays[h.Name].Cut()
	w.check(w.relays[h.Name].Restore())
}

// mount puts the small file system on the victim.
func (f fault) mount(r *rig, h *testenv.Host) {
	if f.small != "" {
		r.sh(h, "mkdir -p "+f.small+" && mount -t tmpfs -o size=4m,mode=0755 none "+f.small)
	}
}

// unmount takes it away, once nothing of the run is on it any more.
func (f fault) unmount(r *rig, h *testenv.Host) {
	if f.small != "" {
		r.sh(h, "umount "+f.small)
	}
}

func fill(dir string) string {
	return "dd if=/dev/zero of=" + dir + "/.fill bs=4096 2>/dev/null; [ $(df --output=avail " + dir + " | tail -1) = 0 ]"
}

// clock stands for a jump of the victim's clock, which containers have in common with this machine: every time that calroll has written there is
// moved the other way, in its files and of them. A program that compares what it reads now with what was written sees the same; one
// that compares two readings of its own does not, and those are of the monotonic clock, which does not jump.
func clock(name string, years int) fault {
	return fault{name: name, strike: func(w *run, h *testenv.Host) {
		ctx, cancel := context.WithTimeout(w.Context(), patience)
		defer cancel()
		_, err := h.Output(ctx, "python3", "-c", clockProgram, fmt.Sprint(years))
		w.check(err)
	}}
}

// clockProgram rewrites years in place: a helper has the files open.
const clockProgram = `
import os, re, sys, time
years = int(sys.argv[1])
move = lambda m: b"%d-" % (int(m.group(1)) + years)
for top in "/var/lib/calroll", "/var/cache/calroll":
    for folder, names, files in os.walk(top):
        for name in names + files:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                continue
            if folder.startswith("/var/lib/calroll/runs") and name in ("journal", "lock", "seat"):
                with open(path, "r+b") as f:
                    old = f.read()
                    new = re.sub(rb"\b(20\d\d)-(?=\d\d-\d\dT)", move, old)
                    assert len(new) == len(old)
                    f.seek(0)
                    f.write(new)
            if os.stat(path).st_nlink < 2 or os.path.isdir(path):
                t = time.time() + years * 365 * 86400
                os.utime(path, (t, t))
`

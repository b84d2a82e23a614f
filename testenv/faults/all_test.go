package faults

import (
	"flag"
	"slices"
)

// every leaves out trials where there is no time for all: of the boundaries of a fault only each nth is tried.
var every = flag.Int("every", 1, "try only each nth boundary of every fault")

// trials are those of this build.
func trials() []trial {
	if whole {
		return all()
	}
	return few()
}

// all are every fault at every boundary, and at the other points where the two can meet.
func all() []trial {
	faults := []fault{controllerKilled, helperKilled, sshdKilled, linkReset, linkCut, powerCycled, poweredOff, diskFull, journalFull, diskReadOnly, clockBack,
		clockForward, slowWithResets, slow, paused}
	var ts []trial
	for i, f := range faults {
		for n := 1 + i%*every; n <= steps; n += *every {
			ts = append(ts, trial{fault: f, point: boundary(n), batch: 1 + (n+i)%3, which: n % 2})
		}
	}
	ends := []fault{controllerKilled, helperKilled, sshdKilled, linkCut, poweredOff}
	goesOn := []fault{linkReset, powerCycled, journalFull, clockBack, slow, paused}
	command, unit := inside("a command", "command"), inside("a unit that starts", "start")
	handler, undo := inside("a handler", "stop"), undoing("the undo of a command", "undo")
	stop := undoing("the undo of a unit", "stop")
	ts = append(ts, cross(ends, hanging(command), hanging(unit), hanging(undo))...)
	ts = append(ts, cross(slices.Concat(ends, goesOn), command, unit, handler, inCopy(), undo, stop)...)
	ts = append(ts, cross(slices.Concat(ends, goesOn), journal(1), journal(9), journal(20), journal(33))...)
	for i := range ts {
		ts[i].resume = i%2 == 0
	}
	return ts
}

// cross are faults at points, spread over the hosts.
func cross(faults []fault, points ...point) (ts []trial) {
	for _, p := range points {
		for _, f := range faults {
			n := len(ts)
			ts = append(ts, trial{fault: f, point: p, batch: 1 + n%3, which: n / 3 % 2})
		}
	}
	return ts
}

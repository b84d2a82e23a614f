package faults

import (
	"flag"
	"fmt"
	"regexp"
	"slices"
)

var (
	// part divides the trials where there is no time for all of them: 2/5 are the second of every five. All parts together are the whole.
	part = flag.String("part", "1/1", "try only this part of the trials, as in 2/5")
	only = flag.String("only", "", "try only trials whose fault and point this regular expression matches, as in 'power off task' or 'inside|journal'")
)

// trials are those of this build.
func trials() ([]trial, error) {
	if whole {
		return mine(all())
	}
	return few(), nil
}

// mine are those of the part to be tried.
func mine(ts []trial) (tried []trial, err error) {
	var one, of int
	if n, err := fmt.Sscanf(*part+"\n", "%d/%d\n", &one, &of); n != 2 || err != nil || one < 1 || one > of {
		return nil, fmt.Errorf("cannot find part %q of the trials: want two numbers, as in 2/5", *part)
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return nil, fmt.Errorf("cannot choose trials by -only: %w", err)
	}
	for _, c := range everyNth(ts, one-1, of) {
		if wanted.MatchString(c.fault.name + " " + c.point.name) {
			tried = append(tried, c)
		}
	}
	return tried, nil
}

// everyNth are the trials from a first one on with n-1 left out between two.
func everyNth(ts []trial, first, n int) (some []trial) {
	for i := first; i < len(ts); i += n {
		some = append(some, ts[i])
	}
	return some
}

// all are every fault at every boundary, and at the other points where the two can meet.
func all() []trial {
	faults := []fault{controllerKilled, helperKilled, sshdKilled, linkReset, linkCut, powerCycled, poweredOff, diskFull, journalFull, diskReadOnly, clockBack,
		clockForward, slowWithResets, slow, paused}
	var ts []trial
	for i, f := range faults {
		for n := 1; n <= steps; n++ {
			ts = append(ts, trial{fault: f, point: boundary(n), batch: 1 + (n+i)%3, which: n % 2})
		}
	}
	ends := []fault{controllerKilled, helperKilled, sshdKilled, linkCut, poweredOff}
	goesOn := []fault{linkReset, powerCycled, journalFull, clockBack, slow, paused}
	command, unit := inside("a command", "command"), inside("a unit that starts", "start")
	handler, undo := inside("a handler", "stop"), undoing("the undo of a command", "undo")
	stop := undoing("the undo of a unit", "stop")
	ts = append(ts, cross(ends, hanging(command), hanging(unit))...)
	// Where the host answers again the undo is tried again, and waits for its command as long as that takes.
	ts = append(ts, cross([]fault{controllerKilled, linkCut, poweredOff}, hanging(undo))...)
	ts = append(ts, cross(slices.Concat(ends, goesOn), command, unit, handler, inCopy(), undo, stop)...)
	ts = append(ts, cross(slices.Concat(ends, goesOn), journal(1), journal(9), journal(20), journal(33))...)
	for i := range ts {
		ts[i].resume = i/2%2 == 0 // not always with the same of two hosts
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

package runner

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/store"
)

// openHosts are those whose undo ended in one of these ways, sorted.
func (r *run) openHosts(ends ...event.Status) []string {
	var hosts []string
	for h, s := range r.open {
		if slices.Contains(ends, s) {
			hosts = append(hosts, h)
		}
	}
	slices.Sort(hosts)
	return hosts
}

// close ends the record of the run. With hosts that could not be taken back it says what the run is once they are.
func (r *run) close(s Summary) error {
	state := r.state(s)
	if len(s.Open) > 0 {
		r.record.Open, r.record.OpenAs = s.Open, store.Failed
		if !r.remains(s) {
			r.record.OpenAs = store.RolledBack
		}
		state = store.StillOpen
	}
	return r.record.Close(state, s.Exit, time.Now())
}

// remains tells whether something that the run changed is still there, apart from hosts that are open.
func (r *run) remains(s Summary) bool {
	for h, c := range s.Counts {
		if _, open := r.open[h]; c.Changed > 0 && c.Undone == 0 && !open {
			return true
		}
	}
	return false
}

// advice is what the user can do now.
func (r *run) advice(s Summary) string {
	if r.o.Check {
		return ""
	}
	var lines []string
	if lost := r.openHosts(event.Unreachable); len(lost) > 0 {
		lines = append(lines, fmt.Sprintf("Not taken back, because they did not answer: %s. When they answer again:\n  calroll rollback %s --limit %s",
			strings.Join(lost, ", "), r.id, strings.Join(lost, ",")))
	}
	if failed := r.openHosts(event.Failed); len(failed) > 0 {
		lines = append(lines, fmt.Sprintf("Not taken back as a whole: %s. Once the reason above is dealt with (--force takes back also what somebody else changed):\n"+
			"  calroll rollback %s --limit %s", strings.Join(failed, ", "), r.id, strings.Join(failed, ",")))
	}
	if waiting := r.unconfirmed(); len(waiting) > 0 {
		lines = append(lines, "Not confirmed: "+strings.Join(waiting, ", ")+". What the run changed there goes back by itself soon, unless the run is gone on with.")
	}
	if s.Exit != ExitOK && r.record != nil {
		lines = append(lines, "To go on with this run where each host stands:\n  calroll resume "+r.id)
		if r.remains(s) {
			lines = append(lines, "To take back what it changed:\n  calroll rollback "+r.id)
		}
	}
	return strings.Join(lines, "\n")
}

package runner

import (
	"errors"
	"testing"

	"github.com/calroll/calroll/runner/conn"
	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
)

// TestSummaryOfAnUndo: a host that was not reached as one of its users is unreachable, whatever the others say; why is told once, with what to type.
func TestSummaryOfAnUndo(t *testing.T) {
	gone := &tasks.Error{Kind: tasks.Unreachable, Op: "work on web1", Detail: "its link is gone"}
	refused := &conn.Error{Kind: conn.Unreachable, Op: "connect to", Host: "web1", Detail: "nothing listens"}
	sudo := &conn.Error{Kind: conn.Failed, Op: "become root on", Host: "web1", Detail: "a password is missing"}
	const then = "; when it answers again: calroll rollback run1 --limit web1"
	for name, c := range map[string]struct {
		login, root error
		status      event.Status
		says        string
	}{
		"gone":        {gone, nil, event.Unreachable, "its run stays open: " + gone.Error() + then},
		"refused":     {nil, refused, event.Unreachable, "its run stays open: " + refused.Error() + then},
		"both":        {gone, gone, event.Unreachable, "its run stays open: " + gone.Error() + then},
		"sudo":        {nil, sudo, event.Failed, "its run stays open: " + sudo.Error()},
		"sudo, gone":  {gone, sudo, event.Unreachable, "its run stays open: " + errors.Join(gone, sudo).Error() + then},
		"none of it":  {nil, nil, event.OK, "nothing to take back"},
		"sudo, other": {refused, sudo, event.Unreachable, "its run stays open: " + errors.Join(refused, sudo).Error() + then},
	} {
		var undone taken
		undone.add(way{Host: "web1"}, journal.Report{}, c.login)
		undone.add(way{Host: "web1", Become: &conn.Become{}}, journal.Report{}, c.root)
		if status, says := undone.summary("web1", undoing{run: "run1"}); status != c.status || says != c.says {
			t.Errorf("%s: %s %q, want %s %q", name, status, says, c.status, c.says)
		}
	}
}

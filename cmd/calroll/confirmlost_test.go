package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calroll/calroll/runner"
	"github.com/calroll/calroll/tasks/journal"
	"github.com/calroll/calroll/testenv/light"
)

// alone is a play on the first of light hosts, and where that keeps its journals.
func alone(t *testing.T, tasks string) (c *crowd, book, state string) {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	c = &crowd{rig{T: t, dir: t.TempDir(), path: path}, light.Start(t, 2)}
	book = c.write("play.yml", "- hosts: light000\n  gather_facts: false\n  confirm: 60s\n  tasks:\n    - copy: {content: x, dest: \"{{ home }}/one\"}\n"+tasks)
	return c, book, filepath.Join(c.hosts.Home(0), ".local/state/calroll/runs")
}

// TestAHostThatCannotBeConnectedToAnewIsNotConfirmed, although nothing but the connection is wrong with it, and nobody looks at that before the end of the batch.
func TestAHostThatCannotBeConnectedToAnewIsNotConfirmed(t *testing.T) {
	c, book, state := alone(t, "    - command: mv known_hosts lost\n      args: {chdir: \"{{ home }}/..\"}\n      undo: none\n      delegate_to: localhost\n"+
		"    - meta: reset_connection\n    - command: 'true'\n      changed_when: false\n      delegate_to: localhost\n")
	cmd, said := c.start("run", book, "-i", c.hosts.Inventory(), "--connect-retries", "0")
	c.until(func() bool { return strings.Contains(said(), "a host of this one was not confirmed") })
	if err := os.Rename(filepath.Join(c.hosts.Dir, "lost"), filepath.Join(c.hosts.Dir, "known_hosts")); err != nil {
		t.Error(err) // and the undo comes there
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code == runner.ExitOK {
		t.Errorf("it ends with %d", code)
	}
	c.contains(said(), "unreachable: [light000] cannot confirm what was done there", "changed: [light000] 1 restored")
	if _, err := os.Stat(filepath.Join(c.hosts.Home(0), "one")); err == nil {
		t.Error("what was not confirmed is still there")
	}
	if _, err := os.Stat(filepath.Join(state, "switch")); err == nil {
		t.Error("the switch is still there")
	}
}

// TestAHelperThatDiedHoldsUpNothing: its host is confirmed and committed, stays locked until the end of the run, and is free then.
func TestAHelperThatDiedHoldsUpNothing(t *testing.T) {
	c, book, state := alone(t, "    - shell: echo $PPID\n      changed_when: false\n      register: helper\n"+
		"    - shell: kill -KILL {{ helper.stdout }}; while test -e /proc/{{ helper.stdout }}; do sleep 0.05; done\n      undo: none\n      delegate_to: localhost\n"+
		"- hosts: light001\n  gather_facts: false\n  tasks:\n    - shell: touch begun; while ! test -e go; do sleep 0.05; done\n")
	cmd, said := c.start("run", book, "-i", c.hosts.Inventory())
	begun := filepath.Join(c.hosts.Home(1), "begun")
	c.until(func() bool { _, err := os.Stat(begun); return err == nil })
	if l, err := journal.LockOf(state); err != nil || l.Standing == journal.Free {
		t.Errorf("in the middle of the run the lock is %+v, %v", l, err)
	}
	if err := os.WriteFile(filepath.Join(c.hosts.Home(1), "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != runner.ExitOK {
		t.Errorf("it ends with %d", code)
	}
	c.contains(said(), "ok: [light000] confirmed")
	runs, err := journal.Runs(state)
	if err != nil || len(runs) != 1 || !runs[0].Committed || runs[0].Switch != journal.Confirmed {
		t.Errorf("the journal says %+v, %v", runs, err)
	}
	if l, err := journal.LockOf(state); err != nil || l.Standing != journal.Free {
		t.Errorf("in the end the lock is %+v, %v", l, err)
	}
	if strings.Contains(said(), "WARNING") {
		t.Error("it warns")
	}
}

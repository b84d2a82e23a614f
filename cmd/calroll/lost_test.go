package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/calroll/calroll/runner"
	"github.com/calroll/calroll/testenv"
)

// lostPlay waits on a host, so that its connection can be cut.
const lostPlay = `- hosts: all
  gather_facts: false
  rollback: batch
  tasks:
    - copy: {content: x, dest: /root/x}
    - shell: "touch /run/in; while true; do sleep 0.05; done"
      changed_when: false
      when: inventory_hostname == victim
`

// cut runs the play until it waits, cuts the victim off, and returns when the user has been told.
func (s *rig) cut(victim *testenv.Host, relay *testenv.Relay, inventory string) (cmd *exec.Cmd, said func() string) {
	s.Helper()
	s.sh(victim, "rm -f /run/in")
	cmd, said = s.start("run", s.write("play.yml", lostPlay), "-i", inventory, "-e", "victim="+victim.Name)
	s.until(func() bool { return s.has(victim, "/run/in") })
	relay.Cut()
	s.until(func() bool {
		return strings.Contains(said(), victim.Name+" is not reachable; trying for 60 s to take it back")
	})
	return cmd, said
}

// TestUndoWaitsForAHost whose connection was lost: when that comes back it is taken back, and when the user does not want to wait the host is named as
// unreachable, with the command to type.
func TestUndoWaitsForAHost(t *testing.T) {
	s := newRig(t, 2)
	victim := s.lab.Hosts[0]
	relay, err := victim.Relay()
	if err != nil {
		t.Fatal(err)
	}
	inventory := filepath.Join(s.dir, "hosts.yml")
	if err := s.lab.WriteInventory(inventory, map[string]*testenv.Relay{victim.Name: relay}); err != nil {
		t.Fatal(err)
	}
	restore := func() {
		if err := relay.Restore(); err != nil {
			t.Fatal(err)
		}
	}
	gone := func() {
		t.Helper()
		for _, h := range s.lab.Hosts {
			if s.has(h, "/root/x") {
				t.Errorf("%s was not taken back", h.Name)
			}
		}
	}

	cmd, said := s.cut(victim, relay, inventory)
	restore()
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != runner.ExitUnreachable || strings.Count(said(), "is not reachable") != 1 {
		t.Errorf("exit status %d:\n%s", code, said())
	}
	s.contains(said(), "changed: ["+victim.Name+"] 1 restored")
	gone()

	cmd, said = s.cut(victim, relay, inventory)
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	s.contains(said(), "unreachable: ["+victim.Name+"] its run stays open: ", "; when it answers again: calroll rollback 2", " --limit "+victim.Name)
	restore()
	s.calroll(runner.ExitOK, "rollback", "last")
	gone()
}

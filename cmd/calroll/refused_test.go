package main

import (
	"testing"

	"github.com/calroll/calroll/runner"
)

// TestUndoThatAHostRefuses: a host whose journal cannot be read lets nobody begin to take its run back. It stands where it stood, so it is named as open and
// not as taken back, the other host of its batch goes back, and once the journal is there again so does it.
func TestUndoThatAHostRefuses(t *testing.T) {
	s := newRig(t, 2)
	whole, spoiled := s.lab.Hosts[0], s.lab.Hosts[1]
	const spoil = `cd /var/lib/calroll/runs/*/ && cp journal /run/kept && sed -i '1s/^{/}/' journal`
	book := s.write("play.yml", "- hosts: all\n  gather_facts: false\n  rollback: batch\n  tasks:\n    - copy: {content: x, dest: /root/x}\n"+
		"    - shell: "+spoil+"; false\n      undo: none\n      when: inventory_hostname == '"+spoiled.Name+"'\n")
	out := s.calroll(runner.ExitFailed, "run", book, "-i", s.lab.InventoryFile())
	s.contains(out, "changed: ["+whole.Name+"] 1 restored", "failed: ["+spoiled.Name+"]", "cannot read the journal of the run")
	stands := func(want bool) {
		t.Helper()
		if s.has(whole, "/root/x") || s.has(spoiled, "/root/x") != want {
			t.Errorf("the hosts are not where the run says that they are:\n%s", out)
		}
	}
	stands(true)
	for want, args := range map[string][]string{"open ": {"runs", "ls"}, "calroll rollback": {"explain", "last", spoiled.Name}} {
		said, err := s.command(args...).CombinedOutput()
		if err != nil {
			t.Errorf("calroll %s: %v", args, err)
		}
		s.contains(string(said), want)
	}

	s.calroll(runner.ExitFailed, "rollback", "last")
	stands(true)
	s.sh(spoiled, "cp /run/kept /var/lib/calroll/runs/*/journal")
	s.contains(s.calroll(runner.ExitOK, "rollback", "last"), "changed: ["+spoiled.Name+"] 1 restored")
	stands(false)
}

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/calroll/calroll/runner"
)

// TestLabUpAndDown: a lab with its etcd and its file server comes up under one command and goes without a trace.
func TestLabUpAndDown(t *testing.T) {
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	clone, err := os.Getwd() // the real programs are built from the pins in this clone
	if err != nil {
		t.Fatal(err)
	}
	s := &rig{T: t, dir: t.TempDir(), path: path}
	lab := filepath.Join(s.dir, "state", "calroll", "lab", "one")
	run := func(want int, args ...string) string {
		cmd := s.command(args...)
		cmd.Dir = clone
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != want {
			t.Fatalf("calroll %v ended with %d:\n%s", args, code, out)
		}
		return string(out)
	}
	t.Cleanup(func() { run(runner.ExitOK, "lab", "down", "one") })
	s.contains(run(runner.ExitOK, "lab", "up", "one", "--hosts", "1"), "next:", "calroll run calico-etcd -i "+filepath.Join(lab, "inventory.yml"))
	s.contains(run(runner.ExitOK, "lab", "ls"), "one", "node1")
	s.contains(run(runner.ExitOK, "lab", "ssh", "one/node1", "hostname"), "node1")
	s.contains(run(runner.ExitOK, "inventory", "-i", filepath.Join(lab, "inventory.yml")), "node1", "kube_node")
	s.contains(run(runner.ExitOK, "lab", "down", "one"), "nothing of it is left")
	if _, err := os.Stat(lab); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", lab, err)
	}
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calroll/calroll/runner"
	"github.com/calroll/calroll/testenv/artifacts"
)

// TestLabUpAndDown: a lab with its etcd and its file server, plain or a cluster, comes up under one command and goes without a trace.
func TestLabUpAndDown(t *testing.T) {
	l := newLabRig(t)
	t.Cleanup(func() { l.run(runner.ExitOK, "lab", "down", "one") })
	l.contains(l.run(runner.ExitOK, "lab", "up", "one", "--hosts", "1"), "next:", "calroll run calico-etcd -i "+l.inventory())
	l.contains(l.run(runner.ExitOK, "lab", "ls"), "one", "node1")
	l.contains(l.run(runner.ExitOK, "lab", "ssh", "one/node1", "hostname"), "node1")
	l.contains(l.run(runner.ExitOK, "inventory", "-i", l.inventory()), "node1", "kube_node")
	l.goes()
}

// TestLabUpBare: a lab of hosts alone does not say that Calico could be installed there.
func TestLabUpBare(t *testing.T) {
	l := newLabRig(t)
	t.Cleanup(func() { l.run(runner.ExitOK, "lab", "down", "one") })
	for range 2 { // made, and found
		l.contains(l.run(runner.ExitOK, "lab", "up", "one", "--hosts", "1", "--bare"), "next:", "calroll run PLAYBOOK.yml -i "+l.inventory())
	}
	l.goes()
}

func TestLabOfACluster(t *testing.T) {
	l := newLabRig(t)
	t.Cleanup(func() { l.run(runner.ExitOK, "lab", "down", "one") })
	up := []string{"lab", "up", "one", "--kubernetes", "1.29", "--nodes", "1"}
	l.contains(l.run(runner.ExitOK, up...), "control ", "node1 ", "next:", "-i "+l.inventory(), "calroll lab ssh one/control kubectl get nodes")
	l.contains(l.run(runner.ExitOK, "lab", "ls"), "control", "node1")
	l.contains(l.run(runner.ExitOK, "lab", "ssh", "one/control", "kubectl", "get", "nodes"), "node1", "NotReady", artifacts.KubernetesVersion)
	text, err := os.ReadFile(l.inventory())
	if err != nil {
		t.Fatal(err)
	}
	l.contains(string(text), "etcd_endpoints:", "artifact_base_url: ", "pool_cidr: ")
	l.contains(l.run(runner.ExitOK, up...), "2 hosts up")
	l.contains(l.run(runner.ExitError, "lab", "up", "one", "--kubernetes", "1.29", "--nodes", "2"), "it is up with control, node1")
	l.goes()
}

// A cluster that cannot be is refused before anything is made.
func TestLabRefusesAnImpossibleCluster(t *testing.T) {
	l := newLabRig(t)
	for want, args := range map[string][]string{
		"cannot have Kubernetes 1.30: a lab has " + artifacts.KubernetesVersion: {"--kubernetes", "1.30"},
		"cannot have a kubelet 1.22: a lab has":                                 {"--kubernetes", "1.29", "--kubelet", "1.22"},
		"2 kubelets for 3 nodes":                                                {"--kubernetes", "1.29", "--kubelet", "1.29,1.23"},
		"with 0 nodes":                                                          {"--kubernetes", "1.29", "--nodes", "0"},
		"add --kubernetes VERSION":                                              {"--kubelet", "1.23"},
		"none of the others can be":                                             {"--kubernetes", "1.29", "--hosts", "2"},
	} {
		l.contains(l.run(runner.ExitError, append([]string{"lab", "up", "one"}, args...)...), want)
	}
}

// labRig runs the program in this clone, where it finds what to build a lab's programs from.
type labRig struct{ *rig }

func newLabRig(t *testing.T) *labRig {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return &labRig{&rig{T: t, dir: t.TempDir(), path: path}}
}

func (l *labRig) folder() string    { return filepath.Join(l.dir, "state", "calroll", "lab", "one") }
func (l *labRig) inventory() string { return filepath.Join(l.folder(), "inventory.yml") }

func (l *labRig) run(want int, args ...string) string {
	l.Helper()
	clone, err := os.Getwd()
	if err != nil {
		l.Fatal(err)
	}
	cmd := l.command(args...)
	cmd.Dir = clone
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != want {
		l.Fatalf("calroll %v ended with %d:\n%s", args, code, out)
	}
	return string(out)
}

// goes takes the lab down and looks for remains.
func (l *labRig) goes() {
	l.Helper()
	l.contains(l.run(runner.ExitOK, "lab", "down", "one"), "nothing of it is left")
	if _, err := os.Stat(l.folder()); !os.IsNotExist(err) {
		l.Errorf("%s is still there: %v", l.folder(), err)
	}
	if out := l.run(runner.ExitOK, "lab", "ls"); strings.Contains(out, l.folder()) {
		l.Errorf("it is still listed:\n%s", out)
	}
}

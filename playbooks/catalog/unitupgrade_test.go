//go:build nightly

package catalog_test

import (
	"slices"
	"testing"
	"time"

	"github.com/calroll/calroll/testenv/kube"
	"github.com/calroll/calroll/testenv/site"
)

// TestUpgradeOfUnits takes a cluster whose calico/node are units to a newer release, and back, while pods on every pair of nodes keep asking each other.
func TestUpgradeOfUnits(t *testing.T) {
	t.Parallel()
	e := newIntegrated(t, kube.Options{Kubelets: []kube.Kubelet{kube.Dockershim, kube.Containerd}, Calico: site.Versions})
	e.install("-e", "calico_version="+opsFrom)
	e.felixIs(opsFrom)
	p := e.works()
	_ = t.Run("upgrade", func(t *testing.T) {
		e.in(t).unitsGoTo(opsTo, p, func(e *integrated) {
			e.says(e.upgradeUnits(), "TASK [node_drain : Put the node back into service] *****************************\nchanged: [node2 -> control]")
		})
	}) &&
		t.Run("once more", func(t *testing.T) {
			for host, changed := range e.in(t).upgradeUnits("--skip-tags", "S-30").changed() {
				if changed != "0" {
					t.Errorf("the second run changed %s: %s tasks", host, changed)
				}
			}
		}) &&
		t.Run("rollback", func(t *testing.T) {
			e.in(t).unitsGoTo(opsFrom, p, func(e *integrated) { e.rollback(e.runs()[len(e.runs())-2]) })
		})
}

func (e *integrated) upgradeUnits(args ...string) outcome {
	e.Helper()
	o := e.carry(exitOK, "upgrade", slices.Concat(patience, []string{"-e", "to_version=" + opsTo}, args)...)
	if testing.Verbose() {
		e.Log(o.text)
	}
	return o
}

// unitsGoTo has the cluster go to a release, and demands that no request is lost on the way.
func (e *integrated) unitsGoTo(version string, p probes, do func(*integrated)) {
	e.Helper()
	began := time.Now()
	do(e)
	e.felixIs(version)
	if got := e.kubectl("get", "nodes", "-o", "jsonpath={.items[*].spec.unschedulable}"); got != "" {
		e.Errorf("nodes take no pods: %s", got)
	}
	failures, why, sent := e.lost(p, began)
	e.Logf("%d requests were sent, %d lost", sent, len(failures))
	for _, w := range why {
		e.Errorf("lost: %s", w)
	}
}

// felixIs demands a release on every host, of the program that runs; a unit that has just been started may take a moment to run it.
func (e *integrated) felixIs(version string) {
	e.Helper()
	for _, h := range e.lab.Hosts {
		e.eventually(h, time.Minute, `"/proc/$(pgrep -o -f 'calico-node -felix')/exe" -v | grep -x `+version)
	}
}

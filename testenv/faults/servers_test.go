//go:build faults

package faults

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/artifacts"
	"github.com/calroll/calroll/testenv/kube"
)

// Faults of what a run needs besides its hosts: an etcd of three that bastions share, and a Kubernetes API.
var (
	leaderKilled = fault{name: "kill -9 etcd's leader", spares: true,
		strike: func(w *run, _ *testenv.Host) {
			leader, err := w.etcd.Leader(w.Context())
			w.check(err)
			w.leader = leader
			w.check(w.etcd.KillMember(leader))
		},
		heal: func(w *run, _ *testenv.Host) { w.check(w.etcd.StartMember(w.Context(), w.leader)) }}

	apiRestarted = fault{name: "kill -9 kube-apiserver", shared: true,
		strike: func(w *run, _ *testenv.Host) {
			w.check(w.api.Kill())
			w.after(0, func() { w.check(w.api.Start(w.Context())) })
		}}

	apiGone = fault{name: "kube-apiserver gone", shared: true,
		strike: func(w *run, _ *testenv.Host) { w.check(w.api.Kill()) },
		heal:   func(w *run, _ *testenv.Host) { w.check(w.api.Start(w.Context())) }}
)

// withEtcd has the program share its state in an etcd of three.
func (r *rig) withEtcd() {
	r.Helper()
	set, err := artifacts.Build(r.Context(), artifacts.Request{Parts: []artifacts.Part{artifacts.EtcdPrograms}}, artifacts.Options{})
	r.must(err)
	r.etcd, err = artifacts.StartEtcd(r.Context(), artifacts.EtcdOptions{Programs: set, Members: 3})
	r.must(err)
	r.Cleanup(func() { r.check(r.etcd.Stop()) })
	at := strings.ReplaceAll(strings.Join(r.etcd.Endpoints(), ","), "http://", "")
	r.env = append(r.env, "CALROLL_STATE=etcd://"+at+"/faults?lease=10s")
}

// withAPI gives the play a cluster, with an object of each host in it.
func (r *rig) withAPI() {
	r.Helper()
	r.api = kube.APIForTest(r, kube.APIOptions{})
	config, err := os.ReadFile(r.api.Kubeconfig)
	r.must(err)
	r.must(os.WriteFile(filepath.Join(filepath.Dir(r.book), "admin.conf"), config, 0o600))
	r.objects()
}

// TestFaultsOfEtcd kills the leader of the etcd that bastions share.
func TestFaultsOfEtcd(t *testing.T) {
	r := newRig(t, "site.yml")
	r.withEtcd()
	r.learn(steps)
	r.tryMine(boundaries(leaderKilled, steps))
}

// TestFaultsOfTheAPI kills the Kubernetes API that tasks write to.
func TestFaultsOfTheAPI(t *testing.T) {
	const steps = 9
	r := newRig(t, "cluster.yml")
	r.withAPI()
	r.learn(steps)
	r.tryMine(append(boundaries(apiRestarted, steps), boundaries(apiGone, steps)...))
}

// boundaries are a fault at the beginning of every task, spread over the hosts.
func boundaries(f fault, steps int) (ts []trial) {
	for n := 1; n <= steps; n++ {
		ts = append(ts, trial{fault: f, point: boundary(n), batch: 1 + n%3, which: n % 2, resume: n/2%2 == 0})
	}
	return ts
}

// tryMine tries the part of ts that is to be tried.
func (r *rig) tryMine(ts []trial) {
	r.Helper()
	ts, err := mine(ts)
	r.must(err)
	result := &table{}
	r.tryAll(ts, result)
	r.Logf("%d trials\n%v", len(result.rows), result)
}

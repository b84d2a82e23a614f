//go:build faults

package faults

import "testing"

const (
	whole = true // the matrix as a whole
	rigs  = 3    // how many trials go on at the same time
)

// TestFaultsOfEtcd kills the leader of the etcd that bastions share.
func TestFaultsOfEtcd(t *testing.T) {
	r := newRig(t, "site.yml")
	r.withEtcd()
	r.learn(steps)
	r.tryAll(leaderKilled, steps)
}

// TestFaultsOfTheAPI kills the Kubernetes API that tasks write to.
func TestFaultsOfTheAPI(t *testing.T) {
	const steps = 9
	r := newRig(t, "cluster.yml")
	r.withAPI()
	r.learn(steps)
	r.tryAll(apiRestarted, steps)
	r.tryAll(apiGone, steps)
}

// tryAll tries a fault at the beginnings of tasks, and prints what came of each.
func (r *rig) tryAll(f fault, steps int) {
	r.Helper()
	result := &table{}
	for n := 1; n <= steps; n += *every {
		w := r.try(trial{fault: f, point: boundary(n), batch: 1 + n%3, which: n % 2, resume: n%2 == 0})
		result.add(w)
		r.Log(w)
	}
	r.Logf("%d trials\n%v", len(result.rows), result)
}

package faults

import (
	"fmt"
	"testing"
)

// steps are the tasks of a batch of testdata/site.yml, its handlers counted as often as they run.
const steps = 42

// TestFaults tries every trial of this build on as many rigs as it has, and prints what came of each as it goes and, summed up, at the end.
func TestFaults(t *testing.T) {
	all, err := trials()
	if err != nil {
		t.Fatal(err)
	}
	result := &table{}
	t.Cleanup(func() { t.Logf("%d trials\n%v", len(result.rows), result) })
	for i := range rigs {
		t.Run(fmt.Sprintf("rig %d", i+1), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "site.yml")
			r.learn(steps)
			r.tryAll(everyNth(all, i, rigs), result)
		})
	}
}

// tryAll prints what came of each trial. Hosts that one has spoiled are made anew, so that it does not spoil the next.
func (r *rig) tryAll(ts []trial, result *table) {
	r.Helper()
	for _, c := range ts {
		w := r.try(c)
		result.add(w)
		r.Log(w)
		if w.problems > 0 {
			r.renew()
		}
	}
}

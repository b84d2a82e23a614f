package kube

import (
	"testing"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/artifacts"
)

// APIForTest starts an API for a test and stops it after it. Tests of one package do well to share one.
func APIForTest(t testing.TB, o APIOptions) *API {
	t.Helper()
	var err error
	if o.Programs == nil {
		if o.Programs, err = artifacts.Build(t.Context(), artifacts.ForAPIServer(), artifacts.Options{Progress: func(line string) { t.Log(line) }}); err != nil {
			t.Fatal(err)
		}
	}
	a, err := StartAPI(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Stop(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// ForTest raises a cluster for a test and takes it away after it. That takes half a minute and 400 MB, and 200 MB more for each node, so the tests
// of a package do well to share one as subtests.
func ForTest(t testing.TB, o Options) *Cluster {
	t.Helper()
	o.complete()
	say := func(line string) { t.Log(line) }
	sets, err := Build(t.Context(), o, say)
	if err != nil {
		t.Fatal(err)
	}
	c, err := raise(t.Context(), testenv.OwnLab(t, labOptions(testenv.Options{Progress: say}, o, sets)), o, sets)
	if err != nil {
		t.Fatalf("cannot raise a cluster: %v", err)
	}
	return c
}

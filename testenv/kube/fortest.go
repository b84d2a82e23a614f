package kube

import (
	"testing"

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

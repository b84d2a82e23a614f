package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

const root = "../.."

// TestDocumentsAreCurrent fails when a generated document differs from what its sources make.
func TestDocumentsAreCurrent(t *testing.T) {
	pages, err := generate(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pages {
		have, err := os.ReadFile(filepath.Join(root, "docs", p.name))
		if err != nil || !bytes.Equal(have, p.text) {
			t.Errorf("docs/%s is not current: run `make docs` (%v)", p.name, err)
		}
	}
}

// TestEveryRequirementIsCovered fails on a requirement of a guide that nothing meets or nothing shows, and on a name that is not there.
func TestEveryRequirementIsCovered(t *testing.T) {
	l, err := readLedger(filepath.Join(root, "docs", "coverage.yml"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"A": 78, "B": 50, "C": 48, "D": 39, "E": 47}
	for _, r := range l.Rows {
		want[r.ID[:1]]--
	}
	for letter, missing := range want {
		if missing != 0 {
			t.Errorf("source %s: %d rows are missing", letter, missing)
		}
	}
	for _, m := range l.mistakes(root) {
		t.Error(m)
	}
}

// TestTheLedgerIsChecked: the check sees what it is there to see.
func TestTheLedgerIsChecked(t *testing.T) {
	l := &ledger{Parts: map[string]part{"S-01": {By: []string{"role:no_such_role"}, Tests: []string{"TestNoSuchTest"}}},
		Rows: []row{{ID: "A1"}, {ID: "A2", Refs: []string{"S-01"}}, {ID: "A3", Refs: []string{"S-99"}}}}
	want := []string{"A1: nothing meets it", "A1: nothing shows it", "A2: there is no role:no_such_role", "A2: there is no test TestNoSuchTest",
		"A3: there is no part S-99", "A3: nothing meets it", "A3: nothing shows it"}
	got := l.mistakes(root)
	if len(got) != len(want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %q, want %q", got[i], want[i])
		}
	}
}

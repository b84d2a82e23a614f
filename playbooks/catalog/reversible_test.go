package catalog_test

import (
	"testing"

	"github.com/calroll/calroll/playbooks/expr"
)

// TestPromisesOfRollback: plays that promise rollback say of each command how it is taken back, or that it need not be.
func TestPromisesOfRollback(t *testing.T) {
	l := loader(expr.New(expr.Options{}))
	for _, name := range l.Catalog() {
		book, err := l.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range book.Plays {
			if p.Rollback == "" || p.Rollback == "none" {
				continue
			}
			if err := l.CheckReversible(p.Sections()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

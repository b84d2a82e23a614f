package runner

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/calroll/calroll/inventory"
	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/runner/store"
)

// inputsOf are the inputs of a run over the files of a txtar text.
func inputsOf(t *testing.T, dir, files string, extra *value.Dict) store.Inputs {
	t.Helper()
	for _, f := range txtar.Parse([]byte(files)).Files {
		file := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	inv, err := inventory.Load(t.Context(), []string{filepath.Join(dir, "inv.yml")})
	if err != nil {
		t.Fatal(err)
	}
	l := &playbooks.Loader{Files: playbooks.Files{Sums: &playbooks.Sums{}}, Modules: playbooks.ModuleSet{}}
	book, err := l.Load(filepath.Join(dir, "site.yml"))
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Inventory: inv, Loader: l, ExtraVars: value.NewVars(extra, source.Pos{}), books: []*playbooks.Playbook{book}}
	return o.inputs([]byte("key"))
}

// TestInputsSayWhatChanged: another order of keys or another place is the same; another value is told, for the hosts that have it.
func TestInputsSayWhatChanged(t *testing.T) {
	const (
		site  = "-- site.yml --\n- hosts: all\n  tasks: []\n"
		first = "-- inv.yml --\nall:\n  hosts:\n    a: {x: 1, y: [1, {k: 2}]}\n    b:\n-- group_vars/all.yml --\nz: \"{{ x }}\"\n"
		moved = "-- inv.yml --\n\nall:\n  hosts:\n    a:\n      y: [1, {k: 2}]\n      x: 1\n    b:\n"
		other = "-- inv.yml --\nall:\n  hosts:\n    a: {x: 1, y: [1, {k: 3}]}\n    b:\n"
	)
	dir := t.TempDir()
	was := inputsOf(t, dir, site+first, value.NewDict("v", 1, "w", 1))
	if changes := store.Changes(was, inputsOf(t, dir, moved, value.NewDict("w", 1, "v", 1))); len(changes) > 0 {
		t.Errorf("nothing but places has changed: %+v", changes)
	}
	for name, c := range map[string]struct {
		files string
		extra *value.Dict
		want  string
	}{
		"a host's variable":       {other, value.NewDict("v", 1, "w", 1), "variables of host a"},
		"an extra variable":       {first, value.NewDict("v", 1, "w", 2), "extra variable w"},
		"a playbook":              {first + "-- site.yml --\n- hosts: a\n  tasks: []\n", value.NewDict("v", 1, "w", 1), "playbook file " + filepath.Join(dir, "site.yml")},
		"one that all hosts have": {site + first + "-- group_vars/all.yml --\nz: 1\n", value.NewDict("v", 1, "w", 1), "variables of host a, variables of host b"},
	} {
		got := ""
		for _, change := range store.Changes(was, inputsOf(t, dir, c.files, c.extra)) {
			if got += ", "; got == ", " {
				got = ""
			}
			got += change.What + " " + change.Name
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		inputsOf(t, dir, site+first, nil) // as it was
	}
}

package main

import (
	"encoding/json"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/calroll/calroll/"

// rows is the house: a package imports only packages of rows below its own. ARCHITECTURE.md has the picture.
var rows = [][]string{
	{"playbooks/source", "playbooks/value"},
	{"inventory", "playbooks/expr", "runner/machine", "tasks", "tasks/argv", "tasks/pki"},
	{"facts", "tasks/journal", "tasks/node", "tasks/cluster", "playbooks/vars"},
	{"runner/conn", "runner/event", "playbooks", "playbooks/catalog", "runner/remote"},
	{"runner/action", "runner/store", "runner/store/etcd"},
	{"runner"},
	{"cmd/calroll", "cmd/calroll-remote", "cmd/calroll/helpers", "cmd/calroll/helpers/build"},
}

// sideways are imports within a row, each with its reason.
var sideways = map[[2]string]string{
	{"playbooks/value", "playbooks/source"}:              "a value that is still to be rendered knows where it was written",
	{"cmd/calroll", "cmd/calroll/helpers"}:               "the release binary embeds the built helpers",
	{"playbooks", "playbooks/catalog"}:                   "the embedded playbooks are read like any other",
	{"cmd/calroll/helpers/build", "cmd/calroll/helpers"}: "it writes what that package embeds",
}

// only are packages of others that just these of ours may import.
var only = map[string][]string{
	"k8s.io/":                 {"tasks/cluster"},
	"sigs.k8s.io/":            {"tasks/cluster"},
	"go.etcd.io/":             {"tasks/cluster", "runner/store/etcd"},
	"golang.org/x/crypto/ssh": {"runner/conn"},
	"github.com/pkg/sftp":     {"runner/conn"},
	"github.com/spf13/":       {"cmd/calroll"},
	"github.com/docker/":      {},
}

type pkg struct {
	ImportPath, Dir string
	Imports         []string
	GoFiles         []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,GoFiles", module+"...").Output()
	if err != nil {
		t.Fatalf("cannot list the packages: %v", err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p pkg
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	return pkgs
}

func row(name string) int {
	return slices.IndexFunc(rows, func(r []string) bool { return slices.Contains(r, name) })
}

// TestImportsGoDown fails on an import that the picture in ARCHITECTURE.md does not allow.
func TestImportsGoDown(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		if name == "testenv" || strings.HasPrefix(name, "testenv/") {
			continue // outside the house: only tests and the lab command look in
		}
		if row(name) < 0 {
			t.Errorf("%s has no room: give it a row in this test and in ARCHITECTURE.md", name)
			continue
		}
		for _, imp := range p.Imports {
			checkImport(t, name, imp)
		}
	}
}

func checkImport(t *testing.T, name, imp string) {
	t.Helper()
	if ours, ok := strings.CutPrefix(imp, module); ok {
		switch {
		case strings.HasPrefix(ours, "testenv"):
			if name != "cmd/calroll" {
				t.Errorf("%s imports %s: the lab is for tests and for calroll lab", name, ours)
			}
		case row(ours) >= row(name) && sideways[[2]string{name, ours}] == "":
			t.Errorf("%s (row %d) imports %s (row %d): imports go down", name, row(name), ours, row(ours))
		}
		return
	}
	for prefix, allowed := range only {
		if strings.HasPrefix(imp, prefix) && !slices.Contains(allowed, name) {
			t.Errorf("%s imports %s: that is for %v alone", name, imp, allowed)
		}
	}
}

// TestOnePackageComment fails on a package whose map is missing or written twice.
func TestOnePackageComment(t *testing.T) {
	for _, p := range packages(t) {
		var with []string
		for _, file := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc != nil && !strings.HasPrefix(f.Doc.Text(), "//go:build") {
				with = append(with, file)
			}
		}
		if len(with) != 1 {
			t.Errorf("%s: %d package comments (%v), want exactly one", p.ImportPath, len(with), with)
		}
	}
}

// TestHelperStaysSmall fails when the helper, which travels to every host, links a cluster's client.
func TestHelperStaysSmall(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", module+"cmd/calroll-remote").Output()
	if err != nil {
		t.Fatalf("cannot list what the helper links: %v", err)
	}
	for dep := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(dep, "k8s.io/") || strings.HasPrefix(dep, "sigs.k8s.io/") || strings.HasPrefix(dep, "go.etcd.io/") || dep == module+"tasks/cluster" {
			t.Errorf("the helper links %s", dep)
		}
	}
}

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// ledger is docs/coverage.yml.
type ledger struct {
	Sources map[string]string `yaml:"sources"` // first letter of a row's id: the guide it comes from
	Parts   map[string]part   `yaml:"parts"`   // what rows refer to: step blocks, gates, checks, playbooks, ...
	Rows    []row             `yaml:"rows"`
}

// part is a piece of the catalogue that meets requirements.
type part struct {
	By    []string `yaml:"by"`    // role:NAME, gate:ID, playbook:NAME, doc:FILE, module:NAME
	Tests []string `yaml:"tests"` // names of Go tests, or of scripts as script:FILE
	Open  string   `yaml:"open"`  // what is not there yet, or not shown; empty when all is
	// StandIn says what a test used in the place of a part that cannot be had, and what that leaves unproven.
	StandIn string `yaml:"stand_in"`
}

// row is one requirement.
type row struct {
	ID     string   `yaml:"id"`
	Demand string   `yaml:"demand"`
	How    string   `yaml:"how"`
	Refs   []string `yaml:"refs"` // names of parts
	part   `yaml:",inline"`
}

func readLedger(file string) (*ledger, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the ledger: %w", err)
	}
	var l ledger
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&l); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", file, err)
	}
	return &l, nil
}

// whole is a row with what its parts add to it.
func (l *ledger) whole(r row) part {
	w := part{By: slices.Clone(r.By), Tests: slices.Clone(r.Tests), Open: r.Open, StandIn: r.StandIn}
	for _, ref := range r.Refs {
		p := l.Parts[ref]
		w.By, w.Tests = append(w.By, p.By...), append(w.Tests, p.Tests...)
		w.Open, w.StandIn = either(w.Open, p.Open), either(w.StandIn, p.StandIn)
	}
	slices.Sort(w.By)
	slices.Sort(w.Tests)
	w.By, w.Tests = slices.Compact(w.By), slices.Compact(w.Tests)
	return w
}

func either(a, b string) string {
	if a == "" || a == b {
		return b
	}
	if b == "" {
		return a
	}
	return a + "; " + b
}

// markdown is the page coverage.md.
func (l *ledger) markdown() []byte {
	var b strings.Builder
	b.WriteString("<!-- made by `make docs` out of coverage.yml -->\n# Coverage\n\n")
	b.WriteString("What the guides demand that the playbooks follow, what meets it here, and the test that shows it. Words such as S-05 (step block), " +
		"P-08 (preflight check), G-17 (gate), H-03 (health check), F-06 (file), K-08 (objects of Kubernetes) and C-01 (objects of Calico) are those " +
		"of the playbooks' pages.\n\n")
	open := 0
	for _, r := range l.Rows {
		if l.whole(r).Open != "" {
			open++
		}
	}
	fmt.Fprintf(&b, "%d requirements, %d of them met and shown in full; the others say what is open.\n", len(l.Rows), len(l.Rows)-open)
	letter := ""
	for _, r := range l.Rows {
		if s := r.ID[:1]; s != letter {
			letter = s
			fmt.Fprintf(&b, "\n## %s: %s\n\n| | Demand | Here | Met by | Shown by |\n|---|---|---|---|---|\n", s, l.Sources[s])
		}
		l.markdownRow(&b, r)
	}
	return []byte(b.String())
}

func (l *ledger) markdownRow(b *strings.Builder, r row) {
	w := l.whole(r)
	shown := strings.Join(w.Tests, ", ")
	for _, note := range []struct{ title, text string }{{"stand-in", w.StandIn}, {"open", w.Open}} {
		if note.text != "" {
			shown = strings.TrimPrefix(shown+"; *"+note.title+"*: "+note.text, "; ")
		}
	}
	fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", r.ID, cell(r.Demand), cell(r.How), cell(strings.Join(w.By, ", ")), cell(shown))
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// mistakes are the rows that nothing meets or nothing shows, and everything that is named and not there.
func (l *ledger) mistakes(root string) []string {
	here, err := lookAround(root)
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	add := func(id, format string, args ...any) { out = append(out, id+": "+fmt.Sprintf(format, args...)) }
	seen := map[string]bool{}
	for _, r := range l.Rows {
		if seen[r.ID] {
			add(r.ID, "it stands twice")
		}
		seen[r.ID] = true
		for _, ref := range r.Refs {
			if _, ok := l.Parts[ref]; !ok {
				add(r.ID, "there is no part %s", ref)
			}
		}
		w := l.whole(r)
		if len(w.By) == 0 && w.Open == "" {
			add(r.ID, "nothing meets it")
		}
		if len(w.Tests) == 0 && w.Open == "" && !docOnly(w) {
			add(r.ID, "nothing shows it")
		}
		here.check(w, func(format string, args ...any) { add(r.ID, format, args...) })
	}
	return out
}

// docOnly tells whether a requirement is met by a document alone: there is nothing to test in advice to a reader.
func docOnly(p part) bool {
	return len(p.By) > 0 && !slices.ContainsFunc(p.By, func(by string) bool { return !strings.HasPrefix(by, "doc:") })
}

// around is what a ledger may name.
type around struct {
	root  string
	tests map[string]bool
	gates string // the text of all gates
}

var testFunc = regexp.MustCompile(`(?m)^func (Test\w+|Benchmark\w+)\(`)

func lookAround(root string) (*around, error) {
	a := &around{root: root, tests: map[string]bool{}}
	if err := filepath.WalkDir(filepath.Join(root, "playbooks/catalog/roles"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(path, "/roles/preflight") {
			return err
		}
		text, err := os.ReadFile(path)
		a.gates += string(text)
		return err
	}); err != nil {
		return nil, err
	}
	return a, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range testFunc.FindAllSubmatch(text, -1) {
			a.tests[string(m[1])] = true
		}
		return err
	})
}

func (a *around) check(p part, wrong func(format string, args ...any)) {
	for _, by := range p.By {
		if !a.has(by) {
			wrong("there is no %s", by)
		}
	}
	for _, test := range p.Tests {
		name, _, _ := strings.Cut(test, "/")
		if !a.tests[name] && !strings.HasPrefix(test, "script:") {
			wrong("there is no test %s", name)
		}
		if file, ok := strings.CutPrefix(test, "script:"); ok && !a.exists(file) {
			wrong("there is no script %s", file)
		}
	}
}

func (a *around) has(by string) bool {
	kind, name, _ := strings.Cut(by, ":")
	switch kind {
	case "role":
		return a.exists("playbooks/catalog/roles/" + name)
	case "playbook":
		return a.exists("playbooks/catalog/" + name + "/playbook.yml")
	case "doc":
		file, _, _ := strings.Cut(name, "#")
		return a.exists(file)
	case "gate":
		return strings.Contains(a.gates, "id: "+name)
	case "module":
		return a.exists("tasks/node/"+name) || a.exists("tasks/cluster/"+name) || a.exists("runner/action/"+name)
	}
	return false
}

func (a *around) exists(path string) bool {
	_, err := os.Stat(filepath.Join(a.root, path))
	return err == nil
}

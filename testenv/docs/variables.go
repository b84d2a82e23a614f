package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// The marks between which a playbook's page has its table of variables.
const (
	variablesBegin = "<!-- variables: made by `make docs` -->\n"
	variablesEnd   = "<!-- end of variables -->\n"
)

// variablePages are the pages of playbooks that have the marks, with their tables up to date.
func variablePages(root string) ([]page, error) {
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		return nil, err
	}
	var pages []page
	var errs []error
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if !bytes.Contains(text, []byte(variablesBegin)) {
			continue
		}
		name := filepath.Base(file)
		text, err = withVariables(root, strings.TrimSuffix(name, ".md"), text)
		pages, errs = append(pages, page{name, text}), append(errs, err)
	}
	return pages, errors.Join(errs...)
}

func withVariables(root, playbook string, text []byte) ([]byte, error) {
	head, rest, _ := strings.Cut(string(text), variablesBegin)
	_, tail, found := strings.Cut(rest, variablesEnd)
	if !found {
		return text, fmt.Errorf("cannot write the variables into docs/%s.md: it has no line %q", playbook, strings.TrimSpace(variablesEnd))
	}
	table, err := variableTables(root, playbook)
	return []byte(head + variablesBegin + table + variablesEnd + tail), err
}

// variableTables has a table for each role of the playbook that describes arguments, in the order in which the roles are met.
func variableTables(root, playbook string) (string, error) {
	c := &collector{catalog: filepath.Join(root, "playbooks", "catalog"), seen: map[string]bool{}}
	if err := c.file(filepath.Join(c.catalog, playbook, "playbook.yml")); err != nil {
		return "", fmt.Errorf("cannot find the variables of %s: %w", playbook, err)
	}
	return c.out.String(), nil
}

// collector walks the roles of a playbook.
type collector struct {
	catalog string
	seen    map[string]bool
	out     strings.Builder
}

var roleName = regexp.MustCompile(`\b(?:role|name): ['"]?([a-z0-9_]+)['"]?`)

// file follows the roles that a file names, and the files that roles are made of.
func (c *collector) file(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for _, m := range roleName.FindAllStringSubmatch(string(text), -1) {
		if err := c.role(m[1]); err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) role(name string) error {
	dir := filepath.Join(c.catalog, "roles", name)
	if _, err := os.Stat(dir); err != nil || c.seen[name] {
		return nil // a name that is not a role's
	}
	c.seen[name] = true
	for _, pattern := range []string{"meta/main.yml", "tasks/*.yml"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, f := range files {
			if err := c.file(f); err != nil {
				return err
			}
		}
	}
	return c.table(dir)
}

type option struct {
	Type        string `yaml:"type"`
	Elements    string `yaml:"elements"`
	Required    bool   `yaml:"required"`
	Choices     []any  `yaml:"choices"`
	Description any    `yaml:"description"`
}

// table writes what a role's argument specs say, in their order, with the defaults as they are written.
func (c *collector) table(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "meta", "argument_specs.yml"))
	if err != nil {
		return nil // it has no arguments
	}
	var specs struct {
		Specs map[string]struct {
			Title   string    `yaml:"short_description"`
			Options yaml.Node `yaml:"options"`
		} `yaml:"argument_specs"`
	}
	if err := yaml.Unmarshal(text, &specs); err != nil {
		return err
	}
	defaults, err := readDefaults(filepath.Join(dir, "defaults", "main.yml"))
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(keys(specs.Specs)) {
		s := specs.Specs[name]
		if len(s.Options.Content) == 0 {
			continue
		}
		fmt.Fprintf(&c.out, "\n%s:\n\n| Variable | Type | Default | Meaning |\n|---|---|---|---|\n", strings.TrimSuffix(s.Title, "."))
		for i := 0; i+1 < len(s.Options.Content); i += 2 {
			var o option
			if err := s.Options.Content[i+1].Decode(&o); err != nil {
				return err
			}
			variable := s.Options.Content[i].Value
			fmt.Fprintf(&c.out, "| `%s` | %s | %s | %s |\n", variable, o.kind(), o.shown(defaults[variable]), cell(meaning(o.Description)))
		}
	}
	c.out.WriteString("\n")
	return nil
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// readDefaults gives each default as it is written.
func readDefaults(file string) (map[string]string, error) {
	text, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var nodes map[string]yaml.Node
	if err := yaml.Unmarshal(text, &nodes); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", file, err)
	}
	out := map[string]string{}
	for name, n := range nodes {
		n.HeadComment, n.LineComment, n.FootComment = "", "", ""
		b, err := yaml.Marshal(flow(&n))
		if err != nil {
			return nil, err
		}
		out[name] = strings.TrimSpace(string(b))
	}
	return out, nil
}

// flow writes a value on one line.
func flow(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode {
		n.Style = yaml.FlowStyle
	}
	for _, c := range n.Content {
		c.HeadComment, c.LineComment, c.FootComment = "", "", ""
		flow(c)
	}
	return n
}

// shownDefault is how much of a default a table shows.
const shownDefault = 80

func (o option) shown(text string) string {
	switch {
	case o.Required:
		return "required"
	case text == "":
		return ""
	case strings.Contains(text, "{{") || strings.Contains(text, "{%"):
		return "derived"
	case len(text) > shownDefault:
		return "see the role's defaults"
	}
	return "`" + cell(text) + "`"
}

func (o option) kind() string {
	var words []string
	for _, c := range o.Choices {
		words = append(words, fmt.Sprint(c))
	}
	switch {
	case len(words) > 0:
		return strings.Join(words, ", ")
	case o.Elements != "":
		return o.Type + " of " + o.Elements
	}
	return o.Type
}

// meaning is a description, which may be a list of paragraphs.
func meaning(d any) string {
	if list, ok := d.([]any); ok {
		var out []string
		for _, p := range list {
			out = append(out, fmt.Sprint(p))
		}
		return strings.Join(out, " ")
	}
	return strings.ReplaceAll(fmt.Sprint(d), "\n", " ")
}

package catalog_test

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/value"
)

var stepTag = regexp.MustCompile(`\bS-\d\d\b`)

// TestEveryPlaybookHasAPage: docs/<playbook>.md says how to run it, describes every step that it has a tag for, and no merge has left its marks in it.
func TestEveryPlaybookHasAPage(t *testing.T) {
	walk(t, func(name string, text []byte) {
		if path.Base(name) != playbooks.PlaybookFile {
			return
		}
		playbook := path.Dir(name)
		page, err := os.ReadFile("../../docs/" + playbook + ".md")
		if err != nil {
			t.Error(err)
			return
		}
		if !strings.Contains(string(page), "calroll run "+playbook+" ") {
			t.Errorf("docs/%s.md does not say how to run it", playbook)
		}
		if strings.Contains(string(page), "\n<<<<<<< ") {
			t.Errorf("docs/%s.md has the marks of a merge", playbook)
		}
		for _, step := range stepTag.FindAllString(string(text), -1) {
			if !strings.Contains(string(page), step) {
				t.Errorf("docs/%s.md does not describe the step %s", playbook, step)
			}
		}
	})
}

// TestEveryRoleOfSettingsIsDescribed: in a role <name>_settings every variable has a type and a description, what is described has a default or is
// required, and there is a page that has them all.
func TestEveryRoleOfSettingsIsDescribed(t *testing.T) {
	l := loader(expr.New(expr.Options{}))
	walk(t, func(name string, _ []byte) {
		role := path.Dir(path.Dir(name))
		if !strings.HasSuffix(role, "_settings") || path.Base(name) != "argument_specs.yml" {
			return
		}
		defaults, err := l.LoadVars(playbooks.CatalogPrefix + role + "/defaults/main.yml")
		if err != nil {
			t.Error(err)
			return
		}
		specs, err := l.LoadVars(playbooks.CatalogPrefix + name)
		if err != nil {
			t.Error(err)
			return
		}
		settingsAreDescribed(t, role, defaults.Names(), at(t, specs.Dict(), "argument_specs", "validate", "options"))
	})
}

func settingsAreDescribed(t *testing.T, role string, defaults []string, options *value.Dict) {
	t.Helper()
	var names []string
	for name, option := range options.All() {
		names = append(names, expr.String(name))
		o := option.(*value.Dict)
		if expr.String(o.At("description")) == "" || expr.String(o.At("type")) == "" {
			t.Errorf("%s: %v has no type or no description", role, name)
		}
		if required, _ := o.At("required").(bool); required == slices.Contains(defaults, expr.String(name)) {
			t.Errorf("%s: %v must have a default or be required, and not both", role, name)
		}
	}
	for _, name := range defaults {
		if !slices.Contains(names, name) {
			t.Errorf("%s: %s has a default and no description", role, name)
		}
	}
	if missing := notOnBestPage(t, names); len(missing) > 0 {
		t.Errorf("%s: no page in docs describes all its variables; the best one lacks %s", role, strings.Join(missing, ", "))
	}
}

// notOnBestPage are the names that the page with most of them lacks.
func notOnBestPage(t *testing.T, names []string) []string {
	t.Helper()
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	best := names
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		missing := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return strings.Contains(string(text), "`"+name+"`") })
		if len(missing) < len(best) {
			best = missing
		}
	}
	return best
}

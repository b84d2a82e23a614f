package catalog_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/value"
)

// TestEverySettingIsDescribed: a variable has a default, a type with a description, and a row in the document; etcd_endpoints has no
// default.
func TestEverySettingIsDescribed(t *testing.T) {
	l := loader(expr.New(expr.Options{}))
	defaults, err := l.LoadVars(playbooks.CatalogPrefix + "roles/calico_settings/defaults/main.yml")
	if err != nil {
		t.Fatal(err)
	}
	specs, err := l.LoadVars(playbooks.CatalogPrefix + "roles/calico_settings/meta/argument_specs.yml")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/calico-etcd.md")
	if err != nil {
		t.Fatal(err)
	}
	options := at(t, specs.Dict(), "argument_specs", "validate", "options")
	names := append(defaults.Names(), "etcd_endpoints")
	for _, name := range names {
		if d, ok := options.At(name).(*value.Dict); !ok || expr.String(d.At("description")) == "" {
			t.Errorf("%s has no type and description", name)
		}
		if !strings.Contains(string(doc), "`"+name+"`") {
			t.Errorf("docs/calico-etcd.md does not describe %s", name)
		}
	}
	for name := range options.All() {
		if !slices.Contains(names, name.(string)) {
			t.Errorf("%v has a description and no default", name)
		}
	}
}

func at(t *testing.T, d *value.Dict, path ...string) *value.Dict {
	t.Helper()
	for _, key := range path {
		next, ok := d.At(key).(*value.Dict)
		if !ok {
			t.Fatalf("there is no %s", strings.Join(path, "."))
		}
		d = next
	}
	return d
}

// TestEverySettingOfKDDIsDescribed: every default of kdd_settings has a type and a description, and a row in the document.
func TestEverySettingOfKDDIsDescribed(t *testing.T) {
	l := loader(expr.New(expr.Options{}))
	defaults, err := l.LoadVars(playbooks.CatalogPrefix + "roles/kdd_settings/defaults/main.yml")
	if err != nil {
		t.Fatal(err)
	}
	specs, err := l.LoadVars(playbooks.CatalogPrefix + "roles/kdd_settings/meta/argument_specs.yml")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/calico-kdd.md")
	if err != nil {
		t.Fatal(err)
	}
	options := at(t, specs.Dict(), "argument_specs", "validate", "options")
	for _, name := range defaults.Names() {
		if d, ok := options.At(name).(*value.Dict); !ok || expr.String(d.At("description")) == "" {
			t.Errorf("%s has no type and description", name)
		}
		if name != "product" && name != "mode" && !strings.Contains(string(doc), "| `"+name+"` |") {
			t.Errorf("docs/calico-kdd.md does not describe %s", name)
		}
	}
	for name := range options.All() {
		if !slices.Contains(defaults.Names(), name.(string)) {
			t.Errorf("%v has a description and no default", name)
		}
	}
}

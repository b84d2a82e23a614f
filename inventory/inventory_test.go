package inventory

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	"pgregory.net/rapid"
)

// load writes the files of a txtar text into a folder of its own, goes there and loads the sources.
func load(t *testing.T, files string, sources ...string) (*Inventory, error) {
	t.Helper()
	dir := t.TempDir()
	writeFiles(t, dir, txtar.Parse([]byte(files)))
	t.Chdir(dir)
	return Load(t.Context(), sources)
}

func TestMistakesAreShownWhereTheyAre(t *testing.T) {
	for name, c := range map[string]struct{ files, source, want string }{
		"unknown key":        {"-- i.yml --\nweb:\n  host:\n    a:\n", "i.yml", "i.yml:2:3: cannot use \"host\" in group \"web\": a group has hosts, vars and children\n    host:\n    ^\n  hint: did you mean \"hosts\"?"},
		"group in group":     {"-- i.yml --\nall:\n  web:\n    hosts: {a: }\n", "i.yml", "hint: a group inside a group stands under children:"},
		"variable in group":  {"-- i.yml --\nall:\n  port: 80\n", "i.yml", "hint: a variable of the group stands under vars:"},
		"list of hosts":      {"-- i.yml --\nweb:\n  hosts:\n  - a\n", "i.yml", "i.yml:3:3: cannot read the hosts of group \"web\": expected a mapping of names, found a list"},
		"not a mapping":      {"-- i.yml --\n- a\n", "i.yml", "i.yml:1:1: cannot read the inventory: expected a mapping of groups, found a list"},
		"group is text":      {"-- i.yml --\nweb: a\n", "i.yml", "i.yml:1:6: cannot read group \"web\": expected a mapping with hosts, vars or children, found a string"},
		"host vars is text":  {"-- i.yml --\nweb: {hosts: {a: 1}}\n", "i.yml", "i.yml:1:18: cannot read variables: expected a mapping of names to values, found a number"},
		"host is a boolean":  {"-- i.yml --\nweb: {hosts: {on: }}\n", "i.yml", "i.yml:1:15: cannot use \"on\" as the name of a host: it is a boolean"},
		"yaml loop":          {"-- i.yml --\na:\n  children:\n    b:\n      children:\n        a:\n", "i.yml", "cannot make group \""},
		"yaml syntax":        {"-- i.yml --\na:\n\tb:\n", "i.yml", "i.yml:2:1: cannot read YAML"},
		"plugin":             {"-- i.yml --\nplugin: aws_ec2\n", "i.yml", "i.yml:1:1: cannot use the inventory plugin \"aws_ec2\""},
		"priority":           {"-- i.yml --\na: {vars: {ansible_group_priority: high}}\n", "i.yml", "i.yml:1:12: cannot set the priority of group \"a\" to high"},
		"two documents":      {"-- i.yml --\na:\n---\nb:\n", "i.yml", "it holds 2 documents"},
		"range":              {"-- i.yml --\na: {hosts: {'w[3:1]': }}\n", "i.yml", "i.yml:1:14: cannot expand \"w[3:1]\": the range [3:1] ends before it begins"},
		"padding":            {"-- i --\nw[01:100]\n", "i", "i:1:1: cannot expand \"w[01:100]\": the bounds of the padded range [01:100] differ in length"},
		"colon":              {"-- i --\nweb:\n  a\n[b]\n", "i", "i:3:1: cannot read YAML: could not find expected ':'"},
		"colon in ini":       {"-- i --\n[a]\nweb:\n", "i", "i:2:1: cannot use \"web:\" as a host"},
		"no equals":          {"-- i --\nh a=1 b\n", "i", "i:1:7: cannot read \"b\": expected key=value after the host"},
		"open quote":         {"-- i --\nh a='1\n", "i", "i:1:1: cannot read the host line: a quote is not closed"},
		"section kind":       {"-- i --\n[web:var]\n", "i", "i:1:1: cannot read the section [web:var]: its kind is not known\n    [web:var]\n    ^\n  hint: did you mean \"vars\"?"},
		"section":            {"-- i --\n[web server]\n", "i", "i:1:1: cannot read the section [web server]"},
		"vars of nobody":     {"-- i --\n[web]\n[wbe:vars]\na=1\n", "i", "i:2:1: cannot give variables to group \"wbe\": no section [wbe] declares it\n    [wbe:vars]\n    ^\n  hint: did you mean \"web\"?"},
		"child of nobody":    {"-- i --\n[a:children]\nb\n", "i", "i:2:1: cannot make group \"b\" a child of \"a\": no section [b] declares it"},
		"ini loop":           {"-- i --\n[a:children]\nb\n[b:children]\na\n", "i", "they would contain each other"},
		"own child":          {"-- i --\n[a:children]\na\n", "i", "i:2:1: cannot make group \"a\" a child of \"a\""},
		"all as child":       {"-- i --\n[a:children]\nall\n", "i", "i:2:1: cannot make group \"all\" a child of \"a\""},
		"var without value":  {"-- i --\n[a]\n[a:vars]\nb\n", "i", "i:3:1: cannot read \"b\": expected key=value in the section [a:vars]"},
		"yaml as ini":        {"-- i.cfg --\n---\na:\n", "i.cfg", "i.cfg:1:1: cannot use --- as a host: the file looks like YAML"},
		"no such file":       {"", "nope", "nope: cannot read the inventory: there is no such file\n  hint: to name a host here, put a comma behind it: -i nope,"},
		"toml":               {"-- i.toml --\n", "i.toml", "TOML is not supported"},
		"script fails":       {"-- i.sh --\n#!/bin/sh\necho no luck >&2; exit 3\n", "i.sh", "i.sh: cannot run i.sh --list: exit status 3\n  hint: it said: no luck"},
		"script text":        {"-- i.sh --\n#!/bin/sh\necho hello\n", "i.sh", "i.sh --list:1:1: cannot use what the script printed: expected a JSON object"},
		"script hosts":       {"-- i.sh --\n#!/bin/sh\necho '{\"a\": {\"hosts\": {}}}'\n", "i.sh", "i.sh --list:1:17: cannot read the hosts of group \"a\": expected a list, found a mapping"},
		"script not allowed": {"-- i --\n#!/bin/sh\n", "i", "i:1:1: cannot run the inventory script: it is not executable"},
		"group_vars":         {"-- d/i --\n[web]\nh\n-- d/group_vars/web.yml --\na: b: c\n", "d/i", "d/group_vars/web.yml:1:5: cannot read YAML: mapping values are not allowed"},
		"host_vars":          {"-- d/i --\nh\n-- d/host_vars/h.yml --\n- a\n", "d/i", "d/host_vars/h.yml:1:1: cannot read variables: expected a mapping of names to values, found a list"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, c.files, c.source)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got:\n%v\nwant:\n%s", err, c.want)
			}
		})
	}
}

func TestAllMistakesComeAtOnce(t *testing.T) {
	_, err := load(t, "-- a.yml --\nweb: {hots: }\n-- b --\nh x\n-- group_vars/all.yml --\n- 1\n", "a.yml", "b", "nope")
	if n := strings.Count(fmt.Sprint(err), ": cannot "); n != 4 {
		t.Errorf("want four mistakes, got %d:\n%v", n, err)
	}
}

func TestUnknownNamesAreSaidAndTheRestIsGiven(t *testing.T) {
	inv, err := load(t, "-- i --\n[web]\nw1\nw2\n[db]\nd1\n", "i")
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := inv.Match("wbe:db:!maintenance")
	var unknown *UnknownNames
	if !errors.As(err, &unknown) || fmt.Sprint(unknown.Names, unknown.Nearest) != "[wbe maintenance] [web ]" {
		t.Fatalf("got %v", err)
	}
	if got := names(hosts); fmt.Sprint(got) != "[d1]" {
		t.Errorf("got %v", got)
	}
	if want := `cannot find "wbe": the inventory has no host or group of this name (did you mean "web"?)`; !strings.HasPrefix(err.Error(), want) {
		t.Error(err)
	}
	if hosts, err := inv.Match("x*"); err != nil || len(hosts) != 0 {
		t.Errorf("a glob that matches nothing is no mistake: %v, %v", hosts, err)
	}
}

func TestPatternsThatCannotBeUsed(t *testing.T) {
	inv, err := load(t, "-- i --\n[web]\nw1\n", "i")
	if err != nil {
		t.Fatal(err)
	}
	for pattern, want := range map[string]string{
		"web[1]": `cannot find the host that "web[1]" asks for: "web" has 1`,
		"~(":     "cannot use the host pattern",
		"web:!":  "cannot use an empty host pattern",
	} {
		if _, err := inv.Match(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", pattern, err)
		}
	}
	if _, err := inv.Match("all", "@nope"); err == nil || !strings.Contains(err.Error(), "cannot read the limit @nope") {
		t.Error(err)
	}
	if _, err := Order(nil, "random"); err == nil || !strings.Contains(err.Error(), "the orders are inventory, sorted") {
		t.Error(err)
	}
}

func TestShuffleKeepsEveryHost(t *testing.T) {
	inv, err := load(t, "", "h[1:50],")
	if err != nil {
		t.Fatal(err)
	}
	shuffled, err := Order(inv.Hosts(), "shuffle")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[*Host]bool{}
	for _, h := range shuffled {
		seen[h] = true
	}
	if len(seen) != 50 || names(inv.Hosts())[49] != "h50" {
		t.Errorf("%d hosts, and the inventory's own order must stay", len(seen))
	}
}

func TestDuplicateKeysAndNameClashesWarn(t *testing.T) {
	inv, err := load(t, "-- i.yml --\nweb: {hosts: {a: {x: 1, x: 2}, web: }}\n-- group_vars/web.yml --\ny: 1\ny: 2\n", "i.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`i.yml:1:25: duplicate key "x"`, `group_vars/web.yml:2:1: duplicate key "y"`, `"web" is both a host and a group`} {
		if !strings.Contains(inv.Warnings.Error(), want) {
			t.Errorf("no warning %q in\n%v", want, inv.Warnings)
		}
	}
}

func TestTemplatesInINIKnowWhereTheyStand(t *testing.T) {
	inv, err := load(t, "-- i --\nh a=1 bc=\"{{ x }}\"\n[web]\n[web:vars]\nd = {{ y }}\n", "i")
	if err != nil {
		t.Fatal(err)
	}
	v, _ := inv.Host("h").Vars.Var("bc")
	if got := fmt.Sprint(v); got != "{{{ x }} i:1:10}" {
		t.Errorf("bc: %s", got)
	}
	v, _ = inv.Group("web").Vars.Var("d")
	if got := fmt.Sprint(v); got != "{{{ y }} i:4:5}" {
		t.Errorf("d: %s", got)
	}
}

func TestHostsAndGroupsAddedLater(t *testing.T) {
	inv, err := load(t, "-- i --\n[web]\nw1\n-- host_vars/new.yml --\nx: 1\n", "i")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := inv.AddGroup("blue", "web"); err != nil {
		t.Fatal(err)
	}
	h := inv.AddHost("new", "blue")
	if got := fmt.Sprint(h.GroupNames(), names(inv.Members(inv.Group("web"))), names(inv.Members(inv.Group("all")))); got != "[blue web] [w1 new] [new w1]" && got != "[blue web] [w1 new] [w1 new]" {
		t.Error(got)
	}
	layers, err := inv.Layers(h, nil)
	if err != nil || len(layers) != 1 || layers[0].Title != filepath.Join("host_vars", "new.yml") {
		t.Errorf("%v, %v", layers, err)
	}
	if _, err := inv.AddGroup("web", "blue"); err == nil {
		t.Error("a loop must be refused")
	}
}

func TestScriptEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, txtar.Parse([]byte("-- i.sh --\n#!/bin/sh\nexec sleep 60\n")))
	ctx, cancel := contextThatEnds(t)
	defer cancel()
	if _, err := Load(ctx, []string{filepath.Join(dir, "i.sh")}); err == nil || !strings.Contains(err.Error(), "cannot run") {
		t.Errorf("got %v", err)
	}
}

func TestNothingThatIsReadPanics(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`([\[\]{}:=,'"#\\ \n\t!&*|>~<-]|[a-z0-9]{1,3}|hosts|vars|children|all|\{\{){0,30}`).Draw(t, "text")
		for _, name := range []string{"i", "i.yml", "i.cfg"} {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			inv, err := Load(t.Context(), []string{path})
			if err != nil {
				continue
			}
			for _, h := range inv.Hosts() {
				if _, err := inv.Layers(h, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		inv := newInventory()
		inv.settle()
		_, _ = inv.Match(text, text) // any outcome will do
	})
}

func BenchmarkLoadAndLayers5000Hosts(b *testing.B) {
	dir := b.TempDir()
	text := "all:\n  children:\n    web: {hosts: {'w[0001:5000]': {a: 1}}, vars: {b: 2}}\n"
	if err := os.WriteFile(filepath.Join(dir, "i.yml"), []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		inv, err := Load(b.Context(), []string{filepath.Join(dir, "i.yml")})
		if err != nil {
			b.Fatal(err)
		}
		hosts, err := inv.Match("web:!w0001")
		if err != nil || len(hosts) != 4999 {
			b.Fatal(len(hosts), err)
		}
		for _, h := range hosts {
			if _, err := inv.Layers(h, nil); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func contextThatEnds(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), 100*time.Millisecond)
}

package vars_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/calroll/calroll/inventory"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/playbooks/vars"
)

// newWorld is a World over the files of a txtar text, whose inventory is inv.yml, in a folder of its own.
func newWorld(t *testing.T, files string) (*vars.World, *inventory.Inventory) {
	t.Helper()
	dir := t.TempDir()
	for _, f := range txtar.Parse([]byte(files)).Files {
		write(t, dir+"/"+f.Name, string(f.Data))
	}
	t.Chdir(dir)
	inv, err := inventory.Load(t.Context(), []string{"inv.yml"})
	if err != nil {
		t.Fatal(err)
	}
	w := vars.New(vars.Options{Inventory: inv, Env: expr.New(expr.Options{})})
	w.StartPlaybook(dir)
	return w, inv
}

func read(t *testing.T, text string) *value.Vars {
	t.Helper()
	v, _, err := value.ReadVars("vars.yml", []byte(text))
	must(t, err)
	return v
}

// show is a variable as text: its value, "undefined", or its error.
func show(s *vars.Scope, name string) string {
	v, ok, err := s.Lookup(name)
	var u *expr.Undefined
	switch {
	case errors.As(err, &u):
		return "undefined"
	case err != nil:
		return err.Error()
	case !ok:
		return "none"
	}
	return expr.String(v)
}

func TestHostsOfHostsAreFollowed(t *testing.T) {
	w, _ := newWorld(t, `-- inv.yml --
all:
  hosts:
    a: {x: "{{ hostvars.b.x }}-a", loop: "{{ hostvars.b.loop }}", back: 1, needs_play: "{{ of_play }}"}
    b: {x: "{{ hostvars.c.x }}-b", loop: "{{ hostvars.a.loop }}", there: "{{ hostvars.a.back + 1 }}"}
    c: {x: c, sees: "{{ hostvars.a.needs_play }}", guarded: "{{ hostvars.a.needs_play | default('none') }}"}
`)
	w.StartPlay(vars.Play{Vars: read(t, "of_play: 1\n")})
	for _, c := range []struct{ host, name, want string }{
		{"a", "x", "c-b-a"}, {"b", "there", "2"}, {"a", "needs_play", "1"}, {"c", "sees", "undefined"}, {"c", "guarded", "none"},
	} {
		if got := show(w.Host(c.host).Scope(), c.name); got != c.want {
			t.Errorf("%s on %s: got %s, want %s", c.name, c.host, got, c.want)
		}
	}
	got := show(w.Host("a").Scope(), "loop")
	if !strings.Contains(got, "recursive loop detected in template string: {{ hostvars.") || !strings.HasPrefix(got, "inv.yml:") {
		t.Errorf("a loop through two hosts: %s", got)
	}
}

func TestErrorsStandWhereTheTemplateWasWritten(t *testing.T) {
	w, _ := newWorld(t, `-- inv.yml --
all:
  hosts:
    h:
      outer: "x {{ inner }}"
-- group_vars/all.yml --
fine: 1
inner: |
  first
  and {{ fine / nothing }}
secret: !vault |
  $ANSIBLE_VAULT;1.1;AES256
  6162
`)
	s := w.Host("h").Scope()
	if got := show(s, "inner"); !strings.HasPrefix(got, "undefined") {
		t.Errorf("inner: %s", got)
	}
	_, _, err := s.Lookup("outer")
	if err == nil || !strings.Contains(err.Error(), "'nothing' is undefined (needed by inner, ") || !strings.Contains(err.Error(), "group_vars/all.yml:4:15)") {
		t.Errorf("the place of the template that fails must be told: %v", err)
	}
	if got := show(s, "secret"); !strings.Contains(got, "group_vars/all.yml:6:3: cannot use a value that is encrypted with Ansible Vault") {
		t.Errorf("secret: %s", got)
	}
}

func TestWhereTellsTheLayerAndThePlace(t *testing.T) {
	w, _ := newWorld(t, "-- inv.yml --\nall:\n  vars: {a: 1}\n  hosts: {h: {b: 2}}\n-- group_vars/all.yml --\nc: 3\n")
	w.StartPlay(vars.Play{Vars: read(t, "a: play\n")})
	w.Host("h").Register("r", value.NewDict("rc", 0))
	s := w.Host("h").Task(vars.Task{Vars: read(t, "\nt: 1\n")})
	for name, want := range map[string]string{
		"a": "play variables vars.yml:1:1", "b": "host h inv.yml:3:15", "c": "group_vars/all.yml group_vars/all.yml:1:1", "t": "task and block variables vars.yml:2:1",
		"r": "set_fact and register unknown place", "groups": "magic variables unknown place", "nope": "none",
	} {
		title, pos, ok := s.Where(name)
		dir, err := os.Getwd()
		must(t, err)
		got := strings.ReplaceAll(title+" "+pos.String(), dir+"/", "")
		if !ok {
			got = "none"
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestWhatHostsAnsweredIsNeverRendered(t *testing.T) {
	w, _ := newWorld(t, "-- inv.yml --\nall: {hosts: {h: {uses: '{{ out.stdout }}!'}}}\n")
	h := w.Host("h")
	h.Register("out", value.NewDict("stdout", "{{ groups }}"))
	h.AddFacts(value.NewDict("ansible_motd", "{{ 1 + 1 }}", "ansible_local", value.NewDict("a", 1)))
	s := h.Scope()
	if got := show(s, "uses"); got != "{{ groups }}!" {
		t.Errorf("uses: %s", got)
	}
	if got := show(s, "ansible_motd"); got != "{{ 1 + 1 }}" {
		t.Errorf("ansible_motd: %s", got)
	}
	if s.Origin("out") != expr.Unsafe || s.Origin("uses") != expr.Template || s.Origin("inventory_hostname") != expr.Literal {
		t.Error("origins are wrong")
	}
	h.ClearFacts()
	if got := show(h.Scope(), "ansible_motd") + show(h.Scope(), "ansible_facts") + show(h.Scope(), "uses"); got != "none{}{{ groups }}!" {
		t.Errorf("after clear_facts: %s", got)
	}
}

func TestWithGoesOnTopAndLeavesTheScopeAlone(t *testing.T) {
	w, _ := newWorld(t, "-- inv.yml --\nall: {hosts: {h: {label: 'item {{ item }}', item: none}}}\n")
	s := w.Host("h").Scope()
	var got []string
	for _, item := range []string{"a", "b"} {
		got = append(got, show(s.With("loop", value.NewDict("item", item)), "label"))
	}
	got = append(got, show(s, "label"))
	if want := "[item a item b item none]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestScopesSeeTheWorldAsItWas(t *testing.T) {
	w, inv := newWorld(t, "-- inv.yml --\nall: {hosts: {h: }}\n-- host_vars/new.yml --\nx: 1\n")
	before := w.Host("h").Scope()
	w.Host("h").SetFacts(value.NewDict("x", 2))
	if got := show(before, "x") + show(w.Host("h").Scope(), "x"); got != "none2" {
		t.Errorf("got %s", got)
	}
	if got := show(w.Host("h").Scope(), "groups"); strings.Contains(got, "new") {
		t.Errorf("groups: %s", got)
	}
	inv.AddHost("new", "blue")
	w.InventoryChanged()
	if got := show(w.Host("new").Scope(), "x") + show(w.Host("h").Scope(), "groups"); !strings.HasPrefix(got, "1{") || !strings.Contains(got, "'blue': ['new']") {
		t.Errorf("after add_host: %s", got)
	}
}

// TestForksSeeEachOtherWhenTheyAreJoined: plays that go at the same time see the hosts of the others as they were.
func TestForksSeeEachOtherWhenTheyAreJoined(t *testing.T) {
	w, _ := newWorld(t, "-- inv.yml --\nall: {hosts: {a: {x: 0}, b: {x: 0, of_a: '{{ hostvars.a.x }}'}}}\n")
	w.Host("a").SetFacts(value.NewDict("x", 1))
	left, right := w.Fork(), w.Fork()
	left.Host("a").SetFacts(value.NewDict("x", 2))
	left.StartPlay(vars.Play{Name: "left"})
	left.SetGone("a", true)
	right.Host("b").Register("x", value.NewDict("rc", 3))
	hosts := func(w *vars.World) string {
		return show(w.Host("b").Scope(), "x") + show(w.Host("b").Scope(), "of_a") + show(w.Host("a").Scope(), "x")
	}
	if got := hosts(left) + ", " + hosts(right) + ", " + hosts(w); got != "022, {'rc': 3}11, 011" {
		t.Errorf("before they are joined: %s", got)
	}
	w.Join(left, []string{"a"})
	w.Join(right, []string{"b"})
	if got := hosts(w); got != "{'rc': 3}22" {
		t.Errorf("after they are joined: %s", got)
	}
}

func TestHostsOfNoInventoryCanBeDelegatedTo(t *testing.T) {
	w, _ := newWorld(t, "-- inv.yml --\nall: {hosts: {h: }, vars: {a: 1}}\n")
	s := w.Host("192.0.2.7").Scope()
	if got := show(s, "inventory_hostname") + show(s, "a"); got != "192.0.2.71" {
		t.Errorf("got %s", got)
	}
	if got := show(w.Host("localhost").Scope(), "ansible_connection"); got != "local" {
		t.Errorf("got %s", got)
	}
}

func TestPlayFilesMayDependOnTheHost(t *testing.T) {
	w, _ := newWorld(t, "-- inv.yml --\nall: {hosts: {a: , b: }}\n")
	w.StartPlay(vars.Play{Vars: read(t, "family: none\nx: play\n"), HostFiles: func(s *vars.Scope) ([]*value.Vars, error) {
		family, _, err := s.Lookup("ansible_os_family")
		if err != nil || family == nil {
			return nil, err
		}
		return []*value.Vars{read(t, fmt.Sprintf("family: %s\nx: '{{ family }} file'\n", family))}, nil
	}})
	w.Host("b").AddFacts(value.NewDict("ansible_os_family", "Debian"))
	if got := show(w.Host("a").Scope(), "x") + " " + show(w.Host("b").Scope(), "x"); got != "play Debian file" {
		t.Errorf("got %s", got)
	}
}

func TestLiveHostsAreListed(t *testing.T) {
	w, _ := newWorld(t, "-- inv.yml --\nall: {hosts: {a: , b: , c: }}\n")
	w.SetHosts([]string{"a", "b", "c"})
	w.StartBatch([]string{"a", "b"})
	w.SetGone("a", true)
	s := w.Host("b").Scope()
	if got := show(s, "ansible_play_hosts_all") + show(s, "ansible_play_hosts") + show(s, "ansible_play_batch") + show(s, "play_hosts"); got != "['a', 'b', 'c']['b', 'c']['b']['b']" {
		t.Errorf("got %s", got)
	}
}

func TestNamesAreListedOnce(t *testing.T) {
	w, _ := newWorld(t, "-- inv.yml --\nall: {hosts: {h: {a: 1}}, vars: {a: 2, b: 3}}\n")
	names := w.Host("h").Scope().Names()
	for _, name := range []string{"a", "b", "inventory_hostname", "groups", "hostvars", "playbook_dir"} {
		if n := len(slices.DeleteFunc(slices.Clone(names), func(s string) bool { return s != name })); n != 1 {
			t.Errorf("%s is listed %d times", name, n)
		}
	}
}

func TestMistakesInVariablesBesideThePlaybookAreToldOnLookup(t *testing.T) {
	w, _ := newWorld(t, "-- inv.yml --\nall: {hosts: {h: }}\n-- pb/host_vars/h.yml --\na: b: c\n")
	w.StartPlaybook("pb")
	if got := show(w.Host("h").Scope(), "x"); !strings.HasPrefix(got, "pb/host_vars/h.yml:1:5: cannot read YAML") {
		t.Errorf("got %s", got)
	}
}

func TestScopesOfManyHostsAtOnce(t *testing.T) {
	w, inv := newWorld(t, "-- inv.yml --\nall: {hosts: {'h[1:50]': {x: 1}}, vars: {sum: \"{{ groups.all | map('extract', hostvars, 'x') | sum }}\"}}\n")
	var wg sync.WaitGroup
	for _, h := range inv.Hosts() {
		wg.Go(func() {
			if got := show(w.Host(h.Name).Scope(), "sum"); got != "50" {
				t.Errorf("%s: %s", h.Name, got)
			}
		})
	}
	wg.Wait()
}

func BenchmarkScopeAndLookups(b *testing.B) {
	inv := inventory200(b)
	w := vars.New(vars.Options{Inventory: inv, Env: expr.New(expr.Options{})})
	w.StartPlaybook(b.TempDir())
	extra := value.NewVars(value.NewDict("url", value.Template{Text: "http://{{ inventory_hostname }}:{{ port }}", Pos: source.Pos{}}, "port", 80), source.Pos{})
	w.StartPlay(vars.Play{Vars: extra})
	b.ReportAllocs()
	for b.Loop() {
		for _, h := range inv.Hosts() {
			if v, _, err := w.Host(h.Name).Scope().Lookup("url"); err != nil || v == nil {
				b.Fatal(v, err)
			}
		}
	}
}

func inventory200(b *testing.B) *inventory.Inventory {
	b.Helper()
	inv, err := inventory.Load(b.Context(), []string{"h[1:200],"})
	if err != nil {
		b.Fatal(err)
	}
	return inv
}

// TestUsedTellsWhatWasLookedUp: by the scope, by those round it and those made of it, with the task that set a variable, and with nothing rendered again.
func TestUsedTellsWhatWasLookedUp(t *testing.T) {
	w, _ := newWorld(t, "-- inv.yml --\nall:\n  hosts: {h: {url: \"http://{{ server }}/{{ item }}\", spare: 1}}\n-- group_vars/all.yml --\nserver: \"{{ answer.name }}\"\n")
	w.StartPlay(vars.Play{})
	h := w.Host("h")
	h.WrittenBy(vars.Writer{Pos: source.Pos{File: "site.yml", Line: 4, Col: 7}, Secret: true})
	h.Register("answer", value.NewDict("name", "s1"))
	h.WrittenBy(vars.Writer{Pos: source.Pos{File: "site.yml", Line: 9, Col: 7}})
	h.IncludeVars(value.NewDict("answer", "below what was registered"))
	s := h.Task(vars.Task{})
	first, second := s.With("loop variables", value.NewDict("item", "a")), s.With("loop variables", value.NewDict("item", "b"))
	show(first, "url")
	show(second, "url")
	show(s, "groups")
	show(s.With("registered", value.NewDict("r", 1)), "nosuch")
	var got []string
	for _, u := range first.Used() {
		got = append(got, fmt.Sprintf("%s %q %v %v %v", u.Name, u.From, u.Pos.Line, u.Secret, u.Name != "groups" && u.Value != nil))
	}
	want := []string{`answer "registered" 4 true true`, `groups "magic variables" 0 false false`, `item "loop variables" 0 false true`,
		`server "group_vars/all.yml" 1 false true`, `url "host h" 2 false true`}
	for i := range got {
		got[i] = strings.ReplaceAll(got[i], mustDir(t)+"/", "")
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if v := first.Used()[4].Value; v != "http://s1/a" {
		t.Errorf("url is %v for the first item", v)
	}
	if all := s.Used(); !slices.ContainsFunc(all, func(u vars.Use) bool { return u.Name == "nosuch" && !u.Defined() }) {
		t.Errorf("the whole task has looked up nosuch too: %v", all)
	}
}

func mustDir(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	must(t, err)
	return dir
}

package expr

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

func TestProblemsShowTheirPlace(t *testing.T) {
	e := New(Options{})
	vars := MapVars{"d": map[string]any{}}
	at := func(line, col int) source.Pos { return source.Pos{File: "site.yml", Line: line, Col: col} }
	for _, c := range []struct {
		name string
		err  func() error
		want string
	}{
		{"undefined in one line", func() error { _, err := e.Template("a {{ nope }}", at(3, 10), vars); return err },
			`site.yml:3:15: cannot evaluate template "a {{ nope }}": 'nope' is undefined`},
		{"second line of a block", func() error { _, err := e.Template("ok\nb: {{ d.key }}\n", at(7, 5), vars); return err },
			`site.yml:8:13: cannot evaluate template "ok ...": 'dict object' has no attribute 'key'`},
		{"condition", func() error { _, err := e.Condition("d.x > 1", at(2, 11), vars); return err },
			`site.yml:2:11: cannot evaluate condition "d.x > 1": 'dict object' has no attribute 'x'`},
		{"syntax", func() error { return e.Check("{{ a + }}", at(1, 1)) },
			`site.yml:1:8: cannot read template "{{ a + }}": unexpected 'end of print statement'`},
		{"unknown filter", func() error { return e.Check("{{ a | uper }}", at(1, 1)) },
			"site.yml:1:8: cannot read template \"{{ a | uper }}\": there is no filter named 'uper'\n  hint: did you mean \"upper\"?"},
		{"unknown test", func() error { return e.CheckCondition("a is defned", at(1, 1)) },
			"site.yml:1:6: cannot read template \"a is defned\": there is no test named 'defned'\n  hint: did you mean \"defined\"?"},
		{"unknown lookup", func() error { return e.Check("{{ lookup('flie', 'x') }}", at(1, 1)) },
			"site.yml:1:10: cannot read template \"{{ lookup('flie', 'x') }}\": there is no lookup plugin named 'flie'\n  hint: did you mean \"file\"?"},
		{"unknown tag", func() error { return e.Check("{% fro x in y %}{% endfor %}", at(1, 1)) },
			"site.yml:1:4: cannot read template \"{% fro x in y %}{% endfor %}\": Encountered unknown tag 'fro'.\n  hint: did you mean \"for\"?"},
		{"file", func() error {
			_, err := e.RenderFile("one\n{{ nope }}\n", source.Pos{File: "x.j2"}, vars, TemplateModule())
			return err
		}, "x.j2:2:4: cannot evaluate template: 'nope' is undefined\n    {{ nope }}\n       ^"},
		{"file with a header", func() error {
			_, err := e.RenderFile("#jinja2: trim_blocks: False\none\n{{ nope }}\n", source.Pos{File: "x.j2"}, vars, TemplateModule())
			return err
		}, "x.j2:3:4: cannot evaluate template: 'nope' is undefined\n    {{ nope }}\n       ^"},
	} {
		err := c.err()
		if err == nil || err.Error() != c.want {
			t.Errorf("%s:\ngot:  %v\nwant: %s", c.name, err, c.want)
		}
	}
}

func TestCheckReportsAllUnknownNamesAtOnce(t *testing.T) {
	err := New(Options{}).Check("{{ a | nosuch1 }}{% if b is nosuch2 %}{% endif %}{{ c | map('nosuch3') }}", source.Pos{File: "f", Line: 1, Col: 1})
	for _, name := range []string{"nosuch1", "nosuch2", "nosuch3"} {
		if err == nil || !strings.Contains(err.Error(), "'"+name+"'") {
			t.Errorf("%s is not reported: %v", name, err)
		}
	}
}

func TestUndefinedIsTheCause(t *testing.T) {
	_, err := New(Options{}).Template("{{ a.b }}", source.Pos{}, MapVars{"a": map[string]any{}})
	var u *Undefined
	if !errors.As(err, &u) || u.Name != "b" || u.Message != "'dict object' has no attribute 'b'" {
		t.Errorf("got %#v from %v", u, err)
	}
}

// counting counts the lookups of each name.
type counting struct {
	vars MapVars
	n    map[string]int
}

func (c *counting) Lookup(name string) (any, bool, error) {
	c.n[name]++
	return c.vars.Lookup(name)
}

func TestVariablesAreLookedUpOnceAndOnlyWhenUsed(t *testing.T) {
	vars := &counting{MapVars{"a": 1, "b": 2, "c": 3}, map[string]int{}}
	got, err := New(Options{}).Template("{{ a }}{{ a + b }}{% for i in range(3) %}{{ a }}{% endfor %}{{ c if false }}", source.Pos{}, vars)
	if err != nil || got != "13111" {
		t.Fatalf("got %v, %v", got, err)
	}
	if vars.n["a"] != 1 || vars.n["b"] != 1 || vars.n["c"] != 0 {
		t.Errorf("lookups: %v", vars.n)
	}
}

func TestValuesGivenAreNeverAltered(t *testing.T) {
	list := []any{1}
	d := NewDict("l", []any{1})
	vars := MapVars{"list": list, "d": d}
	got, err := New(Options{}).Template("{{ list.append(2) }}{{ d.l.append(3) }}{{ d.update({'k': 1}) }}{{ list }}{{ d }}", source.Pos{}, vars)
	if want := "[1, 2]{'l': [1, 3], 'k': 1}"; err != nil || got != want {
		t.Errorf("got %v, %v; want %s", got, err, want)
	}
	if len(list) != 1 || d.Len() != 1 || len(d.At("l").([]any)) != 1 {
		t.Errorf("the caller's values were altered: %v %v", list, d)
	}
}

// lazy is a Mapping whose values are counted when they are made.
type lazy struct{ made int }

func (l *lazy) Get(key string) (any, bool, error) {
	switch key {
	case "h1", "h2":
		l.made++
		return NewDict("addr", "10.0.0."+key[1:]), true, nil
	case "bad":
		return nil, false, &Undefined{Name: "x", Message: "'x' is undefined"}
	case "broken":
		return nil, false, errors.New("the disk is on fire")
	}
	return nil, false, nil
}

func (l *lazy) Keys() []string { return []string{"h1", "h2"} }

func TestLazyMappings(t *testing.T) {
	e := New(Options{})
	for text, want := range map[string]any{
		"{{ hv.h1.addr }}":                                 "10.0.0.1",
		"{{ hv['h2']['addr'] }}":                           "10.0.0.2",
		"{{ 'h1' in hv }}":                                 true,
		"{{ 'h9' in hv }}":                                 false,
		"{{ hv.h9 is defined }}":                           false,
		"{{ hv.bad is defined }}":                          false,
		"{{ hv.bad | default('d') }}":                      "d",
		"{{ hv | list }}":                                  []any{"h1", "h2"},
		"{{ hv | length }}":                                "2",
		"{{ hv.keys() | join(',') }}":                      "h1,h2",
		"{{ hv.get('h1').addr }}":                          "10.0.0.1",
		"{{ ['h1'] | map('extract', hv) }}":                []any{NewDict("addr", "10.0.0.1")},
		"{{ hv.values() | map(attribute='addr') | list }}": []any{"10.0.0.1", "10.0.0.2"},
		"{{ hv }}":                                         NewDict("h1", NewDict("addr", "10.0.0.1"), "h2", NewDict("addr", "10.0.0.2")),
	} {
		got, err := e.Template(text, source.Pos{}, MapVars{"hv": &lazy{}})
		if err != nil || !Equal(got, want) {
			t.Errorf("%s = %v, %v; want %v", text, got, err, want)
		}
	}
	l := &lazy{}
	if _, err := e.Template("{{ hv.h1.addr }}", source.Pos{}, MapVars{"hv": l}); err != nil || l.made != 1 {
		t.Errorf("made %d values for one, %v", l.made, err)
	}
	if _, err := e.Template("{{ hv.broken }}", source.Pos{}, MapVars{"hv": l}); err == nil || !strings.Contains(err.Error(), "on fire") {
		t.Errorf("the error of a lazy value is lost: %v", err)
	}
}

func TestOmit(t *testing.T) {
	e := New(Options{})
	got, err := e.TemplateDeep(NewDict("a", "{{ x | default(omit) }}", "b", []any{"{{ omit }}", "1"}, "c", 2), source.Pos{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.(*Dict).At("a") != Omit {
		t.Errorf("a is %v, want Omit", got.(*Dict).At("a"))
	}
	if d := DropOmit(got); !Equal(d, NewDict("b", []any{"1"}, "c", 2)) {
		t.Errorf("after DropOmit: %v", String(d))
	}
}

func TestOnlyTemplatesAreRendered(t *testing.T) {
	e := New(Options{})
	vars := MapVars{"x": "{{ 1 + 1 }}", "y": 5}
	v := NewDict("data", "{{ y }}", "text", value.Template{Text: "{{ y }}-{{ x }}"}, "list", []any{value.Template{Text: "{{ y }}"}})
	got, err := e.Resolve(v, vars)
	if want := NewDict("data", "{{ y }}", "text", "5-{{ 1 + 1 }}", "list", []any{5}); err != nil || !Equal(got, want) {
		t.Errorf("Resolve gave %v, %v; want %v", String(got), err, String(want))
	}
	if got, err := e.Template("{{ x }}", source.Pos{}, vars); err != nil || got != "{{ 1 + 1 }}" {
		t.Errorf("a value was rendered again: %v, %v", got, err)
	}
	if _, err := e.Resolve(value.Vault{Text: "$ANSIBLE_VAULT"}, vars); err == nil {
		t.Error("an encrypted value went through")
	}
}

// origins is a Vars that says where its values come from.
type origins struct {
	MapVars
	from map[string]Origin
}

func (o origins) Origin(name string) Origin { return o.from[name] }

func TestOrigins(t *testing.T) {
	e := New(Options{})
	vars := origins{MapVars{"lit": 5, "tpl": 5, "out": "1 == 1"}, map[string]Origin{"tpl": Template, "out": Unsafe}}
	for text, want := range map[string]any{"{{ lit }}": 5, "{{ tpl }}": "5", "{{ tpl }}x": "5x"} {
		if got, err := e.Template(text, source.Pos{}, vars); err != nil || got != want {
			t.Errorf("%s = %#v, %v; want %#v", text, got, err, want)
		}
	}
	if _, err := e.Condition("{{ out }}", source.Pos{}, vars); err == nil || !strings.Contains(err.Error(), "marked as unsafe") {
		t.Errorf("text from a host was evaluated: %v", err)
	}
}

func TestEvaluate(t *testing.T) {
	e := New(Options{})
	vars := MapVars{"i": 5, "l": []any{1, "a"}}
	for text, want := range map[string]any{"i + 1": 6, "l": []any{1, "a"}, "(i, 2)": []any{5, 2}, "i > 3": true, "none": nil, "'[1]'": "[1]"} {
		if got, err := e.Evaluate(text, source.Pos{}, vars); err != nil || !Equal(got, want) {
			t.Errorf("%s = %#v, %v; want %#v", text, got, err, want)
		}
	}
	for _, text := range []string{"nope", "[nope]", "i +", ""} {
		if got, err := e.Evaluate(text, source.Pos{}, vars); err == nil {
			t.Errorf("%q = %#v, want an error", text, got)
		}
	}
}

func TestNames(t *testing.T) {
	for text, want := range map[string]string{
		"no template":                "",
		"{{ a }}{{ b.c[d] | f(e) }}": "a b d e",
		"{% for x in l if x > m %}{{ x }}{{ loop.index }}{{ y }}{% endfor %}{{ x }}":    "l m x y",
		"{% set v = w %}{{ v }}{{ range(3) }}{{ omit }}":                                "w",
		"{% if c %}{% set v = 1 %}{% endif %}{{ v }}":                                   "c v",
		"{% macro m(p, q=r) %}{{ p }}{{ q }}{{ s }}{% endmacro %}{{ m(t) }}":            "r s t",
		"{{ lookup('vars', 'known') }}":                                                 "known",
		"{{ lookup('vars', 'a' ~ b) }}":                                                 "b vars",
		"{{ lookup('template', 'x.j2') }}":                                              "vars",
		"{{ lookup('file', f) }}":                                                       "ansible_search_path f",
		"{% include 'x' %}":                                                             "vars",
		"{{ a if b else c }}{{ {d: e} }}{{ not f and g or h }}{{ i in j }}{{ -k ~ l }}": "a b c d e f g h i j k l",
		"{{ broken": "",
	} {
		if got := strings.Join(Names(text), " "); got != want {
			t.Errorf("Names(%q) = %q, want %q", text, got, want)
		}
	}
	if got := strings.Join(ConditionNames("a is defined and b == 'c'"), " "); got != "a b" {
		t.Errorf("ConditionNames: %q", got)
	}
}

func TestFilesAreFoundThroughTheSearchPath(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("role/files/a.txt", "from role\n\n")
	write("role/templates/t.j2", "T {{ x }}\n")
	write("play/a.txt", "from play")
	write("play/b.txt", "  b  ")
	write("play/fragments/one.conf", "")
	write("play/fragments/two.conf", "")
	e := New(Options{BaseDir: filepath.Join(dir, "play"), Hosts: func(p string) ([]string, error) { return strings.Split(p, ":"), nil }})
	vars := MapVars{"x": 7, "ansible_search_path": []any{filepath.Join(dir, "role", "tasks")}, "other": "v"}
	for text, want := range map[string]any{
		"{{ lookup('file', 'a.txt') }}":                                              "from role",
		"{{ lookup('file', 'b.txt') }}|":                                             "  b|",
		"{{ lookup('file', 'b.txt', lstrip=true, rstrip=false) }}|":                  "b  |",
		"{{ lookup('template', 't.j2') }}":                                           "T 7\n",
		"{{ lookup('template', 't.j2', template_vars={'x': 'y'}) }}":                 "T y\n",
		"{{ lookup('fileglob', 'fragments/*.conf') | regex_replace('[^,]*/', '') }}": "one.conf,two.conf",
		"{{ lookup('first_found', ['zz', 'b.txt']) | basename }}":                    "b.txt",
		"{{ query('inventory_hostnames', 'a:b') }}":                                  []any{"a", "b"},
		"{{ query('varnames', '^o') }}":                                              []any{"other"},
		"{{ lookup('file', 'none.txt', errors='ignore') }}":                          "",
	} {
		if got, err := e.Template(text, source.Pos{}, vars); err != nil || !Equal(got, want) {
			t.Errorf("%s = %#v, %v; want %#v", text, got, err, want)
		}
	}
	items, err := e.Lookup("subelements", []any{[]any{NewDict("n", 1, "l", []any{"a"})}, "l"}, nil, source.Pos{}, vars)
	if want := []any{[]any{NewDict("n", 1), "a"}}; err != nil || !Equal(items, want) {
		t.Errorf("Lookup gave %v, %v", String(items), err)
	}
	if _, err := e.Lookup("fileglb", nil, nil, source.Pos{}, vars); err == nil || !strings.Contains(err.Error(), `did you mean "fileglob"`) {
		t.Errorf("an unknown lookup: %v", err)
	}
}

func TestPasswordLookupKeepsItsPassword(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "pw")
	e := New(Options{})
	text := fmt.Sprintf("{{ lookup('password', '%s length=12 chars=digits') }}x", path)
	first, err := e.Template(text, source.Pos{}, nil)
	if err != nil || len(first.(string)) != 13 || strings.Trim(first.(string), "0123456789") != "x" {
		t.Fatalf("got %v, %v", first, err)
	}
	if again, err := e.Template(text, source.Pos{}, nil); err != nil || again != first {
		t.Errorf("the second time it is %v, %v; it was %v", again, err, first)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
}

func TestTemplatesThatCallThemselvesEnd(t *testing.T) {
	_, err := New(Options{}).Template("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", source.Pos{}, nil)
	if err == nil || !strings.Contains(err.Error(), "recursive loop") {
		t.Errorf("got %v", err)
	}
}

func TestEnvMayBeUsedByManyAtATime(t *testing.T) {
	e := New(Options{})
	shared := NewDict("l", []any{1, 2}, "s", "x")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				text := fmt.Sprintf("{%% set _ = d.l.append(%d) %%}{{ d.l | sum }}-{{ d.s | upper }}-{{ lookup('vars', 'd') | length }}-%d", i, j%5)
				got, err := e.Template(text, source.Pos{}, MapVars{"d": shared})
				if want := fmt.Sprintf("%d-X-2-%d", 3+i, j%5); err != nil || got != want {
					t.Errorf("got %v, %v; want %s", got, err, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestFileOptions(t *testing.T) {
	e := New(Options{})
	text := "a\r\n  <% if b %>\r\n[[ x ]] {{ x }}\r\n  <% endif %>\r\n"
	o := FileOptions{TrimBlocks: true, LstripBlocks: true, VariableStart: "[[", VariableEnd: "]]", BlockStart: "<%", BlockEnd: "%>", Newline: "\r\n"}
	got, err := e.RenderFile(text, source.Pos{File: "f"}, MapVars{"b": true, "x": 1}, o)
	if want := "a\r\n1 {{ x }}\r\n"; err != nil || got != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

// someValue draws values of every kind that may be nested.
func someValue() *rapid.Generator[any] {
	scalar := rapid.OneOf(
		rapid.Just[any](nil), rapid.Map(rapid.Bool(), asAny), rapid.Map(rapid.Int(), asAny), rapid.Map(rapid.String(), asAny),
		rapid.Map(rapid.Float64Range(-1e300, 1e300), asAny),
	)
	return rapid.Custom(func(t *rapid.T) any {
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			return append([]any{}, rapid.SliceOfN(scalar, 0, 4).Draw(t, "list")...)
		case 1:
			d := &Dict{}
			for _, k := range rapid.SliceOfN(rapid.String(), 0, 4).Draw(t, "keys") {
				d.Set(k, scalar.Draw(t, "value"))
			}
			return d
		case 2:
			return []any{append([]any{}, rapid.SliceOfN(scalar, 0, 3).Draw(t, "inner")...), scalar.Draw(t, "last")}
		}
		return scalar.Draw(t, "scalar")
	})
}

func asAny[T any](v T) any { return v }

func TestWhatIsPrintedReadsBack(t *testing.T) {
	e := New(Options{})
	rapid.Check(t, func(t *rapid.T) {
		v := someValue().Draw(t, "v")
		got, err := literalEval(pyRepr(v))
		if err != nil || !Equal(got, v) {
			t.Fatalf("%s reads back as %v, %v", pyRepr(v), got, err)
		}
		for _, text := range []string{"{{ (v | to_json | from_json) == v }}", "{{ (v | to_nice_yaml | from_yaml) == v }}", "{{ (v | to_yaml | from_yaml) == v }}"} {
			if got, err := e.Template(text, source.Pos{}, MapVars{"v": v}); err != nil || got != true {
				t.Fatalf("%s for %s: %v, %v", text, pyRepr(v), got, err)
			}
		}
	})
}

func TestAnyTextParsesOrFails(t *testing.T) {
	pieces := rapid.SampledFrom([]string{"{{", "}}", "{%", "%}", "{#", "#}", "{%-", "-%}", " if ", " for x in ", "endif", "endfor", "else", "raw", "endraw", "a", ".b", "[", "]", "(", ")", "|", "'", `"`, `\`, "1", "+", "~", "is", "not", "in", ",", ":", "=", "\n", " ", "set", "ü"})
	e := New(Options{})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(pieces, 0, 25).Draw(t, "pieces"), "")
		_, _ = e.Template(text, source.Pos{File: "f", Line: 1, Col: 1}, MapVars{"a": NewDict("b", 1)}) // must not panic
		_ = e.CheckCondition(text, source.Pos{})
		Names(text)
	})
}

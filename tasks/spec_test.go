package tasks_test

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/calroll/calroll/tasks"
)

type sample struct {
	Path  tasks.Path     `arg:"path,alias=dest|name,required" doc:"a path"`
	State string         `arg:"state,choices=file|absent|yes,default=file"`
	Flag  bool           `arg:"flag"`
	Count *int           `arg:"count"`
	Ratio float64        `arg:"ratio"`
	List  []string       `arg:"list"`
	Ports []int          `arg:"ports"`
	Dict  map[string]any `arg:"dict"`
	Raw   any            `arg:"raw"`
	Pass  string         `arg:"pass,secret"`
	Free  string         `arg:"cmd,freeform"`
	Inner string         `arg:"_inner"`
	tasks.FileArgs
}

func (*sample) Run(context.Context, *tasks.Sys) (tasks.Result, error) { return tasks.Result{}, nil }

func (*sample) Rules() tasks.Rules {
	return tasks.Rules{
		MutuallyExclusive: [][]string{{"flag", "count"}},
		RequiredTogether:  [][]string{{"pass", "list"}},
		RequiredIf:        []tasks.RequiredIf{{Arg: "state", Value: "absent", Need: []string{"ratio"}}},
	}
}

func TestDecodeCoerces(t *testing.T) {
	m, errs := tasks.SpecOf(&sample{}).Decode(map[string]any{
		"dest": "/x", "flag": "yes", "ratio": "1.5", "list": "a, b,c", "ports": []any{"1", json.Number("2"), 3.0}, "dict": "a=1,b=2",
		"raw": []any{1}, "pass": 12345, "_raw_params": "ls -l", "mode": 420, "_inner": true,
	})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	mode := tasks.Octal(0o644)
	want := &sample{
		Path: "/x", State: "file", Flag: true, Ratio: 1.5, List: []string{"a", "b", "c"}, Ports: []int{1, 2, 3}, Dict: map[string]any{"a": "1", "b": "2"},
		Raw: []any{1}, Pass: "12345", Free: "ls -l", Inner: "True", FileArgs: tasks.FileArgs{Mode: mode},
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("have %+v\nwant %+v", m, want)
	}
}

func TestDecodeMistakes(t *testing.T) {
	for _, c := range []struct {
		name string
		args map[string]any
		want []string // in the messages, one each, in order
	}{
		{"none", map[string]any{"path": "/x"}, nil},
		{"unknown, with the nearest", map[string]any{"pth": "/x", "path": "/x"}, []string{`pth: no argument has this name (did you mean "path"?)`}},
		{"required", map[string]any{}, []string{"path: is required"}},
		{"choice", map[string]any{"path": "/x", "state": "fil"}, []string{`state: must be one of file, absent, yes, not fil (did you mean "file"?)`}},
		{"a boolean for a choice spelled yes", map[string]any{"path": "/x", "state": true}, nil},
		{"types, all at once", map[string]any{"path": "/x", "flag": "maybe", "ratio": "x", "ports": "1,z", "mode": "u+q"}, []string{"flag: must be a boolean", "mode: must be an octal or symbolic mode", "ports: element 1: must be an integer", "ratio: must be a number"}},
		{"a fraction is no integer", map[string]any{"path": "/x", "count": 1.5}, []string{"count: must be an integer"}},
		{"mutually exclusive", map[string]any{"path": "/x", "flag": true, "count": 1}, []string{"only one may be given of flag, count"}},
		{"together", map[string]any{"path": "/x", "pass": "p"}, []string{"must be given together: pass, list"}},
		{"required if", map[string]any{"path": "/x", "state": "absent"}, []string{"state: state=absent requires all of ratio"}},
		{"null is absent", map[string]any{"path": "/x", "state": nil, "count": nil}, nil},
	} {
		_, errs := tasks.SpecOf(&sample{}).Decode(c.args)
		if len(errs) != len(c.want) {
			t.Errorf("%s: %v", c.name, errs)
			continue
		}
		for i, e := range errs {
			if !strings.Contains(e.Error(), c.want[i]) {
				t.Errorf("%s: %q does not say %q", c.name, e.Error(), c.want[i])
			}
		}
	}
}

func TestCheckStaticLeavesTemplatesAlone(t *testing.T) {
	isTemplate := func(v any) bool { s, ok := v.(string); return ok && strings.Contains(s, "{{") }
	spec := tasks.SpecOf(&sample{})
	fine := map[string]any{"path": "{{ p }}", "flag": "{{ f }}", "ports": []any{"{{ a }}"}, "state": "{{ s }}", "dict": map[string]any{"k": "{{ v }}"}}
	if errs := spec.CheckStatic(fine, isTemplate); len(errs) > 0 {
		t.Error(errs)
	}
	bad := map[string]any{"path": "/x", "_inner": "x", "flag": "perhaps", "mode": "{{ m }}"}
	var names []string
	for _, e := range spec.CheckStatic(bad, isTemplate) {
		names = append(names, e.Arg)
	}
	if !slices.Equal(names, []string{"_inner", "flag"}) {
		t.Errorf("mistakes found in %v", names)
	}
}

func TestModeApply(t *testing.T) {
	for _, c := range []struct {
		mode string
		old  uint32
		dir  bool
		want uint32
	}{
		{"0644", 0o7777, false, 0o644}, {"644", 0, false, 0o644}, {"1777", 0, true, 0o1777}, {"0o600", 0, false, 0o600}, {"preserve", 0o640, false, 0o640}, {"", 0o640, false, 0o640},
		{"u+x", 0o644, false, 0o744}, {"a-w", 0o666, false, 0o444}, {"go=", 0o755, false, 0o700}, {"u=rwX,g=rX,o=", 0o644, false, 0o640}, {"u=rwX,g=rX,o=", 0o744, false, 0o750},
		{"a+X", 0o600, true, 0o711}, {"u+s,g+s,o+t", 0o755, false, 0o7755}, {"u=g", 0o750, false, 0o550}, {"o+u", 0o700, false, 0o707}, {"+x", 0o644, false, 0o755}, {"u=rw", 0o4755, false, 0o655}, {"u+r-x", 0o300, false, 0o600},
	} {
		m, err := tasks.ParseMode(c.mode)
		if err != nil {
			t.Errorf("%q: %v", c.mode, err)
			continue
		}
		if got := m.Apply(c.old, c.dir, 0o022); got != c.want {
			t.Errorf("%q on %o (folder %v) is %o, want %o", c.mode, c.old, c.dir, got, c.want)
		}
	}
	for _, bad := range []string{"u+q", "z+r", "rwx", "9"} {
		if _, err := tasks.ParseMode(bad); err == nil {
			t.Errorf("%q is taken as a mode", bad)
		}
	}
}

func TestErrorCrossesTheWire(t *testing.T) {
	cause := &tasks.Error{Kind: tasks.Denied, Op: "write /etc/x", Detail: "it is read only", Err: errors.New("EROFS")}
	raw, err := json.Marshal(cause)
	if err != nil {
		t.Fatal(err)
	}
	var got tasks.Error
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if got.Error() != "cannot write /etc/x: it is read only: EROFS" || tasks.KindOf(&got) != tasks.Denied {
		t.Errorf("have %q, kind %s", got.Error(), got.Kind)
	}
}

func TestLookup(t *testing.T) {
	set := tasks.Set{"copy": func() tasks.Module { return &sample{} }}
	for name, want := range map[string]bool{"copy": true, "ansible.builtin.copy": true, "ansible.legacy.copy": true, "my.own.copy": false, "coppy": false} {
		if _, ok := set.Lookup(name); ok != want {
			t.Errorf("Lookup(%q) is %v", name, ok)
		}
	}
}

type panics struct{}

func (*panics) Run(context.Context, *tasks.Sys) (tasks.Result, error) { panic("oh") }

func TestRunCatchesPanics(t *testing.T) {
	r := tasks.Run(context.Background(), &panics{}, tasks.NewSys(tasks.Options{}))
	if !r.Failed || r.Kind != tasks.Internal || !strings.Contains(r.Msg, "oh") {
		t.Errorf("have %+v", r)
	}
}

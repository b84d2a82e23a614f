package runner

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/runner/action"
	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/tasks"
)

func keeping(secrets ...string) *play {
	p := &play{run: &run{mask: &event.Mask{}}}
	p.mask.Add(secrets...)
	return p
}

func readBack(t *testing.T, raw json.RawMessage) kept {
	t.Helper()
	var k kept
	if err := json.Unmarshal(raw, &k); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return k
}

// TestKeptReadsBackTheSame compares the registered variable and all that is applied to variables before and after the store.
func TestKeptReadsBackTheSame(t *testing.T) {
	item := result{Result: tasks.Result{Changed: true, Values: map[string]any{"rc": 0, "mtime": 5.0, "list": []any{"a", map[string]any{"b": nil}}}},
		loop: value.NewDict("item", value.NewDict("z", 1, "a", 2.0), "ansible_loop_var", "item"), label: "x", via: "other"}
	for name, r := range map[string]result{
		"a module":  {Result: tasks.Result{Changed: true, Msg: "done", Values: map[string]any{"stdout": "a\n\"b\" <c>", "rc": 0}, Facts: map[string]any{"n": 1.0}, Warnings: []string{"w"}}},
		"set_fact":  {facts: value.NewDict("z", []any{1, "1", 1.0, true, nil}, "a", value.NewDict()), keep: true},
		"a loop":    joined([]result{item, skipped()}),
		"add_host":  {join: &action.Join{Host: "h", Groups: []string{"g"}, Vars: value.NewDict("b", 1, "a", 2)}},
		"a failure": {Result: tasks.Result{Failed: true, Kind: tasks.Unreachable, Msg: "gone"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := readBack(t, keeping().keepResult(outcome{result: r}, false)).result()
			for what, pair := range map[string][2]any{
				"registered": {got.vars(), r.vars()}, "facts": {got.facts, r.facts}, "gathered": {got.Facts, r.Facts}, "join": {got.join, r.join},
				"status": {got.status(), r.status()}, "keep": {got.keep, r.keep}, "items": {len(got.items), len(r.items)},
			} {
				if !reflect.DeepEqual(pair[0], pair[1]) {
					t.Errorf("%s is %#v, was %#v", what, pair[0], pair[1])
				}
			}
		})
	}
}

// TestKeptHidesSecrets keeps of a result with a secret only how it ended.
func TestKeptHidesSecrets(t *testing.T) {
	secret := "pass\"word\n<1>"
	r := result{Result: tasks.Result{Changed: true, Values: map[string]any{"stdout": "it is " + secret}}}
	for name, o := range map[string]outcome{"masked": {result: r}, "no_log": {result: r, hidden: true}} {
		raw := keeping(secret).keepResult(o, true)
		k := readBack(t, raw)
		if strings.Contains(string(raw), "word") || !k.Hidden || !k.Needed || !k.Result.Changed {
			t.Errorf("%s: %s", name, raw)
		}
	}
	if k := readBack(t, keeping().keepResult(outcome{result: r, hidden: true}, false)); k.Needed {
		t.Error("a result that nobody registered is needed by nobody")
	}
	if k := readBack(t, keeping().keepResult(outcome{result: result{facts: value.NewDict("at", time.Now())}}, false)); !k.Hidden || !k.Needed {
		t.Error("a fact that JSON cannot say must be found out again")
	}
}

package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// Module is one kind of work on a machine. Its exported fields with an `arg` tag are its arguments.
type Module interface {
	// Run brings the machine behind sys to the described state. It alters only through sys; in check mode sys alters
	// nothing and Run says what it would have done. A Module value is used for one Run.
	Run(ctx context.Context, sys *Sys) (Result, error)
}

// Set is a choice of modules by their short name ("copy").
type Set map[string]func() Module

// Lookup finds a module by its short name or as ansible.builtin.<name>, ansible.legacy.<name> or one of the collections
// whose modules are part of the builtin breadth (ansible.posix, community.general, community.crypto, kubernetes.core).
func (s Set) Lookup(name string) (func() Module, bool) {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		switch name[:i] {
		case "ansible.builtin", "ansible.legacy", "ansible.posix", "community.general", "community.crypto", "kubernetes.core":
			name = name[i+1:]
		default:
			return nil, false
		}
	}
	make, ok := s[name]
	return make, ok
}

// Names are the short names, sorted.
func (s Set) Names() []string { return slices.Sorted(maps.Keys(s)) }

// Merge adds the modules of others; a later set wins.
func (s Set) Merge(others ...Set) Set {
	out := maps.Clone(s)
	for _, o := range others {
		maps.Copy(out, o)
	}
	return out
}

// Invocation is a module with its rendered arguments: an undo step of a command, or a handler to fire again.
type Invocation struct {
	Module  string            `json:"module"`
	Args    map[string]any    `json:"args,omitempty"`
	Env     map[string]string `json:"env,omitempty"`
	Timeout time.Duration     `json:"timeout,omitempty"` // none when 0
	NoLog   bool              `json:"no_log,omitempty"`  // nobody is told what it was called with, nor what it said
}

// Result is what a module answers: JSON on the wire, and the value of the registered variable (Vars).
type Result struct {
	Changed      bool           `json:"changed"`
	Failed       bool           `json:"failed,omitempty"`
	Msg          string         `json:"msg,omitempty"`
	Kind         Kind           `json:"kind,omitempty"` // why it failed; empty when it did not, or failed with values of its own (a command's rc)
	Skipped      bool           `json:"skipped,omitempty"`
	Values       map[string]any `json:"values,omitempty"` // further returned values under Ansible's names
	Facts        map[string]any `json:"facts,omitempty"`  // ansible_facts
	Diff         []Diff         `json:"diff,omitempty"`
	Warnings     []string       `json:"warnings,omitempty"`
	Deprecations []string       `json:"deprecations,omitempty"`
}

// Diff shows one alteration. Before and After are texts, or maps for states that are not text (as Ansible's file module gives).
type Diff struct {
	Before       any    `json:"before,omitempty"`
	After        any    `json:"after,omitempty"`
	BeforeHeader string `json:"before_header,omitempty"`
	AfterHeader  string `json:"after_header,omitempty"`
	Prepared     string `json:"prepared,omitempty"` // text that is a diff already
	Note         string `json:"note,omitempty"`     // why there is no text: binary, or too large
}

// Set puts a returned value under Ansible's name.
func (r *Result) Set(name string, v any) {
	if r.Values == nil {
		r.Values = map[string]any{}
	}
	r.Values[name] = v
}

// Vars is the registered variable: changed, failed, msg and the returned values in one map, under Ansible's names.
func (r Result) Vars() map[string]any {
	m := make(map[string]any, len(r.Values)+6)
	maps.Copy(m, r.Values)
	m["changed"], m["failed"] = r.Changed, r.Failed
	if r.Msg != "" {
		m["msg"] = r.Msg
	}
	if r.Skipped {
		m["skipped"] = true
	}
	if len(r.Facts) > 0 {
		m["ansible_facts"] = r.Facts
	}
	if len(r.Diff) > 0 {
		m["diff"] = diffVars(r.Diff)
	}
	if len(r.Warnings) > 0 {
		m["warnings"] = r.Warnings
	}
	if len(r.Deprecations) > 0 {
		m["deprecations"] = r.Deprecations
	}
	return m
}

func diffVars(diffs []Diff) []any {
	out := make([]any, len(diffs))
	for i, d := range diffs {
		raw, _ := json.Marshal(d) // strings and maps of strings always marshal
		var m map[string]any
		_ = json.Unmarshal(raw, &m)
		out[i] = m
	}
	return out
}

// Run runs m once behind sys and turns whatever comes back into a Result: errors become Failed with Msg and Kind, a panic
// becomes an Internal failure with its stack, and the warnings and diffs that sys gathered are added.
func Run(ctx context.Context, m Module, sys *Sys) (r Result) {
	defer func() {
		if p := recover(); p != nil {
			if cut, ok := p.(Cut); ok {
				panic(cut)
			}
			r = Failure(&Error{Kind: Internal, Op: "run the module", Detail: fmt.Sprintf("%v\n%s", p, debug.Stack())})
		}
		sys.finish(&r)
	}()
	r, err := m.Run(ctx, sys)
	sys.commandsEnded(ctx)
	if err == nil {
		return r
	}
	if ctx.Err() != nil && !errors.As(err, new(*Error)) {
		err = &Error{Kind: Canceled, Op: "finish the task", Err: context.Cause(ctx)}
	}
	f := Failure(err)
	f.Changed, f.Values, f.Facts, f.Diff, f.Warnings = r.Changed, r.Values, r.Facts, r.Diff, r.Warnings
	if r.Msg != "" && f.Msg == "" {
		f.Msg = r.Msg
	}
	return f
}

// Failure is the result of a module that could not do its work.
func Failure(err error) Result {
	r := Result{Failed: true, Msg: err.Error(), Kind: Failed}
	var e *Error
	if errors.As(err, &e) && e.Kind != "" {
		r.Kind = e.Kind
	}
	return r
}

package tasks

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"sort"
	"strings"

	"github.com/calroll/calroll/playbooks/source"
)

// ArgError is one mistake in a task's arguments. The caller knows where the argument stands.
type ArgError struct {
	Arg  string `json:"arg"` // dotted path ("headers.0.name"); "" for the arguments as a whole
	Msg  string `json:"msg"`
	Hint string `json:"hint,omitempty"`
}

// Error is the message with the argument's name.
func (e ArgError) Error() string {
	msg := e.Msg
	if e.Arg != "" {
		msg = e.Arg + ": " + msg
	}
	if e.Hint != "" {
		msg += " (" + e.Hint + ")"
	}
	return msg
}

// Decode makes a module from rendered arguments, with Ansible's coercions ("yes" is true, "5" is 5, "a,b" is a list of two),
// its defaults, and all mistakes at once. The module is nil when there are mistakes.
func (s *Spec) Decode(args map[string]any) (Module, []ArgError) {
	given, errs := s.resolve(args)
	v := reflect.New(s.typ)
	for _, a := range s.Args {
		val, ok := given[a.Name]
		if (!ok || val == nil) && a.Default != "" {
			val, ok = a.Default, true
		}
		if !ok || val == nil {
			continue
		}
		if err := coerce(v.Elem().FieldByIndex(a.index), val); err != nil {
			errs = append(errs, ArgError{Arg: a.Name, Msg: err.Error()})
		} else if e := a.checkChoice(val); e != nil {
			errs = append(errs, *e)
		}
	}
	errs = append(errs, s.checkRequired(given, nil)...)
	if len(errs) > 0 {
		return nil, sorted(errs)
	}
	return v.Interface().(Module), nil
}

// CheckStatic finds the mistakes of arguments that are not rendered yet: values for which isTemplate is true could become
// anything of any type, so only their names are judged.
func (s *Spec) CheckStatic(args map[string]any, isTemplate func(any) bool) []ArgError {
	given, errs := s.resolve(args)
	for name := range args {
		if a := s.byName[name]; a != nil && a.Internal() && name != "_raw_params" {
			errs = append(errs, s.unknown(name))
		}
	}
	for _, a := range s.Args {
		val, ok := given[a.Name]
		if !ok || val == nil || hasTemplate(val, isTemplate) {
			continue
		}
		if err := coerce(reflect.New(s.typ).Elem().FieldByIndex(a.index), val); err != nil {
			errs = append(errs, ArgError{Arg: a.Name, Msg: err.Error()})
		} else if e := a.checkChoice(val); e != nil {
			errs = append(errs, *e)
		}
	}
	return sorted(append(errs, s.checkRequired(given, isTemplate)...))
}

// resolve gives each argument its proper name.
func (s *Spec) resolve(args map[string]any) (map[string]any, []ArgError) {
	given := make(map[string]any, len(args))
	var errs []ArgError
	for _, name := range sortedKeys(args) {
		proper := name
		if name == "_raw_params" && s.FreeForm != "" {
			proper = s.FreeForm
		}
		a := s.byName[proper]
		if a == nil {
			if !s.Rules.Open {
				errs = append(errs, s.unknown(name))
			}
			continue
		}
		if _, twice := given[a.Name]; twice && name != a.Name {
			continue // the name itself wins over an alias, as in Ansible
		}
		given[a.Name] = args[name]
	}
	if any := s.byName["*"]; any != nil && s.Rules.Open {
		given["*"] = s.rest(args)
	}
	return given, errs
}

func (s *Spec) rest(args map[string]any) map[string]any {
	rest := map[string]any{}
	for k, v := range args {
		if s.byName[k] == nil {
			rest[k] = v
		}
	}
	return rest
}

func (s *Spec) unknown(name string) ArgError {
	if name == "_raw_params" {
		return ArgError{Msg: "this module takes no free text, only arguments", Hint: "known: " + strings.Join(s.Names(), ", ")}
	}
	e := ArgError{Arg: name, Msg: "no argument has this name"}
	if near := source.Nearest(name, s.Names()); near != "" {
		e.Hint = fmt.Sprintf("did you mean %q?", near)
	} else {
		e.Hint = "known: " + strings.Join(s.Names(), ", ")
	}
	return e
}

func (a *Arg) checkChoice(val any) *ArgError {
	if len(a.Choices) == 0 {
		return nil
	}
	vals := []any{val}
	if a.Type == "list" {
		vals = listOf(val)
	}
	for _, v := range vals {
		text := scalarText(v)
		if b, ok := v.(bool); ok { // a playbook's yes may stand for a choice that is spelled so
			text = boolChoice(b, a.Choices)
		}
		if !slices.Contains(a.Choices, text) {
			e := ArgError{Arg: a.Name, Msg: fmt.Sprintf("must be one of %s, not %s", strings.Join(a.Choices, ", "), text)}
			if near := source.Nearest(text, a.Choices); near != "" {
				e.Hint = fmt.Sprintf("did you mean %q?", near)
			}
			return &e
		}
	}
	return nil
}

func boolChoice(b bool, choices []string) string {
	words := []string{"no", "false", "off", "False"}
	if b {
		words = []string{"yes", "true", "on", "True"}
	}
	for _, w := range words {
		if slices.Contains(choices, w) {
			return w
		}
	}
	return scalarText(b)
}

// checkRequired applies required and the rules. With isTemplate, conditions on values that are not rendered yet are left out.
func (s *Spec) checkRequired(given map[string]any, isTemplate func(any) bool) []ArgError {
	var errs []ArgError
	has := func(name string) bool { v, ok := given[name]; return ok && v != nil }
	sure := func(name string) bool { return has(name) && (isTemplate == nil || !isTemplate(given[name])) } // a template may be omitted
	for _, a := range s.Args {
		if a.Required && !has(a.Name) {
			errs = append(errs, ArgError{Arg: a.Name, Msg: "is required"})
		}
	}
	for _, group := range s.Rules.MutuallyExclusive {
		if n := count(group, sure); n > 1 {
			errs = append(errs, ArgError{Msg: "only one may be given of " + strings.Join(group, ", ")})
		}
	}
	for _, group := range s.Rules.RequiredOneOf {
		if count(group, has) == 0 {
			errs = append(errs, ArgError{Msg: "one is required of " + public(group)})
		}
	}
	for _, group := range s.Rules.RequiredTogether {
		if n := count(group, has); n > 0 && n < len(group) {
			errs = append(errs, ArgError{Msg: "must be given together: " + strings.Join(group, ", ")})
		}
	}
	for name, needs := range s.Rules.RequiredBy {
		if has(name) && count(needs, has) < len(needs) {
			errs = append(errs, ArgError{Arg: name, Msg: "needs " + strings.Join(needs, ", ") + " too"})
		}
	}
	for _, r := range s.Rules.RequiredIf {
		if e := s.checkRequiredIf(r, given, has, isTemplate); e != nil {
			errs = append(errs, *e)
		}
	}
	return errs
}

func (s *Spec) checkRequiredIf(r RequiredIf, given map[string]any, has func(string) bool, isTemplate func(any) bool) *ArgError {
	val, ok := given[r.Arg]
	if isTemplate != nil && hasTemplate(val, isTemplate) {
		return nil
	}
	text := scalarText(val)
	if !ok || val == nil {
		text = s.byName[r.Arg].Default
	}
	n := count(r.Need, has)
	if text != r.Value || n == len(r.Need) || r.AnyOf && n > 0 {
		return nil
	}
	which := "all"
	if r.AnyOf {
		which = "one"
	}
	return &ArgError{Arg: r.Arg, Msg: fmt.Sprintf("%s=%s requires %s of %s", r.Arg, r.Value, which, strings.Join(r.Need, ", "))}
}

// public are the names that a playbook may use, for a message.
func public(names []string) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(names), func(n string) bool { return strings.HasPrefix(n, "_") }), ", ")
}

func count(names []string, has func(string) bool) (n int) {
	for _, name := range names {
		if has(name) {
			n++
		}
	}
	return n
}

func hasTemplate(v any, isTemplate func(any) bool) bool {
	if isTemplate == nil {
		return false
	}
	if isTemplate(v) {
		return true
	}
	switch v := v.(type) {
	case []any:
		return slices.ContainsFunc(v, func(e any) bool { return hasTemplate(e, isTemplate) })
	case map[string]any:
		for _, e := range v {
			if hasTemplate(e, isTemplate) {
				return true
			}
		}
	}
	return false
}

func sorted(errs []ArgError) []ArgError {
	sort.SliceStable(errs, func(i, j int) bool { return errs[i].Arg < errs[j].Arg })
	return errs
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// JoinArgErrors is one error for all mistakes, nil for none.
func JoinArgErrors(module string, errs []ArgError) error {
	if len(errs) == 0 {
		return nil
	}
	texts := make([]string, len(errs))
	for i, e := range errs {
		texts[i] = e.Error()
	}
	return &Error{Kind: Failed, Op: "use the arguments of " + module, Detail: strings.Join(texts, "; ")}
}

// jsonText is v as JSON, for values that a string argument was given (Ansible writes a dictionary so).
func jsonText(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(raw)
}

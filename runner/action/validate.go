package action

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/tasks"
)

type validateArgs struct {
	onController
	ArgumentSpec      map[string]any `arg:"argument_spec,required" doc:"the options, as in meta/argument_specs.yml"`
	ProvidedArguments map[string]any `arg:"provided_arguments" doc:"values to check instead of the variables"`
	Context           map[string]any `arg:"validate_args_context" doc:"whose spec it is, for the result"`
}

// validateArgumentSpec checks a role's variables against its argument spec, all mistakes at once.
func validateArgumentSpec(_ context.Context, c *Call) (Answer, error) {
	args, err := decode(c, &validateArgs{})
	if err != nil {
		return Answer{}, err
	}
	given, err := c.given(args)
	if err != nil {
		return Answer{}, err
	}
	var r tasks.Result
	r.Set("validate_args_context", args.Context)
	mistakes := append(checkOptions(args.ArgumentSpec, given, nil), checkUnknown(args.ArgumentSpec, given, nil)...)
	if len(mistakes) == 0 {
		r.Set("msg", "The arg spec validation passed")
		return Answer{Result: r}, nil
	}
	r.Failed = true
	r.Msg = "Validation of arguments failed:\n" + strings.Join(mistakes, "\n")
	r.Set("argument_errors", mistakes)
	r.Set("argument_spec_data", args.ArgumentSpec)
	return Answer{Result: r}, nil
}

// given are the values of the variables that the spec names, and those handed to the task.
func (c *Call) given(args *validateArgs) (map[string]any, error) {
	given := map[string]any{}
	for name := range args.ArgumentSpec {
		if v, ok := args.ProvidedArguments[name]; ok {
			given[name] = v
			continue
		}
		defined, err := c.Scope.Condition(name+" is defined", c.Task.Pos)
		if err != nil || !defined {
			continue // a name that is no identifier cannot be a variable either
		}
		v, err := c.Scope.Evaluate(name, c.Task.Pos)
		if err != nil {
			return nil, err
		}
		given[name] = value.ToGo(v)
	}
	return given, nil
}

// checkOptions compares values with a spec: first what is missing, then types, choices, and what is inside; path leads to them in messages.
func checkOptions(spec, given map[string]any, path []string) []string {
	var missing, types, choices, inside []string
	for _, name := range sortedNames(spec) {
		option, _ := spec[name].(map[string]any)
		v, ok := given[name]
		if !ok || v == nil {
			if required, _ := option["required"].(bool); required {
				missing = append(missing, name)
			}
			continue
		}
		if mistake := checkType(name, option, v, path); mistake != "" {
			types = append(types, mistake)
			continue
		}
		if mistake := checkChoices(name, option, v, path); mistake != "" {
			choices = append(choices, mistake)
		}
		inside = append(inside, checkInside(name, option, v, path)...)
	}
	var mistakes []string
	if len(missing) > 0 {
		mistakes = append(mistakes, "missing required arguments: "+strings.Join(missing, ", ")+foundIn(path))
	}
	return slices.Concat(mistakes, types, choices, inside)
}

func sortedNames(m map[string]any) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func foundIn(path []string) string {
	if len(path) == 0 {
		return ""
	}
	return " found in " + strings.Join(path, " -> ")
}

func checkType(name string, option map[string]any, v any, path []string) string {
	kind := kindOf(option, "type", "str")
	if !hasType(kind, v) {
		return fmt.Sprintf("argument '%s' is of type %s%s and we were unable to convert to %s", name, typeName(v), foundIn(path), kind)
	}
	element := kindOf(option, "elements", "")
	if element == "" {
		return ""
	}
	for _, e := range elements(v) {
		if !hasType(element, e) {
			return fmt.Sprintf("Elements value for option '%s'%s is of type %s and we were unable to convert to %s", name, foundIn(path), typeName(e), element)
		}
	}
	return ""
}

func kindOf(option map[string]any, key, unset string) string {
	if kind, _ := option[key].(string); kind != "" {
		return kind
	}
	return unset
}

// elements are those of a list; anything else is a list of itself, but for a text with commas.
func elements(v any) []any {
	switch v := v.(type) {
	case []any:
		return v
	case string:
		var list []any
		for _, e := range strings.Split(v, ",") {
			list = append(list, e)
		}
		return list
	}
	return []any{v}
}

// typeName is what a user of playbooks calls the type of a value.
func typeName(v any) string {
	switch v.(type) {
	case map[string]any:
		return "dict"
	case []any:
		return "list"
	case string:
		return "str"
	case float64:
		return "float"
	}
	return fmt.Sprintf("%T", v)
}

func checkChoices(name string, option map[string]any, v any, path []string) string {
	choices, ok := option["choices"].([]any)
	if !ok {
		return ""
	}
	among := func(e any) bool {
		return slices.ContainsFunc(choices, func(c any) bool { return fmt.Sprint(c) == fmt.Sprint(e) })
	}
	list, isList := v.([]any)
	if !isList {
		if among(v) {
			return ""
		}
		return fmt.Sprintf("value of %s must be one of: %s, got: %v%s", name, joinAny(choices), v, foundIn(path))
	}
	if wrong := slices.DeleteFunc(slices.Clone(list), among); len(wrong) > 0 {
		return fmt.Sprintf("value of %s must be one or more of: %s. Got no match for: %s%s", name, joinAny(choices), joinAny(wrong), foundIn(path))
	}
	return ""
}

// checkInside checks a dict, or each of a list of dicts, whose options are specified.
func checkInside(name string, option map[string]any, v any, path []string) []string {
	spec, ok := option["options"].(map[string]any)
	if !ok {
		return nil
	}
	var mistakes []string
	for _, given := range dicts(v) {
		mistakes = append(mistakes, checkOptions(spec, given, append(path[:len(path):len(path)], name))...)
	}
	return mistakes
}

// checkUnknown finds keys that the specs of inner options do not know.
func checkUnknown(spec, given map[string]any, path []string) []string {
	var mistakes, unknown []string
	for _, name := range sortedNames(given) {
		inner := slices.Concat(path, []string{name})
		option, known := spec[name].(map[string]any)
		if !known {
			unknown = append(unknown, strings.Join(inner, "."))
		} else if options, ok := option["options"].(map[string]any); ok {
			for _, d := range dicts(given[name]) {
				mistakes = append(mistakes, checkUnknown(options, d, inner)...)
			}
		}
	}
	if len(unknown) > 0 {
		mistakes = append(mistakes, fmt.Sprintf("%s. Supported parameters include: %s.", strings.Join(unknown, ", "), strings.Join(sortedNames(spec), ", ")))
	}
	return mistakes
}

// dicts are the dicts that v is, or is a list of.
func dicts(v any) []map[string]any {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var out []map[string]any
	for _, e := range list {
		if d, ok := e.(map[string]any); ok {
			out = append(out, d)
		}
	}
	return out
}

func joinAny(list []any) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = fmt.Sprint(v)
	}
	return strings.Join(texts, ", ")
}

// hasType tells whether a value is of a type, or of one that Ansible converts to it.
func hasType(kind string, v any) bool {
	switch kind {
	case "bool":
		_, err := boolArg(map[string]any{"v": v}, "v")
		_, text := v.(string)
		_, is := v.(bool)
		return is || text && err == nil || v == 0 || v == 1
	case "int":
		if s, ok := v.(string); ok {
			_, err := fmt.Sscanf(s, "%d", new(int))
			return err == nil
		}
		_, is := v.(int)
		return is
	case "float":
		if s, ok := v.(string); ok {
			_, err := fmt.Sscanf(s, "%g", new(float64))
			return err == nil
		}
		_, isInt := v.(int)
		_, isFloat := v.(float64)
		return isInt || isFloat
	case "list":
		_, isMap := v.(map[string]any)
		return !isMap
	case "dict":
		_, isMap := v.(map[string]any)
		return isMap
	case "str", "path":
		switch v.(type) {
		case map[string]any, []any:
			return false
		}
	}
	return true
}

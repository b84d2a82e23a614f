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
	mistakes := checkOptions(args.ArgumentSpec, given, "")
	if len(mistakes) == 0 {
		r.Set("msg", "The arg spec validation passed")
		return Answer{Result: r}, nil
	}
	r.Failed = true
	r.Msg = "Validation of arguments failed:\n" + strings.Join(mistakes, "\n")
	r.Set("argument_errors", mistakes)
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

// checkOptions compares values with a spec; path leads to them in messages.
func checkOptions(spec, given map[string]any, path string) []string {
	var mistakes, missing []string
	for _, name := range sortedNames(spec) {
		option, _ := spec[name].(map[string]any)
		v, ok := given[name]
		if !ok || v == nil {
			if required, _ := option["required"].(bool); required {
				missing = append(missing, name)
			}
			continue
		}
		mistakes = append(mistakes, checkOption(name, option, v, path)...)
	}
	if len(missing) > 0 {
		mistakes = append(mistakes, "missing required arguments: "+strings.Join(missing, ", ")+foundIn(path))
	}
	return mistakes
}

func sortedNames(m map[string]any) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func foundIn(path string) string {
	if path == "" {
		return ""
	}
	return " found in " + path
}

func checkOption(name string, option map[string]any, v any, path string) []string {
	kind, _ := option["type"].(string)
	if kind == "" {
		kind = "str"
	}
	if !hasType(kind, v) {
		return []string{fmt.Sprintf("argument '%s' is of type %T and we were unable to convert to %s%s", name, v, kind, foundIn(path))}
	}
	elements := []any{v}
	if list, ok := v.([]any); ok {
		elements = list
	}
	var mistakes []string
	for _, e := range elements {
		mistakes = append(mistakes, checkElement(name, option, e, path)...)
	}
	return mistakes
}

func checkElement(name string, option map[string]any, e any, path string) []string {
	if kind, _ := option["elements"].(string); kind != "" && !hasType(kind, e) {
		return []string{fmt.Sprintf("Elements value for option '%s'%s is of type %T and we were unable to convert to %s", name, foundIn(path), e, kind)}
	}
	if choices, ok := option["choices"].([]any); ok && !slices.ContainsFunc(choices, func(c any) bool { return fmt.Sprint(c) == fmt.Sprint(e) }) {
		return []string{fmt.Sprintf("value of %s must be one of: %s, got: %v%s", name, joinAny(choices), e, foundIn(path))}
	}
	options, _ := option["options"].(map[string]any)
	inner, ok := e.(map[string]any)
	if options == nil || !ok {
		return nil
	}
	return checkOptions(options, inner, strings.TrimPrefix(path+" -> "+name, " -> "))
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

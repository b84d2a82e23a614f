// Package argv is the arguments of programs as they are written down: words in a text, variables of units and their files, lists in the
// manifests of static pods. Everything here edits texts and leaves every byte that it need not touch as it is; nothing reads or writes files.
//
//	argv.go  flags, and what they are in a list of words
//	text.go  a text of words: a command line, the value of a variable
//	unit.go  unit files and environment files of systemd
//	toml.go  tables of TOML files
//	pod.go   the command of a static pod's container
package argv

import (
	"fmt"
	"slices"
	"strings"
)

// Flag is a long flag and its value. The names have no dashes.
type Flag struct{ Name, Value string }

// String is the flag as one word.
func (f Flag) String() string { return "--" + f.Name + "=" + f.Value }

// Change says what shall become of flags.
type Change struct {
	Set    []Flag   // in the order in which missing ones are added
	Merge  []string // names whose values are lists with commas: the elements of Set are added to them
	Remove []string // names
}

// at is a flag among words: its own word, and the next one if its value is there.
type at struct {
	Flag
	first, last int
}

// scan finds the flags of words. A word that follows a flag without = is its value unless it begins with a dash.
func scan(words []string) []at {
	var out []at
	for i := 0; i < len(words); i++ {
		body, ok := strings.CutPrefix(words[i], "--")
		if !ok || body == "" {
			continue
		}
		name, value, hasValue := strings.Cut(body, "=")
		f := at{Flag{name, value}, i, i}
		switch {
		case hasValue:
		case i+1 < len(words) && !strings.HasPrefix(words[i+1], "-") && !strings.HasPrefix(words[i+1], "$"):
			i++
			f.Value, f.last = words[i], i
		default:
			f.Value = "true" // a switch
		}
		out = append(out, f)
	}
	return out
}

// Flags are the flags of a program's arguments. Of a flag that is given twice the last counts, as for Kubernetes' programs.
func Flags(words []string) map[string]string {
	out := map[string]string{}
	for _, f := range scan(words) {
		out[f.Name] = f.Value
	}
	return out
}

// Merged is a list with commas, with those elements of more that it lacks at its end.
func Merged(have, more string) string {
	list := split(have)
	for _, e := range split(more) {
		if !slices.Contains(list, e) {
			list = append(list, e)
		}
	}
	return strings.Join(list, ",")
}

// Without is a list with commas less the elements of another.
func Without(have, less string) string {
	gone := split(less)
	return strings.Join(slices.DeleteFunc(split(have), func(e string) bool { return slices.Contains(gone, e) }), ",")
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

// ParseFlags reads flags from a dictionary of names and values (a list is joined with commas), in the order of the names, or from a list of
// texts like name=value, in its order. A name may have its dashes.
func ParseFlags(v any) ([]Flag, error) {
	switch v := v.(type) {
	case map[string]any:
		var out []Flag
		for name, value := range v {
			text, err := flagText(value)
			if err != nil {
				return nil, fmt.Errorf("the flag %s: %w", name, err)
			}
			out = append(out, Flag{strings.TrimLeft(name, "-"), text})
		}
		slices.SortFunc(out, func(a, b Flag) int { return strings.Compare(a.Name, b.Name) })
		return out, nil
	case []any:
		var out []Flag
		for _, e := range v {
			text, ok := e.(string)
			if !ok {
				return nil, fmt.Errorf("a flag in a list is a text like name=value, not %v", e)
			}
			name, value, has := strings.Cut(strings.TrimLeft(text, "-"), "=")
			if !has {
				value = "true"
			}
			out = append(out, Flag{name, value})
		}
		return out, nil
	}
	return nil, fmt.Errorf("flags are a dictionary or a list, not %v", v)
}

func flagText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case nil:
		return "", nil
	case bool, int, int64, float64, fmt.Stringer:
		return fmt.Sprint(v), nil
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			text, err := flagText(e)
			if err != nil {
				return "", err
			}
			parts[i] = text
		}
		return strings.Join(parts, ","), nil
	}
	return "", fmt.Errorf("a value is a scalar or a list, not %v", v)
}

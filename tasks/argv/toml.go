package argv

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Settings are keys of one table of a TOML file with their values: texts and lists of texts; nil for a key that shall not be there.
type Settings map[string]any

// EditTOML gives keys of a table their values and leaves every other byte as it is. The table is named by its keys from the top. What it cannot
// edit so (dotted keys, tables in braces) is an error.
func EditTOML(text string, table []string, want Settings) (string, error) {
	before := map[string]any{}
	if err := toml.Unmarshal([]byte(text), &before); err != nil {
		return "", err
	}
	lines := strings.SplitAfter(text, "\n")
	start := slices.IndexFunc(lines, func(line string) bool { return slices.Equal(header(line), table) })
	if start < 0 {
		lines = addTable(lines, table)
		start = len(lines) - 1
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		lines = setLine(lines, start, key, want[key])
	}
	out := strings.Join(lines, "")
	after := map[string]any{}
	if err := toml.Unmarshal([]byte(out), &after); err != nil {
		return "", fmt.Errorf("the result would not be readable: %w", err)
	}
	t := Table(before, table)
	for key, v := range want {
		if v == nil {
			delete(t, key)
		} else {
			t[key] = plain(v)
		}
	}
	if !reflect.DeepEqual(before, after) {
		return "", fmt.Errorf("[%s] is written in a form that is not edited; write it as a table of its own", strings.Join(table, "."))
	}
	return out, nil
}

// Table is a table inside another; it is made where it is missing.
func Table(at map[string]any, table []string) map[string]any {
	for _, key := range table {
		next, ok := at[key].(map[string]any)
		if !ok {
			next = map[string]any{}
			at[key] = next
		}
		at = next
	}
	return at
}

func plain(v any) any {
	list, ok := v.([]string)
	if !ok {
		return v
	}
	out := make([]any, len(list))
	for i := range list {
		out[i] = list[i]
	}
	return out
}

// header is the name of the table that a line begins; nil for other lines.
func header(line string) []string {
	line = strings.TrimSpace(line)
	if !strings.HasPrefix(line, "[") || strings.HasPrefix(line, "[[") {
		return nil
	}
	doc := map[string]any{}
	if toml.Unmarshal([]byte(line), &doc) != nil {
		return nil
	}
	var path []string
	for len(doc) == 1 {
		for key, v := range doc {
			path = append(path, key)
			doc, _ = v.(map[string]any)
		}
	}
	return path
}

func addTable(lines []string, table []string) []string {
	if last := len(lines) - 1; lines[last] == "" {
		lines = lines[:last]
	} else {
		lines[last] += "\n"
	}
	quoted := make([]string, len(table))
	for i, key := range table {
		quoted[i] = key
		if strings.ContainsAny(key, ". /") {
			quoted[i] = fmt.Sprintf("%q", key)
		}
	}
	if len(lines) > 0 {
		lines = append(lines, "\n")
	}
	return append(lines, "["+strings.Join(quoted, ".")+"]\n")
}

// setLine sets a key in the table that begins at start: in its line or lines, else in a new line at the table's head.
func setLine(lines []string, start int, key string, v any) []string {
	indent, known := "", false
	for i := start + 1; i < len(lines); i++ {
		trimmed := strings.TrimSpace(lines[i])
		if strings.HasPrefix(trimmed, "[") {
			break
		}
		name, _, ok := strings.Cut(trimmed, "=")
		if !ok || strings.HasPrefix(trimmed, "#") {
			continue
		}
		before, _, _ := strings.Cut(lines[i], trimmed)
		indent, known = before, true
		if strings.Trim(strings.TrimSpace(name), `"'`) != key {
			continue
		}
		end := i + 1
		for end < len(lines) && toml.Unmarshal([]byte(strings.Join(lines[i:end], "")), &map[string]any{}) != nil {
			end++ // a list over several lines
		}
		return slices.Replace(lines, i, end, newLine(indent, key, v, strings.Join(lines[i:end], ""))...)
	}
	if !known {
		head := lines[start]
		indent = head[:len(head)-len(strings.TrimLeft(head, " \t"))] + "  "
	}
	return slices.Insert(lines, start+1, newLine(indent, key, v, "")...)
}

func newLine(indent, key string, v any, old string) []string {
	if v == nil {
		return nil
	}
	have := map[string]any{}
	if toml.Unmarshal([]byte(old), &have) == nil && reflect.DeepEqual(have[key], plain(v)) {
		return []string{old}
	}
	text := fmt.Sprintf("%q", v)
	if list, ok := v.([]string); ok {
		parts := make([]string, len(list))
		for i := range list {
			parts[i] = fmt.Sprintf("%q", list[i])
		}
		text = "[" + strings.Join(parts, ", ") + "]"
	}
	return []string{indent + key + " = " + text + "\n"}
}

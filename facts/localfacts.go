package facts

import (
	"encoding/json"
	"strings"
)

// parseLocal reads a .fact file: JSON, else INI sections.
func parseLocal(text string) any {
	var v any
	if json.Unmarshal([]byte(text), &v) == nil {
		return v
	}
	sections := map[string]any{}
	var section map[string]any
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[' && strings.HasSuffix(line, "]"):
			section = map[string]any{}
			sections[line[1:len(line)-1]] = section
		case section == nil:
			return "error loading facts as JSON or ini - please check content"
		default:
			k, v, ok := strings.Cut(line, "=")
			if !ok {
				k, v, _ = strings.Cut(line, ":")
			}
			section[strings.ToLower(strings.TrimSpace(k))] = strings.TrimSpace(v)
		}
	}
	return sections
}

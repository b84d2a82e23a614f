package facts

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// localFacts are the files *.fact that somebody put on the host: JSON or INI, or programs that print one of these. What cannot be
// read becomes the fact itself, as under Ansible, and a warning.
func localFacts(ctx context.Context, h *host) map[string]any {
	files, _ := filepath.Glob(filepath.Join(h.path(h.factPath), "*.fact")) // the folder's name may hold a bad pattern: then none
	facts := map[string]any{}
	for _, file := range files {
		value, err := h.localFact(ctx, file)
		if err != nil {
			h.warn(err.Error())
			value = err.Error()
		}
		facts[strings.TrimSuffix(filepath.Base(file), ".fact")] = value
	}
	return map[string]any{"local": facts}
}

func (h *host) localFact(ctx context.Context, file string) (any, error) {
	st, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("Could not stat fact (%s): %w", file, err)
	}
	var text []byte
	if st.Mode()&0o100 != 0 {
		out, err := h.exec(ctx, file)
		if err != nil {
			return nil, fmt.Errorf("Could not execute fact script (%s): %w", file, err)
		}
		if out.Code != 0 {
			return nil, fmt.Errorf("Failure executing fact script (%s), rc: %d, err: %s", file, out.Code, out.Stderr)
		}
		text = out.Stdout
	} else if text, err = os.ReadFile(file); err != nil {
		return nil, fmt.Errorf("Could not read fact (%s): %w", file, err)
	}
	if v, err := parseJSON(text); err == nil {
		return v, nil
	}
	v, err := parseINI(string(text))
	if err != nil {
		return nil, fmt.Errorf("error loading facts as JSON or ini - please check content: %s", file)
	}
	return v, nil
}

// parseJSON keeps whole numbers whole.
func parseJSON(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, fmt.Errorf("there is more than one value")
	}
	return numbers(v), nil
}

func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64() // beyond its range it is infinite
		return f
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	}
	return v
}

// parseINI reads what Python's configparser reads: names in small letters, = or : before the value, further lines of a value
// indented, values of [DEFAULT] in every section, %(name)s filled in.
func parseINI(text string) (map[string]any, error) {
	sections, defaults := map[string]map[string]string{}, map[string]string{}
	var section map[string]string
	last := ""
	for line := range strings.Lines(text) {
		word := strings.TrimSpace(line)
		indented := line[0] == ' ' || line[0] == '\t'
		switch {
		case word == "" || word[0] == '#' || word[0] == ';':
		case indented && last != "":
			section[last] += "\n" + word
		case word[0] == '[' && strings.HasSuffix(word, "]"):
			name := word[1 : len(word)-1]
			section, last = defaults, ""
			if name != "DEFAULT" {
				section = map[string]string{}
				sections[name] = section
			}
		default:
			i := strings.IndexAny(word, "=:")
			if i < 1 || section == nil {
				return nil, fmt.Errorf("this is no name and value: %s", word)
			}
			last = strings.ToLower(strings.TrimSpace(word[:i]))
			section[last] = strings.TrimSpace(word[i+1:])
		}
	}
	out := map[string]any{}
	for name, own := range sections {
		values := map[string]any{}
		for _, from := range []map[string]string{defaults, own} {
			for k := range from {
				v, err := interpolate(from[k], own, defaults, 0)
				if err != nil {
					return nil, err
				}
				values[k] = v
			}
		}
		out[name] = values
	}
	return out, nil
}

var reference = regexp.MustCompile(`%\(([^)]*)\)s|%%`)

func interpolate(text string, own, defaults map[string]string, depth int) (string, error) {
	if depth > 10 {
		return "", fmt.Errorf("values refer to each other in a circle")
	}
	var failed error
	filled := reference.ReplaceAllStringFunc(text, func(ref string) string {
		if ref == "%%" {
			return "%"
		}
		name := strings.ToLower(ref[2 : len(ref)-2])
		v, ok := own[name]
		if !ok {
			v, ok = defaults[name]
		}
		if !ok {
			failed = fmt.Errorf("no value is named %s", name)
			return ""
		}
		v, err := interpolate(v, own, defaults, depth+1)
		if err != nil {
			failed = err
		}
		return v
	})
	return filled, failed
}

package tasks

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// coerce sets field from a rendered value as Ansible's argument specs do.
func coerce(field reflect.Value, val any) error {
	if field.Kind() == reflect.Pointer {
		field.Set(reflect.New(field.Type().Elem()))
		field = field.Elem()
	}
	switch p := field.Addr().Interface().(type) {
	case *Path:
		text, err := textOf(val)
		*p = Path(text)
		return err
	case *Mode:
		m, err := modeOf(val)
		*p = m
		return err
	case *Content:
		c, err := contentOf(val)
		*p = c
		return err
	}
	return coerceKind(field, val)
}

func coerceKind(field reflect.Value, val any) error {
	switch field.Kind() {
	case reflect.String:
		text, err := textOf(val)
		field.SetString(text)
		return err
	case reflect.Bool:
		b, err := boolOf(val)
		field.SetBool(b)
		return err
	case reflect.Int, reflect.Int64:
		n, err := intOf(val)
		field.SetInt(n)
		return err
	case reflect.Float64:
		f, err := floatOf(val)
		field.SetFloat(f)
		return err
	case reflect.Slice:
		return coerceList(field, val)
	case reflect.Map:
		return coerceDict(field, val)
	case reflect.Struct:
		return coerceStruct(field, val)
	default:
		field.Set(reflect.ValueOf(&val).Elem())
		return nil
	}
}

func coerceList(field reflect.Value, val any) error {
	vals := listOf(val)
	out := reflect.MakeSlice(field.Type(), len(vals), len(vals))
	for i, v := range vals {
		if err := coerce(out.Index(i), v); err != nil {
			return fmt.Errorf("element %d: %w", i, err)
		}
	}
	field.Set(out)
	return nil
}

// listOf is val as a list: a string with commas is many elements, any other scalar one.
func listOf(val any) []any {
	switch v := val.(type) {
	case []any:
		return v
	case []string:
		out := make([]any, len(v))
		for i := range v {
			out[i] = v[i]
		}
		return out
	case string:
		out := []any{}
		for s := range strings.SplitSeq(v, ",") {
			out = append(out, strings.TrimSpace(s))
		}
		return out
	}
	return []any{val}
}

func coerceDict(field reflect.Value, val any) error {
	var m map[string]any
	switch v := val.(type) {
	case map[string]any:
		m = v
	case string:
		var err error
		if m, err = dictOf(v); err != nil {
			return err
		}
	default:
		return fmt.Errorf("must be a dictionary, not %s", described(val))
	}
	out := reflect.MakeMapWithSize(field.Type(), len(m))
	for k, v := range m {
		e := reflect.New(field.Type().Elem()).Elem()
		if err := coerce(e, v); err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
		out.SetMapIndex(reflect.ValueOf(k), e)
	}
	field.Set(out)
	return nil
}

// coerceStruct fills the fields with `arg` tags; a name that none of them has is an error.
func coerceStruct(field reflect.Value, val any) error {
	m, ok := val.(map[string]any)
	if !ok {
		return fmt.Errorf("must be a dictionary, not %s", described(val))
	}
	known := map[string]bool{}
	for i := range field.NumField() {
		name, _, _ := strings.Cut(field.Type().Field(i).Tag.Get("arg"), ",")
		known[name] = true
		if v, ok := m[name]; ok && v != nil && name != "" {
			if err := coerce(field.Field(i), v); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	for _, name := range sortedKeys(m) {
		if !known[name] {
			delete(known, "")
			return fmt.Errorf("%s is not known, only %s are", name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
	}
	return nil
}

// dictOf reads a dictionary written as JSON or as key=value pairs.
func dictOf(text string) (map[string]any, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		var m map[string]any
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			return nil, fmt.Errorf("must be a dictionary: %w", err)
		}
		return m, nil
	}
	m := map[string]any{}
	for _, pair := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		k, v, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("must be a dictionary, not the text %q", text)
		}
		m[k] = v
	}
	return m, nil
}

func textOf(val any) (string, error) {
	switch v := val.(type) {
	case string:
		return v, nil
	case map[string]any, []any, []string:
		return jsonText(v), nil
	case nil:
		return "", nil
	}
	return scalarText(val), nil
}

// scalarText is a scalar as Python writes it: True, 5, 1.5.
func scalarText(val any) string {
	switch v := val.(type) {
	case string:
		return v
	case bool:
		if v {
			return "True"
		}
		return "False"
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1e15 {
			return strconv.FormatInt(int64(v), 10)
		}
		return strconv.FormatFloat(v, 'g', -1, 64)
	case nil:
		return ""
	}
	return fmt.Sprint(val)
}

func boolOf(val any) (bool, error) {
	switch v := val.(type) {
	case bool:
		return v, nil
	case string, int, int64, float64, json.Number:
		switch strings.ToLower(strings.TrimSpace(scalarText(v))) {
		case "yes", "on", "1", "true", "t", "y", "1.0":
			return true, nil
		case "no", "off", "0", "false", "f", "n", "0.0":
			return false, nil
		}
	}
	return false, fmt.Errorf("must be a boolean (yes or no), not %s", described(val))
}

func intOf(val any) (int64, error) {
	switch v := val.(type) {
	case int:
		return int64(v), nil
	case int64:
		return v, nil
	case float64:
		if v == math.Trunc(v) {
			return int64(v), nil
		}
	case json.Number:
		return v.Int64()
	case string:
		if n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("must be an integer, not %s", described(val))
}

func floatOf(val any) (float64, error) {
	switch v := val.(type) {
	case float64:
		return v, nil
	case int:
		return float64(v), nil
	case int64:
		return float64(v), nil
	case json.Number:
		return v.Float64()
	case string:
		if f, err := strconv.ParseFloat(strings.TrimSpace(v), 64); err == nil {
			return f, nil
		}
	}
	return 0, fmt.Errorf("must be a number, not %s", described(val))
}

// described says what a value is, without showing a whole structure.
func described(val any) string {
	switch v := val.(type) {
	case nil:
		return "nothing"
	case []any, []string:
		return "a list"
	case map[string]any:
		return "a dictionary"
	case string:
		return strconv.Quote(v)
	}
	return scalarText(val)
}

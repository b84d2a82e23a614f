package remote

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
)

// JSON has one kind of number, templates have two: {{ r.rc }} must stay 0 and {{ r.stat.mtime }} must stay 5.0. So whole
// floats are written with their point (pointed), and numbers without one are read as int (natural).

// decode reads JSON into v. Where v holds an any, numbers become int or float64 only after natural.
func decode(payload []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	return d.Decode(v)
}

// natural replaces the numbers inside v in place and returns v's own replacement.
func natural(v any) any {
	switch v := v.(type) {
	case json.Number:
		return number(v)
	case map[string]any:
		for k, e := range v {
			v[k] = natural(e)
		}
	case []any:
		for i, e := range v {
			v[i] = natural(e)
		}
	}
	return v
}

func number(n json.Number) any {
	if i, err := n.Int64(); err == nil {
		return int(i)
	}
	f, err := n.Float64()
	if err != nil {
		return n.String()
	}
	return f
}

// pointed returns v with every whole float64 inside written with its point. It does not alter v.
func pointed(v any) any {
	switch v := v.(type) {
	case float64:
		if whole(v) {
			return json.Number(strconv.FormatFloat(v, 'f', 1, 64))
		}
	case map[string]any:
		if !hasWhole(v) {
			return v
		}
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = pointed(e)
		}
		return out
	case []any:
		if !hasWhole(v) {
			return v
		}
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = pointed(e)
		}
		return out
	}
	return v
}

func pointedMap(m map[string]any) map[string]any {
	if m == nil {
		return nil
	}
	return pointed(m).(map[string]any)
}

// whole tells whether JSON would show f without a point; from 1e21 on it has an exponent.
func whole(f float64) bool { return f == math.Trunc(f) && math.Abs(f) < 1e21 }

// hasWhole tells whether there is a whole float64 anywhere inside v.
func hasWhole(v any) bool {
	switch v := v.(type) {
	case float64:
		return whole(v)
	case map[string]any:
		for _, e := range v {
			if hasWhole(e) {
				return true
			}
		}
	case []any:
		for _, e := range v {
			if hasWhole(e) {
				return true
			}
		}
	}
	return false
}

package value

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// Exact writes v as JSON from which FromJSON reads the same values again: the order of keys and the kind of each number stay. It errs on what
// JSON has no word for: times, templates, keys that are no strings, NaN and the infinities.
func Exact(v any) ([]byte, error) {
	var b bytes.Buffer
	if err := writeExact(&b, v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func writeExact(b *bytes.Buffer, v any) error {
	switch v := v.(type) {
	case *Dict:
		return writeExactDict(b, v)
	case map[string]any:
		d, _ := FromGo(v).(*Dict)
		return writeExactDict(b, d)
	case []any:
		return writeExactList(b, v)
	case []string:
		return writeExact(b, FromGo(v))
	case float64:
		return writeExactFloat(b, v)
	case nil, bool, string, int, int64, json.Number:
		return writeJSON(b, v)
	}
	return fmt.Errorf("cannot write %T exactly as JSON", v)
}

func writeExactDict(b *bytes.Buffer, d *Dict) error {
	b.WriteByte('{')
	first := true
	for k, v := range d.All() {
		key, ok := k.(string)
		if !ok {
			return fmt.Errorf("cannot write the key %v exactly as JSON: it is no string", k)
		}
		if !first {
			b.WriteByte(',')
		}
		first = false
		if err := writeJSON(b, key); err != nil {
			return err
		}
		b.WriteByte(':')
		if err := writeExact(b, v); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}

func writeExactList(b *bytes.Buffer, list []any) error {
	b.WriteByte('[')
	for i, v := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := writeExact(b, v); err != nil {
			return err
		}
	}
	b.WriteByte(']')
	return nil
}

// writeExactFloat writes a whole number with its point, so that it is a float again.
func writeExactFloat(b *bytes.Buffer, f float64) error {
	if f == math.Trunc(f) && math.Abs(f) < 1e21 {
		b.WriteString(strconv.FormatFloat(f, 'f', 1, 64))
		return nil
	}
	return writeJSON(b, f) // errs on NaN and the infinities
}

// writeJSON writes a scalar as it stands: no character is escaped for the sake of HTML.
func writeJSON(b *bytes.Buffer, v any) error {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the line end
	return nil
}

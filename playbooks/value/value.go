// Package value holds the values that flow through playbooks: what YAML, JSON and templates turn into.
//
// They are plain Go: string, bool, int, float64, nil, []any, *Dict (a mapping that keeps the order it was written in,
// as Python's does, because loops and printing show it) and time.Time for YAML timestamps. One type adds what plain data cannot say:
//
//   - Template is a string somebody wrote in a file that still has to be rendered; it knows where it stands. Only
//     such strings are ever rendered: what a host or a lookup answered is a plain string and stays as it is, which is
//     what Ansible calls unsafe.
//
// FromYAML reads scalars as PyYAML (YAML 1.1) does: yes/no/on/off are booleans, 0644 is octal.
package value

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"slices"

	"github.com/calroll/calroll/playbooks/source"
)

// Template is text with Jinja2 markers that was written at Pos and has not been rendered.
type Template struct {
	Text string
	Pos  source.Pos
}

// Dict is a mapping that keeps its keys in the order they were first set. Keys are scalars: string, int, float64, bool or nil.
// The zero value and nil are empty; a nil Dict cannot be set. A Dict is not safe for concurrent writes.
type Dict struct {
	keys   []any
	values map[any]any
}

// NewDict makes a Dict from alternating keys and values; an odd count is a programming error.
func NewDict(pairs ...any) *Dict {
	d := &Dict{}
	for i := 0; i < len(pairs); i += 2 {
		d.Set(pairs[i], pairs[i+1])
	}
	return d
}

// Len is the number of keys.
func (d *Dict) Len() int {
	if d == nil {
		return 0
	}
	return len(d.keys)
}

// Get is the value of key and whether there is one.
func (d *Dict) Get(key any) (any, bool) {
	if d == nil {
		return nil, false
	}
	v, ok := d.values[key]
	return v, ok
}

// At is the value of key, nil when there is none.
func (d *Dict) At(key any) any {
	v, _ := d.Get(key)
	return v
}

// Set gives key a value; a new key goes last.
func (d *Dict) Set(key, v any) {
	if d.values == nil {
		d.values = map[any]any{}
	}
	if _, ok := d.values[key]; !ok {
		d.keys = append(d.keys, key)
	}
	d.values[key] = v
}

// Delete removes key.
func (d *Dict) Delete(key any) {
	if _, ok := d.Get(key); !ok {
		return
	}
	delete(d.values, key)
	d.keys = slices.DeleteFunc(d.keys, func(k any) bool { return k == key })
}

// Keys are the keys in order; the caller may keep them.
func (d *Dict) Keys() []any {
	if d == nil {
		return nil
	}
	return slices.Clone(d.keys)
}

// All goes through the pairs in order. The Dict must not change meanwhile.
func (d *Dict) All() iter.Seq2[any, any] {
	return func(yield func(any, any) bool) {
		if d == nil {
			return
		}
		for _, k := range d.keys {
			if !yield(k, d.values[k]) {
				return
			}
		}
	}
}

// Copy is a Dict with the same pairs; values are shared.
func (d *Dict) Copy() *Dict {
	out := &Dict{}
	for k, v := range d.All() {
		out.Set(k, v)
	}
	return out
}

// MarshalJSON writes the pairs in order, keys as strings (None, True and False as Python's json does: null, true, false).
func (d *Dict) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, k := range d.Keys() {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(KeyString(k))
		if err != nil {
			return nil, err
		}
		v, err := json.Marshal(d.values[k])
		if err != nil {
			return nil, fmt.Errorf("cannot write the value of %v as JSON: %w", k, err)
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(v)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// KeyString is a key as JSON writes it.
func KeyString(key any) string {
	switch k := key.(type) {
	case string:
		return k
	case nil:
		return "null"
	}
	return fmt.Sprint(key)
}

// FromGo turns Go data (map[string]any, []string, int64 and the like, as encoding/json or a module's result gives them) into values.
// Maps become Dicts with sorted keys.
func FromGo(v any) any {
	switch v := v.(type) {
	case map[string]any:
		d := &Dict{}
		for _, k := range sortedKeys(v) {
			d.Set(k, FromGo(v[k]))
		}
		return d
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = FromGo(v[i])
		}
		return out
	case []string:
		out := make([]any, len(v))
		for i := range v {
			out[i] = v[i]
		}
		return out
	}
	return fromGoScalar(v)
}

func fromGoScalar(v any) any {
	switch v := v.(type) {
	case int64:
		return int(v)
	case int32:
		return int(v)
	case uint32:
		return int(v)
	case uint64:
		return int(v)
	case float32:
		return float64(v)
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return int(n)
		}
		f, _ := v.Float64() // a json.Number that came from a decoder is a number
		return f
	}
	return v
}

// ToGo turns values into what encoding/json and modules take: Dicts become map[string]any.
func ToGo(v any) any {
	switch v := v.(type) {
	case *Dict:
		m := make(map[string]any, v.Len())
		for k, e := range v.All() {
			m[KeyString(k)] = ToGo(e)
		}
		return m
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = ToGo(v[i])
		}
		return out
	}
	return v
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

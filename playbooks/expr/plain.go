package expr

import (
	"math"

	"github.com/calroll/calroll/playbooks/value"
)

// readsBack tells whether the text of v would be read as v again. An undefined member fails.
func readsBack(v any) bool {
	switch v := v.(type) {
	case nil, bool, int, string, *omitted:
		return true
	case float64:
		return !math.IsNaN(v) && !math.IsInf(v, 0)
	case []any:
		for _, item := range v {
			if !readsBack(item) {
				return false
			}
		}
		return true
	case *Dict:
		for _, item := range v.All() {
			if !readsBack(item) {
				return false
			}
		}
		return true
	case *Undefined:
		panic(failure{v})
	}
	return false
}

// plain gives v and its members the types that callers see: tuples and lists become []any, mappings *Dict.
// What is plain already is not copied.
func plain(v any) any {
	switch v := norm(v).(type) {
	case *List:
		return plainItems(v.items)
	case Tuple:
		return plainItems(v)
	case *group:
		return plainItems(v.pair())
	case []any:
		return plainItems(v)
	case *Dict:
		return plainDict(v)
	case Mapping:
		return plainDict(dictOfMapping(v))
	case *namespace:
		return plainDict(v.attrs)
	default:
		return v
	}
}

func plainItems(items []any) []any {
	for i, item := range items {
		if isPlain(item) {
			continue
		}
		out := make([]any, len(items))
		copy(out, items[:i])
		for j := i; j < len(items); j++ {
			out[j] = plain(items[j])
		}
		return out
	}
	if items == nil {
		return []any{}
	}
	return items
}

func plainDict(d *Dict) *Dict {
	if isPlain(d) {
		return d
	}
	c := &Dict{}
	for k, v := range d.All() {
		c.Set(k, plain(v))
	}
	return c
}

func isPlain(v any) bool {
	switch v := v.(type) {
	case nil, bool, int, float64, string, *omitted, *Undefined:
		return true
	case []any:
		for _, item := range v {
			if !isPlain(item) {
				return false
			}
		}
		return true
	case *Dict:
		for _, item := range v.All() {
			if !isPlain(item) {
				return false
			}
		}
		return true
	}
	return false
}

// own makes a value that a template may alter out of a new one; members that are owned already stay the same ones.
func own(v any) any {
	if items, ok := v.([]any); ok {
		l := &List{items: make([]any, len(items))}
		for i, item := range items {
			l.items[i] = own(norm(item))
		}
		return l
	}
	return v
}

// ownDeep copies v, which belongs to the caller.
func ownDeep(v any) any {
	switch v := norm(v).(type) {
	case []any:
		l := &List{items: make([]any, len(v))}
		for i, item := range v {
			l.items[i] = ownDeep(item)
		}
		return l
	case *Dict:
		c := &Dict{}
		for k, item := range v.All() {
			c.Set(k, ownDeep(item))
		}
		return c
	default:
		return v
	}
}

// Plain turns every *Dict in v into a map[string]any, for those who do not care for order.
func Plain(v any) any {
	switch v := plain(v).(type) {
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = Plain(item)
		}
		return out
	case *Dict:
		out := make(map[string]any, v.Len())
		for k, item := range v.All() {
			out[value.KeyString(k)] = Plain(item)
		}
		return out
	default:
		return v
	}
}

// DropOmit is v without the map entries and list items that are Omit, at any depth. Omit itself stays.
func DropOmit(v any) any {
	switch v := norm(v).(type) {
	case []any:
		out := make([]any, 0, len(v))
		for _, item := range v {
			if item != Omit {
				out = append(out, DropOmit(item))
			}
		}
		return out
	case *Dict:
		out := &Dict{}
		for k, item := range v.All() {
			if item != Omit {
				out.Set(k, DropOmit(item))
			}
		}
		return out
	default:
		return v
	}
}

// Truthy is the truth of v as Python sees it: empty things, zero and nil are false.
func Truthy(v any) bool { return truthy(v) }

// JSON is what to_json makes of a value.
func JSON(v any) string { return dumps(plain(v), -1, false, false) }

// String is v as templates print it, which is Python's way.
func String(v any) string { return pyStr(plain(v)) }

// Equal compares as templates do: 1, 1.0 and true are equal, a list never equals text.
func Equal(a, b any) bool { return equal(a, b) }

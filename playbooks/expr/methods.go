package expr

import (
	"fmt"
	"slices"
	"strings"
)

// method is a method of a Python type.
type method func(f *frame, recv any, c callValues) any

// methodOf is the method that v's type has under name, or nil.
func methodOf(v any, name string) method {
	switch v.(type) {
	case string:
		return strMethods[name]
	case *Dict, Mapping:
		return dictMethods[name]
	case []any, *List:
		return listMethods[name]
	case Tuple:
		if name == "index" || name == "count" {
			return listMethods[name]
		}
	case int, float64, bool:
		return numberMethods[name]
	}
	return nil
}

var strMethods, listMethods, dictMethods, numberMethods map[string]method

func init() {
	strMethods, listMethods, dictMethods, numberMethods = map[string]method{}, map[string]method{}, map[string]method{}, map[string]method{}
	addStrMethods()
	addSplitMethods()
	addListMethods()
	addDictMethods()
	numberMethods["bit_length"] = bound("bit_length", "", func(v any, a args) any {
		i, _, _, _ := numeric(v)
		return len(strings.TrimLeft(fmt.Sprintf("%b", max(i, -i)), "0"))
	})
	numberMethods["is_integer"] = bound("is_integer", "", func(v any, a args) any {
		_, f, _, _ := numeric(v)
		return f == float64(int(f))
	})
}

// bound makes a method whose arguments follow sig.
func bound(name, sig string, fn func(recv any, a args) any) method {
	s := sign(sig)
	return func(f *frame, recv any, c callValues) any { return fn(recv, s.bind(f, name+"()", c)) }
}

func listMethod(name, sig string, fn func(l *List, a args) any) {
	listMethods[name] = bound(name, sig, func(recv any, a args) any {
		l, ok := recv.(*List)
		if !ok {
			items, _ := asList(recv)
			l = &List{slices.Clone(items)}
		}
		return fn(l, a)
	})
}

func addListMethods() {
	listMethod("append", "item", func(l *List, a args) any { l.items = append(l.items, a.v[0]); return nil })
	listMethod("extend", "items", func(l *List, a args) any { l.items = append(l.items, iterate(a.v[0])...); return nil })
	listMethod("insert", "index, item", func(l *List, a args) any {
		i := a.int(0)
		lo, _, _ := bounds(len(l.items), &i, nil, nil)
		l.items = slices.Insert(l.items, lo, a.v[1])
		return nil
	})
	listMethod("pop", "index=-1", func(l *List, a args) any {
		i := at(l, a.int(0), "pop")
		v := l.items[i]
		l.items = slices.Delete(l.items, i, i+1)
		return v
	})
	listMethod("remove", "item", func(l *List, a args) any {
		i := slices.IndexFunc(l.items, func(x any) bool { return equal(x, a.v[0]) })
		if i < 0 {
			fail("list.remove(x): x not in list")
		}
		l.items = slices.Delete(l.items, i, i+1)
		return nil
	})
	listMethod("clear", "", func(l *List, _ args) any { l.items = nil; return nil })
	listMethod("copy", "", func(l *List, _ args) any { return slices.Clone(l.items) })
	listMethod("reverse", "", func(l *List, _ args) any { slices.Reverse(l.items); return nil })
	listMethod("sort", "reverse=false", func(l *List, a args) any { sortItems(l.items, a.bool(0)); return nil })
	listMethod("count", "item", func(l *List, a args) any {
		n := 0
		for _, x := range l.items {
			if equal(x, a.v[0]) {
				n++
			}
		}
		return n
	})
	listMethod("index", "item", func(l *List, a args) any {
		i := slices.IndexFunc(l.items, func(x any) bool { return equal(x, a.v[0]) })
		if i < 0 {
			fail("%s is not in list", pyRepr(a.v[0]))
		}
		return i
	})
}

func at(l *List, i int, what string) int {
	if i < 0 {
		i += len(l.items)
	}
	if len(l.items) == 0 {
		fail("%s from empty list", what)
	}
	if i < 0 || i >= len(l.items) {
		fail("%s index out of range", what)
	}
	return i
}

// sortItems sorts as Python's sorted: stable, also when reversed.
func sortItems(items []any, reverse bool) {
	slices.SortStableFunc(items, func(a, b any) int {
		if reverse {
			return compare(b, a, "<")
		}
		return compare(a, b, "<")
	})
}

func dictMethod(name, sig string, fn func(d *Dict, a args) any) {
	dictMethods[name] = bound(name, sig, func(recv any, a args) any {
		d, _ := asDict(recv)
		return fn(d, a)
	})
}

func pairs(d *Dict) []any {
	out := make([]any, 0, d.Len())
	for k, v := range d.All() {
		out = append(out, Tuple{k, v})
	}
	return out
}

func addDictMethods() {
	dictMethod("items", "", func(d *Dict, _ args) any { return pairs(d) })
	dictMethod("keys", "", func(d *Dict, _ args) any { return d.Keys() })
	dictMethod("values", "", func(d *Dict, _ args) any { return dictVals(d) })
	dictMethod("copy", "", func(d *Dict, _ args) any { return d.Copy() })
	dictMethod("clear", "", func(d *Dict, _ args) any { *d = Dict{}; return nil })
	dictMethods["get"] = bound("get", "key, default=None", func(recv any, a args) any {
		undefinedFails(a.v[0])
		if v, ok := member(a.f.r, recv, norm(a.v[0])); ok {
			return v
		}
		return a.v[1]
	})
	dictMethod("update", "*from, **named", func(d *Dict, a args) any {
		for _, from := range a.rest {
			updateDict(d, from)
		}
		if a.named != nil {
			updateDict(d, a.named)
		}
		return nil
	})
	dictMethod("setdefault", "key, default=None", func(d *Dict, a args) any {
		if v, ok := member(a.f.r, d, norm(a.v[0])); ok {
			return v
		}
		dictSet(d, a.v[0], a.v[1])
		return a.v[1]
	})
	dictMethod("pop", "key, *default", func(d *Dict, a args) any {
		v, ok := dictGet(d, a.v[0])
		if !ok && len(a.rest) == 0 {
			fail("KeyError: %s", pyRepr(a.v[0]))
		}
		if !ok {
			return a.rest[0]
		}
		d.Delete(keyOf(a.v[0]))
		return v
	})
	dictMethod("popitem", "", func(d *Dict, _ args) any {
		if d.Len() == 0 {
			fail("popitem(): dictionary is empty")
		}
		k := d.Keys()[d.Len()-1]
		v := d.At(k)
		d.Delete(k)
		return Tuple{k, v}
	})
	dictMethod("fromkeys", "keys, value=None", func(_ *Dict, a args) any {
		d := &Dict{}
		for _, k := range iterate(a.v[0]) {
			dictSet(d, k, a.v[1])
		}
		return d
	})
}

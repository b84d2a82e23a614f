package expr

import (
	"unicode/utf8"
)

func (x *attrExpr) eval(f *frame) any {
	v := norm(x.x.eval(f))
	f.r.at = x.at
	return getAttr(f, v, x.name)
}

// getAttr is v.name: an attribute or method first, then an item.
func getAttr(f *frame, v any, name string) any {
	if u, ok := v.(*Undefined); ok {
		return u
	}
	if a, ok := v.(interface{ attr(name string) (any, bool) }); ok {
		if got, ok := a.attr(name); ok {
			return got
		}
	}
	if fn := methodOf(v, name); fn != nil {
		return &funcValue{name, func(f *frame, a callValues) any { return fn(f, v, a) }}
	}
	if got, ok := member(f.r, v, name); ok {
		return got
	}
	return undefinedMember(v, name)
}

func (x *itemExpr) eval(f *frame) any {
	v := norm(x.x.eval(f))
	if s, ok := x.key.(*sliceExpr); ok {
		start, stop, step := s.parts(f)
		f.r.at = x.at
		return f.r.own(slice(v, start, stop, step))
	}
	key := x.key.eval(f)
	f.r.at = x.at
	return getItem(f, v, key)
}

// getItem is v[key]: an item first, then an attribute or method.
func getItem(f *frame, v, key any) any {
	if u, ok := v.(*Undefined); ok {
		return u
	}
	if u, ok := key.(*Undefined); ok {
		panic(failure{u})
	}
	if got, ok := member(f.r, v, key); ok {
		return got
	}
	name, ok := key.(string)
	if !ok {
		return undefinedMember(v, key)
	}
	if a, ok := v.(interface{ attr(name string) (any, bool) }); ok {
		if got, ok := a.attr(name); ok {
			return got
		}
	}
	if fn := methodOf(v, name); fn != nil {
		return &funcValue{name, func(f *frame, a callValues) any { return fn(f, v, a) }}
	}
	return undefinedMember(v, key)
}

// member is the item of a container under key.
func member(r *render, v, key any) (any, bool) {
	switch v := v.(type) {
	case *Dict:
		return dictMember(r, v, key)
	case Mapping:
		name, ok := key.(string)
		if !ok {
			return nil, false
		}
		got, ok, err := v.Get(name)
		return mappingValue(r, name, got, ok, err)
	case string:
		return runeAt(v, key)
	}
	items, ok := asList(v)
	i, _, isFloat, isNum := numeric(key)
	if !ok || !isNum || isFloat {
		return nil, false
	}
	if i < 0 {
		i += len(items)
	}
	if i < 0 || i >= len(items) {
		return nil, false
	}
	return norm(items[i]), true
}

func dictMember(r *render, d *Dict, key any) (any, bool) {
	switch key.(type) {
	case []any, *List, *Dict, Mapping:
		return nil, false
	}
	got, ok := dictGet(d, key)
	if !ok {
		return nil, false
	}
	got = norm(got)
	if items, ok := got.([]any); ok && r.tpl.mutates {
		got = own(items)
		dictSet(d, key, got) // d is the template's own: the next reader must see what this one appends
	}
	return got, true
}

// mappingValue is what a lazy mapping gave; a value whose own template uses something undefined is undefined.
func mappingValue(r *render, name string, v any, ok bool, err error) (any, bool) {
	if err != nil {
		if isUndefined(err) {
			return &Undefined{Name: name, Message: err.Error()}, true
		}
		failErr(err)
	}
	if ok && r.tpl.mutates {
		v = ownDeep(v)
	}
	return norm(v), ok
}

func runeAt(s string, key any) (any, bool) {
	i, _, isFloat, ok := numeric(key)
	if !ok || isFloat {
		return nil, false
	}
	rs := []rune(s)
	if i < 0 {
		i += len(rs)
	}
	if i < 0 || i >= len(rs) {
		return nil, false
	}
	return string(rs[i]), true
}

func (s *sliceExpr) eval(*frame) any {
	fail("a slice stands only in brackets")
	return nil
}

// parts are the bounds; nil where there is none.
func (s *sliceExpr) parts(f *frame) (start, stop, step *int) {
	one := func(x expr) *int {
		if x == nil {
			return nil
		}
		v := norm(x.eval(f))
		if v == nil {
			return nil
		}
		undefinedFails(v)
		i, _, isFloat, ok := numeric(v)
		if !ok || isFloat {
			fail("slice indices must be integers or None or have an __index__ method")
		}
		return &i
	}
	return one(s.start), one(s.stop), one(s.step)
}

// slice is v[start:stop:step].
func slice(v any, start, stop, step *int) any {
	switch v := v.(type) {
	case *Undefined:
		return v
	case string:
		if utf8.RuneCountInString(v) == len(v) {
			return sliceBytes(v, start, stop, step)
		}
		return string(pickItems([]rune(v), start, stop, step))
	case Tuple:
		return Tuple(pickItems(v, start, stop, step))
	}
	items, ok := asList(v)
	if _, isDict := asDict(v); isDict {
		fail("unhashable type: 'slice'")
	}
	if !ok {
		fail("'%s' object is not subscriptable", typeName(v))
	}
	return pickItems(items, start, stop, step)
}

func sliceBytes(s string, start, stop, step *int) string {
	if step == nil || *step == 1 {
		lo, hi, _ := bounds(len(s), start, stop, step)
		return s[lo:max(lo, hi)]
	}
	return string(pickItems([]byte(s), start, stop, step))
}

func pickItems[T any](items []T, start, stop, step *int) []T {
	lo, hi, by := bounds(len(items), start, stop, step)
	out := []T{}
	for i := lo; by > 0 && i < hi || by < 0 && i > hi; i += by {
		out = append(out, items[i])
	}
	return out
}

// bounds clamps slice bounds to n items as Python does.
func bounds(n int, start, stop, step *int) (lo, hi, by int) {
	by = 1
	if step != nil {
		by = *step
	}
	if by == 0 {
		fail("slice step cannot be zero")
	}
	first, last := 0, n
	if by < 0 {
		first, last = n-1, -1
	}
	clamp := func(p *int, none int) int {
		if p == nil {
			return none
		}
		i := *p
		if i < 0 {
			i += n
		}
		return min(max(i, min(first, last)), max(first, last))
	}
	return clamp(start, first), clamp(stop, last), by
}

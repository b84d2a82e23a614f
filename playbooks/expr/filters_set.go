package expr

import (
	"slices"
)

func addSetFilters(r *registry) {
	r.addFilter("unique", "value, case_sensitive=None, attribute=None", func(a args) any {
		get := getter(a.f, a.v[2])
		if !a.nil(1) && !a.bool(1) || a.nil(1) && !a.nil(2) || a.nil(1) {
			get = folded(get, a.bool(1))
		}
		return distinct(iterate(a.v[0]), get)
	})
	r.addFilter("union", "a, b", func(a args) any {
		a.sameKind()
		return distinct(slices.Concat(a.items(0), a.items(1)), norm)
	})
	r.addFilter("intersect", "a, b", func(a args) any {
		in := memberOf(a.items(1))
		return distinct(slices.DeleteFunc(slices.Clone(a.items(0)), func(v any) bool { return !in(v) }), norm)
	})
	r.addFilter("difference", "a, b", func(a args) any {
		in := memberOf(a.items(1))
		return distinct(slices.DeleteFunc(slices.Clone(a.items(0)), in), norm)
	})
	r.addFilter("symmetric_difference", "a, b", func(a args) any {
		a.sameKind()
		inA, inB := memberOf(a.items(0)), memberOf(a.items(1))
		all := distinct(slices.Concat(a.items(0), a.items(1)), norm)
		return slices.DeleteFunc(all, func(v any) bool { return inA(v) && inB(v) })
	})
}

// sameKind refuses to join a list with text or a mapping.
func (a args) sameKind() {
	if _, isMap := asDict(a.v[0]); isMap || typeName(a.v[0]) != typeName(a.v[1]) {
		fail("unsupported operand type(s) for +: '%s' and '%s'", typeName(a.v[0]), typeName(a.v[1]))
	}
}

func (a args) items(i int) []any {
	undefinedFails(a.v[i])
	return iterate(a.v[i])
}

// distinct keeps the first of the items whose keys are equal.
func distinct(items []any, key func(any) any) []any {
	s := newSet()
	out := []any{}
	for _, item := range items {
		if s.add(key(item)) {
			out = append(out, item)
		}
	}
	return out
}

func memberOf(items []any) func(any) bool {
	s := newSet()
	for _, item := range items {
		s.add(norm(item))
	}
	return func(v any) bool { return s.has(norm(v)) }
}

// set holds values by Python's equality: scalars in a map, the rest in a list.
type set struct {
	scalars map[any]bool
	others  []any
}

func newSet() *set { return &set{scalars: map[any]bool{}} }

func (s *set) key(v any) (any, bool) {
	switch v.(type) {
	case nil, string:
		return v, true
	case bool, int, float64:
		_, f, _, _ := numeric(v)
		return f, true
	}
	undefinedFails(v)
	return nil, false
}

func (s *set) has(v any) bool {
	if k, ok := s.key(v); ok {
		return s.scalars[k]
	}
	return slices.ContainsFunc(s.others, func(x any) bool { return equal(x, v) })
}

// add tells whether v is new.
func (s *set) add(v any) bool {
	if s.has(v) {
		return false
	}
	if k, ok := s.key(v); ok {
		s.scalars[k] = true
	} else {
		s.others = append(s.others, v)
	}
	return true
}

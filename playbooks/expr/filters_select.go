package expr

import (
	"slices"
)

func addSelectFilters(r *registry) {
	r.addFilter("map", "value, *args, **kwargs", mapFilter)
	r.addFilter("select", "value, *args, **kwargs", func(a args) any { return choose(a, false, true) })
	r.addFilter("reject", "value, *args, **kwargs", func(a args) any { return choose(a, false, false) })
	r.addFilter("selectattr", "value, *args, **kwargs", func(a args) any { return choose(a, true, true) })
	r.addFilter("rejectattr", "value, *args, **kwargs", func(a args) any { return choose(a, true, false) })
	r.addFilter("ternary", "value, true_val, false_val, none_val=None", func(a args) any {
		switch {
		case a.nil(0) && !a.nil(3):
			return a.v[3]
		case a.bool(0):
			return a.v[1]
		}
		return a.v[2]
	})
	r.addLenientFilter("mandatory", "value, msg=None", func(a args) any {
		u, ok := a.v[0].(*Undefined)
		switch {
		case !ok:
			return a.v[0]
		case !a.nil(1):
			fail("%s", a.str(1))
		case u.Name != "":
			fail("Mandatory variable '%s' not defined.", u.Name)
		}
		fail("Mandatory variable not defined.")
		return nil
	})
	r.addLenientFilter("type_debug", "value", func(a args) any { return typeName(a.v[0]) })
}

// rest of the arguments, with the named ones, for the filter or test that is called by name.
func (a args) forward(skip int) callValues {
	c := callValues{pos: a.rest[min(skip, len(a.rest)):]}
	if a.named != nil {
		for k, v := range a.named.All() {
			c.names, c.named = append(c.names, k.(string)), append(c.named, v)
		}
	}
	return c
}

func mapFilter(a args) any {
	out := []any{}
	if !a.bool(0) {
		return out
	}
	items := iterate(a.v[0])
	if attribute := a.opt("attribute", nil); len(a.rest) == 0 && attribute != nil {
		a.onlyOpts("filter 'map'", "attribute", "default")
		return mapAttribute(a, items, attribute)
	}
	if len(a.rest) == 0 {
		fail("map requires a filter argument")
	}
	name := pyStr(a.rest[0])
	f := a.f.r.env.reg.filter(name)
	if f == nil {
		fail("No filter named '%s'.", name)
	}
	c := a.forward(1)
	for _, item := range items {
		out = append(out, f.apply(a.f, item, c))
	}
	return out
}

func mapAttribute(a args, items []any, attribute any) any {
	get := getter(a.f, attribute)
	other := a.opt("default", nil)
	out := []any{}
	for _, item := range items {
		v := get(item)
		if _, undefined := v.(*Undefined); undefined && other != nil {
			v = other
		}
		out = append(out, v)
	}
	return out
}

// choose keeps the items, or those whose attribute, for which the named test gives want.
func choose(a args, byAttribute, want bool) any {
	if !a.bool(0) {
		return []any{}
	}
	get := norm
	skip := 0
	if byAttribute {
		if len(a.rest) == 0 {
			fail("Missing parameter for attribute name")
		}
		get, skip = getter(a.f, a.rest[0]), 1
	}
	holds := truthy
	if len(a.rest) > skip {
		holds = namedTest(a, pyStr(a.rest[skip]), a.forward(skip+1))
	}
	return slices.Clip(slices.DeleteFunc(slices.Clone(iterate(a.v[0])), func(item any) bool { return holds(get(item)) != want }))
}

func namedTest(a args, name string, c callValues) func(any) bool {
	t := a.f.r.env.reg.test(name)
	if t == nil {
		fail("No test named '%s'.", name)
	}
	return func(v any) bool { return t.apply(a.f, v, c) }
}

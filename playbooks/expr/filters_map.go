package expr

import (
	"slices"
	"strings"

	"github.com/calroll/calroll/playbooks/value"
)

func addMapFilters(r *registry) {
	r.addLenientFilter("items", "value", func(a args) any {
		if _, undefined := a.v[0].(*Undefined); undefined {
			return []any{}
		}
		d, ok := asDict(a.v[0])
		if !ok {
			fail("Can only get item pairs from a mapping.")
		}
		return pairs(d)
	})
	r.addFilter("dictsort", "value, case_sensitive=false, by='key', reverse=false", dictsortFilter)
	r.addFilter("dict2items", "mydict, key_name='key', value_name='value'", func(a args) any {
		out := []any{}
		for k, v := range a.dict(0, "dict2items").All() {
			out = append(out, NewDict(keyOf(a.v[1]), k, keyOf(a.v[2]), v))
		}
		return out
	})
	r.addFilter("items2dict", "mylist, key_name='key', value_name='value'", items2dict)
	r.addFilter("combine", "value, *others, **options", combineFilter)
	r.addFilter("extract", "item, container, morekeys=None", extractFilter)
	r.addFilter("subelements", "obj, subelements, skip_missing=false", subelementsFilter)
	r.addFilter("attr", "obj, name", func(a args) any {
		name := a.str(1)
		if x, ok := a.v[0].(interface{ attr(name string) (any, bool) }); ok {
			if v, ok := x.attr(name); ok {
				return v
			}
		}
		if m := methodOf(a.v[0], name); m != nil {
			return getAttr(a.f, a.v[0], name)
		}
		return undefinedMember(a.v[0], name)
	})
	r.addFilter("groupby", "value, attribute, default=None, case_sensitive=false", groupbyFilter)
	r.addFilter("rekey_on_member", "data, key, duplicates='error'", rekeyFilter)
	r.addFilter("dict", "value", func(a args) any {
		d := &Dict{}
		updateDict(d, a.v[0])
		return d
	})
	r.addFilter("dict_kv", "value, key", func(a args) any { return NewDict(keyOf(a.v[1]), a.v[0]) })
	r.addFilter("keep_keys", "data, target", func(a args) any { return pickKeys(a, true) })
	r.addFilter("remove_keys", "data, target", func(a args) any { return pickKeys(a, false) })
}

func dictsortFilter(a args) any {
	by := a.str(2)
	if by != "key" && by != "value" {
		fail(`You can only sort by either "key" or "value"`)
	}
	d, ok := asDict(a.v[0])
	if !ok {
		fail("'%s' object has no attribute 'items'", typeName(a.v[0]))
	}
	rows := pairs(d)
	key := folded(func(row any) any {
		t := row.(Tuple)
		if by == "key" {
			return t[0]
		}
		return norm(t[1])
	}, a.bool(1))
	reverse := a.bool(3)
	slices.SortStableFunc(rows, func(x, y any) int {
		if reverse {
			x, y = y, x
		}
		return compare(key(x), key(y), "<")
	})
	return rows
}

func items2dict(a args) any {
	items, ok := asList(a.v[0])
	if !ok {
		fail("items2dict requires a list, got %s instead", typeName(a.v[0]))
	}
	d := &Dict{}
	for _, item := range items {
		from, ok := asDict(item)
		if !ok {
			fail("items2dict requires a list of dictionaries, got %s instead", pyRepr(items))
		}
		k, okK := dictGet(from, a.v[1])
		v, okV := dictGet(from, a.v[2])
		if !okK || !okV {
			fail("items2dict requires each dictionary in the list to contain the keys '%s' and '%s', got %s instead.", a.str(1), a.str(2), pyRepr(items))
		}
		dictSet(d, k, v)
	}
	return d
}

// merger joins mappings as the combine filter does.
type merger struct {
	recursive bool
	lists     string
}

var listMerges = []string{"replace", "keep", "append", "prepend", "append_rp", "prepend_rp"}

func combineFilter(a args) any {
	a.onlyOpts("filter 'combine'", "recursive", "list_merge")
	m := merger{truthy(a.opt("recursive", false)), pyStr(a.opt("list_merge", "replace"))}
	if !slices.Contains(listMerges, m.lists) {
		fail("merge_hash: 'list_merge' argument can only be equal to %s", strings.Join(listMerges, ", "))
	}
	var dicts []*Dict
	for _, term := range append([]any{a.v[0]}, a.rest...) {
		for _, v := range flatten2([]any{term}, -1, true) {
			dicts = append(dicts, m.dict(v))
		}
	}
	if len(dicts) == 0 {
		return &Dict{}
	}
	out := dicts[0]
	for _, d := range dicts[1:] {
		out = m.merge(out, d)
	}
	return out
}

func (m merger) dict(v any) *Dict {
	undefinedFails(v)
	d, ok := asDict(v)
	if !ok {
		fail("failed to combine variables, expected dicts but got a '%s'", typeName(v))
	}
	for _, item := range d.All() {
		undefinedFails(item)
	}
	return d
}

func (m merger) merge(x, y *Dict) *Dict {
	out := x.Copy()
	for k, yv := range y.All() {
		xv, ok := out.Get(k)
		if !ok {
			out.Set(k, yv)
			continue
		}
		out.Set(k, m.value(norm(xv), norm(yv)))
	}
	return out
}

func (m merger) value(x, y any) any {
	xd, okx := asDict(x)
	yd, oky := asDict(y)
	if okx && oky {
		if m.recursive {
			return m.merge(xd, yd)
		}
		return y
	}
	xl, okx := asList(x)
	yl, oky := asList(y)
	if !okx || !oky {
		return y
	}
	return m.list(xl, yl)
}

func (m merger) list(x, y []any) any {
	in := func(l []any) func(any) bool {
		return func(v any) bool { return slices.ContainsFunc(l, func(w any) bool { return equal(v, w) }) }
	}
	without := func(l []any, drop func(any) bool) []any { return slices.DeleteFunc(slices.Clone(l), drop) }
	switch m.lists {
	case "keep":
		return x
	case "append":
		return slices.Concat(x, y)
	case "prepend":
		return slices.Concat(y, x)
	case "append_rp":
		return slices.Concat(without(x, in(y)), y)
	case "prepend_rp":
		return slices.Concat(y, without(x, in(y)))
	}
	return y
}

func extractFilter(a args) any {
	keys := []any{a.v[0]}
	if more, ok := asList(a.v[2]); ok {
		keys = append(keys, more...)
	} else if a.v[2] != nil {
		keys = append(keys, a.v[2])
	}
	v := norm(a.v[1])
	undefinedFails(v)
	for _, k := range keys {
		v = norm(getItem(a.f, v, norm(k)))
		undefinedFails(v)
	}
	return v
}

func subelementsFilter(a args) any {
	var items []any
	if d, ok := asDict(a.v[0]); ok {
		items = dictVals(d)
	} else if items, ok = asList(a.v[0]); !ok {
		fail("obj must be a list of dicts or a nested dict")
	}
	var path []any
	if s, ok := norm(a.v[1]).(string); ok {
		path = strings2any(strings.Split(s, "."))
	} else {
		path = iterate(a.v[1])
	}
	out := []any{}
	for _, item := range items {
		for _, v := range subelement(item, path, a.bool(2)) {
			out = append(out, Tuple{item, v})
		}
	}
	return out
}

// subelement is the list under path in item; none when it is missing and that is allowed.
func subelement(item any, path []any, skipMissing bool) []any {
	v := norm(item)
	for _, key := range path {
		d, ok := asDict(v)
		if !ok {
			fail("the key %s should point to a dictionary, got '%s'", pyStr(key), pyStr(v))
		}
		next, ok := dictGet(d, key)
		if !ok {
			if skipMissing {
				return nil
			}
			fail("could not find %s key in iterated item %s", pyRepr(key), pyRepr(d))
		}
		v = norm(next)
	}
	items, ok := asList(v)
	if !ok {
		fail("the key %s should point to a list, got '%s'", pyStr(path[len(path)-1]), pyStr(v))
	}
	return items
}

func groupbyFilter(a args) any {
	get := getter(a.f, a.v[1])
	if other := a.v[2]; other != nil {
		inner := get
		get = func(item any) any {
			v := inner(item)
			if _, undefined := v.(*Undefined); undefined {
				return other
			}
			return v
		}
	}
	key := folded(get, a.bool(3))
	items := slices.Clone(iterate(a.v[0]))
	slices.SortStableFunc(items, func(x, y any) int { return compare(key(x), key(y), "<") })
	out := []any{}
	for i := 0; i < len(items); {
		j := i + 1
		for j < len(items) && equal(key(items[i]), key(items[j])) {
			j++
		}
		out = append(out, &group{get(items[i]), items[i:j:j]})
		i = j
	}
	return out
}

// group is one group of groupby: a pair whose parts have names as well.
type group struct {
	grouper any
	list    []any
}

func (g *group) pair() Tuple { return Tuple{g.grouper, g.list} }

func (g *group) attr(name string) (any, bool) {
	switch name {
	case "grouper":
		return g.grouper, true
	case "list":
		return g.list, true
	}
	return nil, false
}

func rekeyFilter(a args) any {
	items := []any(nil)
	if d, ok := asDict(a.v[0]); ok {
		items = dictVals(d)
	} else {
		items = iterate(a.v[0])
	}
	out := &Dict{}
	for _, item := range items {
		d, ok := asDict(item)
		if !ok {
			fail("List item is not a valid dict")
		}
		k, ok := dictGet(d, a.v[1])
		if !ok {
			fail("Key %s was not found", a.str(1))
		}
		if _, dup := dictGet(out, k); dup && a.str(2) == "error" {
			fail("Key %s is not unique, cannot correctly turn into dict", pyStr(k))
		}
		dictSet(out, k, d)
	}
	return out
}

// pickKeys keeps or drops keys at every depth.
func pickKeys(a args, keep bool) any {
	names := map[string]bool{}
	if s, ok := norm(a.v[1]).(string); ok {
		names[s] = true
	} else {
		for _, k := range iterate(a.v[1]) {
			names[pyStr(k)] = true
		}
	}
	return pickIn(a.v[0], names, keep)
}

func pickIn(v any, names map[string]bool, keep bool) any {
	if items, ok := asList(v); ok {
		out := []any{}
		for _, item := range items {
			out = append(out, pickIn(item, names, keep))
		}
		return out
	}
	d, ok := asDict(v)
	if !ok {
		return v
	}
	out := &Dict{}
	for k, item := range d.All() {
		if names[value.KeyString(k)] {
			if keep {
				out.Set(k, item)
			}
			continue
		}
		inner := pickIn(norm(item), names, keep)
		if !keep {
			out.Set(k, inner)
		} else if kept, ok := inner.(*Dict); ok && kept.Len() > 0 {
			out.Set(k, kept)
		}
	}
	return out
}

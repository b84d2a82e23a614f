package expr

import (
	"math/rand/v2"
	"slices"
	"strings"
)

func addSequenceFilters(r *registry) {
	r.addLenientFilter("default d", "value, default_value='', boolean=false", func(a args) any {
		if _, undefined := a.v[0].(*Undefined); undefined || a.bool(2) && !truthy(a.v[0]) {
			return a.v[1]
		}
		return a.v[0]
	})
	r.addFilter("length count", "value", func(a args) any { return length(a.v[0]) })
	r.addFilter("list", "value", func(a args) any { return slices.Clone(iterate(a.v[0])) })
	r.addFilter("first", "seq", func(a args) any { return edge(a, 0, "No first item, sequence was empty.") })
	r.addFilter("last", "seq", func(a args) any { return edge(a, -1, "No last item, sequence was empty.") })
	r.addFilter("join", "value, d='', attribute=None", joinFilter)
	r.addFilter("reverse", "value", reverseFilter)
	r.addFilter("sort", "value, reverse=false, case_sensitive=false, attribute=None", sortFilter)
	r.addFilter("sum", "iterable, attribute=None, start=0", sumFilter)
	r.addFilter("min", "value, case_sensitive=false, attribute=None", func(a args) any { return extreme(a, -1) })
	r.addFilter("max", "value, case_sensitive=false, attribute=None", func(a args) any { return extreme(a, 1) })
	r.addFilter("batch", "value, linecount, fill_with=None", batchFilter)
	r.addFilter("slice", "value, slices, fill_with=None", sliceFilter)
	r.addFilter("random", "end, start=None, step=None, seed=None", randomFilter)
	r.addFilter("shuffle", "mylist, seed=None", func(a args) any {
		out := slices.Clone(iterate(a.v[0]))
		randFor(a.v[1]).Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
		return out
	})
	r.addFilter("flatten", "mylist, levels=None, skip_nulls=true", func(a args) any {
		levels := -1
		if !a.nil(1) {
			levels = a.int(1)
		}
		return flatten2(iterate(a.v[0]), levels, a.bool(2))
	})
	r.addFilter("zip", "value, *others, strict=false", func(a args) any { return zip(a, false) })
	r.addFilter("zip_longest", "value, *others, **options", func(a args) any { return zip(a, true) })
	r.addFilter("product", "value, *others, **options", productFilter)
	r.addFilter("combinations", "value, r", func(a args) any { return combinations(iterate(a.v[0]), a.int(1)) })
	r.addFilter("permutations", "value, r=None", func(a args) any {
		items := iterate(a.v[0])
		n := len(items)
		if !a.nil(1) {
			n = a.int(1)
		}
		return permutations(items, n)
	})
}

func edge(a args, i int, message string) any {
	items := iterate(a.v[0])
	if len(items) == 0 {
		return &Undefined{Message: message}
	}
	if i < 0 {
		i = len(items) - 1
	}
	return items[i]
}

// getter gives what "a.b.0" names inside an item; nil names the item itself.
func getter(f *frame, attribute any) func(item any) any {
	if attribute == nil {
		return norm
	}
	path := attributePath(attribute)
	return func(item any) any {
		v := norm(item)
		for _, key := range path {
			v = norm(getItem(f, v, key))
		}
		return v
	}
}

func attributePath(attribute any) []any {
	s, ok := norm(attribute).(string)
	if !ok {
		return []any{norm(attribute)}
	}
	var path []any
	for _, part := range strings.Split(s, ".") {
		if n, ok := parsePyInt(part, 10); ok && part != "" && isDigit(part[0]) {
			path = append(path, n)
		} else {
			path = append(path, part)
		}
	}
	return path
}

// folded is the key to order or compare by: text in lower case, unless case counts.
func folded(get func(any) any, caseSensitive bool) func(any) any {
	return func(item any) any {
		v := get(item)
		if s, ok := v.(string); ok && !caseSensitive {
			return strings.ToLower(s)
		}
		return v
	}
}

func joinFilter(a args) any {
	get := getter(a.f, a.v[2])
	items := iterate(a.v[0])
	texts := make([]string, len(items))
	for i, item := range items {
		texts[i] = pyStr(get(item))
	}
	return strings.Join(texts, a.str(1))
}

func reverseFilter(a args) any {
	if s, ok := a.v[0].(string); ok {
		rs := []rune(s)
		slices.Reverse(rs)
		return string(rs)
	}
	out := slices.Clone(iterate(a.v[0]))
	slices.Reverse(out)
	return out
}

func sortFilter(a args) any {
	items := slices.Clone(iterate(a.v[0]))
	keys := sortKeys(a, items)
	order := make([]int, len(items))
	for i := range order {
		order[i] = i
	}
	reverse := a.bool(1)
	slices.SortStableFunc(order, func(i, j int) int {
		if reverse {
			i, j = j, i
		}
		return compareKeys(keys[i], keys[j])
	})
	out := make([]any, len(items))
	for i, from := range order {
		out[i] = items[from]
	}
	return out
}

// sortKeys are the values of every attribute that is sorted by, item by item.
func sortKeys(a args, items []any) [][]any {
	attributes := []any{a.v[3]}
	if s, ok := a.v[3].(string); ok {
		attributes = strings2any(strings.Split(s, ","))
	}
	keys := make([][]any, len(items))
	for _, attribute := range attributes {
		get := folded(getter(a.f, attribute), a.bool(2))
		for i, item := range items {
			keys[i] = append(keys[i], get(item))
		}
	}
	return keys
}

func compareKeys(a, b []any) int {
	for i := range a {
		if c := compare(a[i], b[i], "<"); c != 0 {
			return c
		}
	}
	return 0
}

func sumFilter(a args) any {
	get := getter(a.f, a.v[1])
	total := norm(a.v[2])
	for _, item := range iterate(a.v[0]) {
		total = binary("+", total, get(item))
	}
	return total
}

func extreme(a args, sign int) any {
	items := iterate(a.v[0])
	if len(items) == 0 {
		return &Undefined{Message: "No aggregated item, sequence was empty."}
	}
	key := folded(getter(a.f, a.v[2]), a.bool(1))
	best := items[0]
	for _, item := range items[1:] {
		if compare(key(item), key(best), map[int]string{-1: "<", 1: ">"}[sign])*sign > 0 {
			best = item
		}
	}
	return best
}

func batchFilter(a args) any {
	n := a.int(1)
	if n < 1 {
		fail("a batch must hold at least one item")
	}
	out := []any{}
	for part := range slices.Chunk(iterate(a.v[0]), n) {
		row := slices.Clone(part)
		for len(row) < n && !a.nil(2) {
			row = append(row, a.v[2])
		}
		out = append(out, row)
	}
	return out
}

func sliceFilter(a args) any {
	items, n := iterate(a.v[0]), a.int(1)
	if n < 1 {
		fail("there must be at least one slice")
	}
	per, extra := len(items)/n, len(items)%n
	out, start := []any{}, 0
	for i := range n {
		end := start + per
		if i < extra {
			end++
		}
		row := slices.Clone(items[start:end])
		if !a.nil(2) && i >= extra {
			row = append(row, a.v[2])
		}
		out, start = append(out, row), end
	}
	return out
}

// randFor is a source of random numbers: always the same ones for the same seed.
// The numbers are not those that Python makes of the seed.
func randFor(seed any) *rand.Rand {
	if seed == nil {
		return rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	var h uint64 = 14695981039346656037
	for _, c := range []byte(pyStr(seed)) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return rand.New(rand.NewPCG(h, h>>1))
}

func randomFilter(a args) any {
	rnd := randFor(a.v[3])
	end, _, isFloat, isNumber := numeric(a.v[0])
	if !isNumber || isFloat {
		items := iterate(a.v[0])
		if !a.nil(1) || !a.nil(2) {
			fail("start and step can only be used with integer values")
		}
		if len(items) == 0 {
			fail("cannot choose at random from an empty list")
		}
		return items[rnd.IntN(len(items))]
	}
	start, step := 0, 1
	if !a.nil(1) {
		start = a.int(1)
	}
	if !a.nil(2) {
		step = a.int(2)
	}
	n := 0
	if step > 0 {
		n = (end - start + step - 1) / step
	}
	if n <= 0 {
		fail("empty range for random (%d, %d, %d)", start, end, step)
	}
	return start + step*rnd.IntN(n)
}

// flatten2 flattens levels of lists, all of them when levels is negative.
func flatten2(items []any, levels int, skipNulls bool) []any {
	out := []any{}
	for _, item := range items {
		item = norm(item)
		if skipNulls && (item == nil || item == "None" || item == "null") {
			continue
		}
		inner, ok := asList(item)
		switch {
		case !ok || levels == 0:
			out = append(out, item)
		default:
			out = append(out, flatten2(inner, levels-1, skipNulls)...)
		}
	}
	return out
}

func zip(a args, longest bool) any {
	lists := [][]any{iterate(a.v[0])}
	for _, other := range a.rest {
		lists = append(lists, iterate(other))
	}
	n := len(lists[0])
	for _, l := range lists {
		if longest {
			n = max(n, len(l))
		} else {
			n = min(n, len(l))
		}
	}
	fill := a.opt("fillvalue", nil)
	out := make([]any, n)
	for i := range out {
		row := make(Tuple, len(lists))
		for j, l := range lists {
			row[j] = fill
			if i < len(l) {
				row[j] = l[i]
			}
		}
		out[i] = row
	}
	return out
}

func productFilter(a args) any {
	lists := [][]any{iterate(a.v[0])}
	for _, other := range a.rest {
		lists = append(lists, iterate(other))
	}
	times, _, _, _ := numeric(a.opt("repeat", 1))
	base := lists
	for i := 1; i < times; i++ {
		lists = append(lists, base...)
	}
	rows := []Tuple{{}}
	for _, l := range lists {
		var next []Tuple
		for _, row := range rows {
			for _, item := range l {
				next = append(next, append(slices.Clone(row), item))
			}
		}
		rows = next
	}
	return rowsOf(rows)
}

func rowsOf(rows []Tuple) []any {
	out := make([]any, len(rows))
	for i, row := range rows {
		out[i] = row
	}
	return out
}

func combinations(items []any, r int) []any {
	var rows []Tuple
	var pick func(from int, row Tuple)
	pick = func(from int, row Tuple) {
		if len(row) == r {
			rows = append(rows, slices.Clone(row))
			return
		}
		for i := from; i < len(items); i++ {
			pick(i+1, append(row, items[i]))
		}
	}
	pick(0, Tuple{})
	return rowsOf(rows)
}

func permutations(items []any, r int) []any {
	var rows []Tuple
	used := make([]bool, len(items))
	var pick func(row Tuple)
	pick = func(row Tuple) {
		if len(row) == r {
			rows = append(rows, slices.Clone(row))
			return
		}
		for i, item := range items {
			if !used[i] {
				used[i] = true
				pick(append(row, item))
				used[i] = false
			}
		}
	}
	pick(Tuple{})
	return rowsOf(rows)
}

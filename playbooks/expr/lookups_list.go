package expr

import (
	"regexp"
	"strings"
)

func addListLookups(r *registry) {
	r.addLookup("items", "", func(_ args, terms []any) []any { return flatten2(terms, 1, false) })
	r.addLookup("flattened", "", func(_ args, terms []any) []any { return flatten2(terms, -1, true) })
	r.addLookup("list", "", func(_ args, terms []any) []any { return terms })
	r.addLookup("dict", "", func(a args, terms []any) []any {
		out := []any{}
		for _, t := range flatten2(terms, -1, false) {
			d, ok := asDict(t)
			if !ok {
				fail("with_dict expects a dict")
			}
			for k, v := range d.All() {
				out = append(out, NewDict("key", k, "value", v))
			}
		}
		return out
	})
	r.addLookup("indexed_items", "", func(_ args, terms []any) []any {
		out := []any{}
		for i, item := range flatten2(terms, 1, false) {
			out = append(out, Tuple{i, item})
		}
		return out
	})
	r.addLookup("nested", "", nestedLookup)
	r.addLookup("cartesian", "", nestedLookup)
	r.addLookup("together", "", func(a args, terms []any) []any {
		if len(terms) == 0 {
			fail("with_together requires at least one element in each list")
		}
		rows, _ := zip(args{f: a.f, v: terms[:1], rest: terms[1:]}, true).([]any)
		for i, row := range rows {
			rows[i] = []any(row.(Tuple))
		}
		return rows
	})
	r.addLookup("random_choice", "", func(_ args, terms []any) []any {
		if len(terms) == 0 {
			return terms
		}
		return []any{terms[randFor(nil).IntN(len(terms))]}
	})
	r.addLookup("subelements", "", subelementsLookup)
	r.addLookup("sequence", "start=1, end=None, count=None, stride=None, format='%d'", sequenceLookup)
}

// nestedLookup pairs every item of each list with every item of the next.
func nestedLookup(_ args, terms []any) []any {
	if len(terms) == 0 {
		fail("with_nested requires at least one element in the nested list")
	}
	rows := [][]any{{}}
	for _, t := range terms {
		items, ok := asList(t)
		if !ok {
			items = []any{t}
		}
		var next [][]any
		for _, row := range rows {
			for _, item := range items {
				next = append(next, append(row[:len(row):len(row)], item))
			}
		}
		rows = next
	}
	out := make([]any, len(rows))
	for i, row := range rows {
		out[i] = row
	}
	return out
}

// subelementsLookup gives each item, without the list in question, with each member of that list.
func subelementsLookup(a args, terms []any) []any {
	if len(terms) < 2 {
		fail("subelements lookup expects a list of two or three items")
	}
	skip := false
	if len(terms) > 2 {
		flags, _ := asDict(terms[2])
		if flags != nil {
			v, _ := flags.Get("skip_missing")
			skip = toBool(norm(v)) == true
		}
	}
	var items []any
	if d, ok := asDict(terms[0]); ok {
		items = dictVals(d)
	} else if items, ok = asList(terms[0]); !ok {
		fail("subelements lookup expects a dictionary or a list, got %s", typeName(terms[0]))
	}
	path := strings2any(strings.Split(pyStr(terms[1]), "."))
	out := []any{}
	for _, item := range items {
		d, ok := asDict(item)
		if !ok {
			fail("subelements lookup expects a dictionary, got '%s'", pyStr(item))
		}
		if v, ok := d.Get("skipped"); ok && v == true {
			continue
		}
		for _, v := range subelement(d, path, skip) {
			out = append(out, Tuple{without(d, path), v})
		}
	}
	return out
}

// without is d without what path names.
func without(d *Dict, path []any) *Dict {
	out := d.Copy()
	if len(path) == 1 {
		out.Delete(path[0])
		return out
	}
	if inner, ok := asDict(d.At(path[0])); ok {
		out.Set(path[0], without(inner, path[1:]))
	}
	return out
}

// sequence is a row of numbers: from start to end by stride.
type sequence struct {
	start, end, stride int
	count              int
	format             string
	hasEnd, hasCount   bool
	hasStride          bool
}

var shortSequence = regexp.MustCompile(`(?i)^(?:(0?x?[0-9a-f]+)-)?(0?x?[0-9a-f]+)(?:/(0?x?[0-9a-f]+))?(?::(.+))?$`)

func sequenceLookup(a args, terms []any) []any {
	out := []any{}
	for _, term := range texts(terms) {
		s := &sequence{start: 1, format: "%d"}
		for i, key := range []string{"start", "end", "count", "stride", "format"} {
			if a.given[i] && !a.nil(i) {
				s.set(key, pyStr(a.v[i]))
			}
		}
		s.parse(term)
		out = append(out, s.values()...)
	}
	return out
}

func (s *sequence) parse(term string) {
	if m := shortSequence.FindStringSubmatch(term); m != nil {
		for i, key := range []string{"start", "end", "stride", "format"} {
			if m[i+1] != "" {
				s.set(key, m[i+1])
			}
		}
		return
	}
	for _, word := range strings.Fields(term) {
		k, v, ok := strings.Cut(word, "=")
		if !ok {
			fail("unrecognized arguments to with_sequence: %s", pyQuote(word))
		}
		s.set(k, v)
	}
}

func (s *sequence) set(key, text string) {
	if key == "format" {
		s.format = text
		return
	}
	n, ok := parsePyInt(text, 0)
	if !ok {
		fail("can't parse %s=%s as integer", key, text)
	}
	switch key {
	case "start":
		s.start = n
	case "end":
		s.end, s.hasEnd = n, true
	case "count":
		s.count, s.hasCount = n, true
	case "stride":
		s.stride, s.hasStride = n, true
	default:
		fail("unrecognized arguments to with_sequence: %s", pyQuote(key))
	}
}

func (s *sequence) values() []any {
	switch {
	case s.hasEnd == s.hasCount:
		fail("must specify count or end in with_sequence, and not both")
	case !s.hasStride:
		s.stride = 1
	}
	if s.hasCount {
		if s.count == 0 {
			return nil
		}
		s.end = s.start + s.count*s.stride - signum(s.stride)
	}
	switch {
	case s.stride == 0:
		return nil
	case s.stride > 0 && s.end < s.start:
		fail("to count backwards make stride negative")
	case s.stride < 0 && s.end > s.start:
		fail("to count forward don't make stride negative")
	}
	out := []any{}
	for i := s.start; s.stride > 0 && i <= s.end || s.stride < 0 && i >= s.end; i += s.stride {
		out = append(out, percentFormat(s.format, i))
	}
	return out
}

func signum(n int) int {
	if n < 0 {
		return -1
	}
	return 1
}

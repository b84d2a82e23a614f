package expr

import (
	"fmt"
	"strings"
)

// signature is the parameter list of a filter, test, lookup or function, written as in Python:
// "value, default_value=”, boolean=false, *rest, **options".
type signature struct {
	params   []param
	byPlace  int  // how many of them may be given by position
	star     bool // takes further positional arguments
	twoStars bool // takes further named arguments
}

type param struct {
	name     string
	optional bool
	val      any
}

// sign reads a signature. It is for the tables of this package: a mistake panics.
func sign(text string) *signature {
	s := &signature{}
	for _, part := range splitParams(text) {
		name, val, optional := strings.Cut(strings.TrimSpace(part), "=")
		switch {
		case strings.HasPrefix(name, "**"):
			s.twoStars = true
		case strings.HasPrefix(name, "*"):
			s.star, s.byPlace = true, len(s.params)
		default:
			p := param{name: name, optional: optional}
			if optional {
				v, err := literalEval(val)
				if err != nil {
					panic("bad signature " + text + ": " + err.Error())
				}
				p.val = v
			}
			s.params = append(s.params, p)
		}
	}
	if !s.star {
		s.byPlace = len(s.params)
	}
	return s
}

// splitParams splits at commas outside quotes and brackets.
func splitParams(text string) []string {
	var out []string
	depth, start := 0, 0
	var quote rune
	for i, r := range text {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '\'':
			quote = r
		case r == '[' || r == '{' || r == '(':
			depth++
		case r == ']' || r == '}' || r == ')':
			depth--
		case r == ',' && depth == 0:
			out = append(out, text[start:i])
			start = i + 1
		}
	}
	if strings.TrimSpace(text[start:]) != "" {
		out = append(out, text[start:])
	}
	return out
}

// args are arguments bound to a signature: one value for every parameter, then what the stars took.
type args struct {
	f     *frame
	v     []any
	rest  []any
	named *Dict // only with **
	given []bool
}

// bind puts positional and named values to their parameters. first, when present, is the value a filter stands behind.
func (s *signature) bind(f *frame, what string, c callValues, first ...any) args {
	a := args{f: f, v: make([]any, len(s.params)), given: make([]bool, len(s.params))}
	pos := c.pos
	if len(first) > 0 {
		pos = append(append(make([]any, 0, len(pos)+1), first...), pos...)
	}
	for i, v := range pos {
		if i < s.byPlace {
			a.v[i], a.given[i] = v, true
		} else if s.star {
			a.rest = append(a.rest, v)
		} else {
			fail("%s takes %d argument%s but %d were given", what, len(s.params), plural(len(s.params)), len(pos))
		}
	}
	for i, name := range c.names {
		s.bindNamed(&a, what, name, c.named[i])
	}
	for i, p := range s.params {
		if !a.given[i] {
			if !p.optional {
				fail("%s is missing its argument '%s'", what, p.name)
			}
			a.v[i] = p.val
		}
	}
	return a
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

func (s *signature) bindNamed(a *args, what, name string, v any) {
	for i, p := range s.params {
		if p.name == name {
			if a.given[i] {
				fail("%s got multiple values for argument '%s'", what, name)
			}
			a.v[i], a.given[i] = v, true
			return
		}
	}
	if !s.twoStars {
		fail("%s has no argument '%s'", what, name)
	}
	if a.named == nil {
		a.named = &Dict{}
	}
	a.named.Set(name, v)
}

func (a args) str(i int) string { return pyStr(a.v[i]) }
func (a args) bool(i int) bool  { return truthy(a.v[i]) }
func (a args) nil(i int) bool   { return a.v[i] == nil }

// int is argument i as a whole number.
func (a args) int(i int) int {
	undefinedFails(a.v[i])
	n, _, isFloat, ok := numeric(a.v[i])
	if !ok || isFloat {
		fail("'%s' object cannot be interpreted as an integer", typeName(a.v[i]))
	}
	return n
}

// text is argument i, which must be text.
func (a args) text(i int, what string) string {
	undefinedFails(a.v[i])
	s, ok := norm(a.v[i]).(string)
	if !ok {
		fail("%s must be a string, not %s", what, typeName(a.v[i]))
	}
	return s
}

// opt is the value that ** took under name, or else.
func (a args) opt(name string, other any) any {
	if a.named != nil {
		if v, ok := a.named.Get(name); ok {
			return v
		}
	}
	return other
}

// onlyOpts refuses named values other than these.
func (a args) onlyOpts(what string, known ...string) {
	if a.named == nil {
		return
	}
	for _, k := range stringKeys(a.named) {
		found := false
		for _, name := range known {
			found = found || name == k
		}
		if !found {
			fail("%s has no argument '%s'", what, k)
		}
	}
}

// filter is a function behind "|".
type filter struct {
	name    string
	sig     *signature
	fn      func(a args) any
	lenient bool // takes undefined values; others fail on them before fn is called
}

func (x *filter) apply(f *frame, v any, c callValues) any {
	if u, ok := v.(*Undefined); ok && !x.lenient {
		u.use()
	}
	a := x.sig.bind(f, fmt.Sprintf("filter '%s'", x.name), c, norm(v))
	return x.fn(a)
}

// test is a function behind "is".
type test struct {
	name    string
	sig     *signature
	fn      func(a args) bool
	lenient bool
}

func (x *test) apply(f *frame, v any, c callValues) bool {
	if u, ok := v.(*Undefined); ok && !x.lenient {
		u.use()
	}
	return x.fn(x.sig.bind(f, fmt.Sprintf("test '%s'", x.name), c, norm(v)))
}

// lookup is a lookup plugin. fn gets the terms as one flat list.
type lookup struct {
	name string
	sig  *signature // of its named arguments
	fn   func(a args, terms []any) []any
}

package expr

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode"
)

var errNotLiteral = errors.New("not a literal")

// literalOr is the list, mapping or bool that s reads as, else s.
func literalOr(s string) any {
	switch s {
	case "True":
		return true
	case "False":
		return false
	}
	if s == "" || s[0] != '[' && s[0] != '{' {
		return s
	}
	v, err := literalEval(s)
	if err != nil {
		return s
	}
	return plain(v)
}

// literalEval reads a Python literal: numbers, text, lists, tuples, mappings, True, False and None, and JSON's true,
// false and null. It is what Ansible does to text that looks like a list or a mapping.
func literalEval(s string) (v any, err error) {
	if i := strings.LastIndexByte(s, '\n'); i >= 0 && i+1 < len(s) && strings.TrimSpace(s[i:]) == "" {
		return nil, errNotLiteral // Python takes blanks on a line of their own for an indentation
	}
	l := &literalReader{s: strings.TrimRight(s, " \t\n\r")}
	defer func() {
		if r := recover(); r != nil {
			if r != any(errNotLiteral) {
				if f, ok := r.(failure); ok { // an unhashable key
					v, err = nil, f.err
					return
				}
				panic(r)
			}
			v, err = nil, errNotLiteral
		}
	}()
	v = l.tupleOrValue()
	if l.space(); l.i != len(l.s) {
		return nil, errNotLiteral
	}
	return v, nil
}

// literalReader reads one literal; anything else panics with errNotLiteral.
type literalReader struct {
	s     string
	i     int
	depth int
}

func (l *literalReader) bad() { panic(errNotLiteral) }

// space skips blanks and, inside brackets, line ends.
func (l *literalReader) space() {
	for l.i < len(l.s) {
		switch c := l.s[l.i]; {
		case c == ' ' || c == '\t' || c == '\f':
		case (c == '\n' || c == '\r') && l.depth > 0:
		case c == '#' && l.depth > 0:
			for l.i < len(l.s) && l.s[l.i] != '\n' {
				l.i++
			}
			continue
		default:
			return
		}
		l.i++
	}
}

func (l *literalReader) skip(c byte) bool {
	l.space()
	if l.i < len(l.s) && l.s[l.i] == c {
		l.i++
		return true
	}
	return false
}

func (l *literalReader) tupleOrValue() any {
	v := l.value()
	if !l.skip(',') {
		return v
	}
	items := Tuple{v}
	for l.space(); l.i < len(l.s) && l.s[l.i] != ')'; l.space() {
		items = append(items, l.value())
		if !l.skip(',') {
			break
		}
	}
	return items
}

func (l *literalReader) value() any {
	if l.space(); l.i >= len(l.s) {
		l.bad()
	}
	if l.depth++; l.depth > 200 {
		l.bad()
	}
	defer func() { l.depth-- }()
	switch c := l.s[l.i]; {
	case c == '[':
		l.i++
		return l.items(']')
	case c == '{':
		l.i++
		return l.mapping()
	case c == '(':
		return l.parens()
	case c == '\'' || c == '"':
		return l.strings()
	case c == '-' || c == '+' || c == '.' || isDigit(c):
		return l.number()
	case unicode.IsLetter(rune(c)):
		return l.word()
	}
	l.bad()
	return nil
}

func (l *literalReader) parens() any {
	l.i++
	if l.skip(')') {
		return Tuple{}
	}
	v := l.tupleOrValue()
	if !l.skip(')') {
		l.bad()
	}
	return v
}

func (l *literalReader) items(end byte) []any {
	out := []any{}
	for !l.skip(end) {
		out = append(out, l.value())
		if !l.skip(',') {
			if !l.skip(end) {
				l.bad()
			}
			break
		}
	}
	return out
}

func (l *literalReader) mapping() any {
	d := &Dict{}
	for !l.skip('}') {
		k := l.value()
		if !l.skip(':') {
			return l.set(k)
		}
		dictSet(d, k, l.value())
		if !l.skip(',') {
			if !l.skip('}') {
				l.bad()
			}
			break
		}
	}
	return d
}

// set reads the rest of {a, b}, which becomes a list.
func (l *literalReader) set(first any) any {
	keyOf(first) // fails when it cannot be in a set
	items := []any{first}
	if l.skip(',') {
		items = append(items, l.items('}')...)
	} else if !l.skip('}') {
		l.bad()
	}
	return items
}

func (l *literalReader) word() any {
	start := l.i
	for l.i < len(l.s) && (isDigit(l.s[l.i]) || l.s[l.i] == '_' || unicode.IsLetter(rune(l.s[l.i]))) {
		l.i++
	}
	word := l.s[start:l.i]
	if l.i < len(l.s) && (l.s[l.i] == '\'' || l.s[l.i] == '"') {
		return l.prefixed(word)
	}
	switch word {
	case "True", "true":
		return true
	case "False", "false":
		return false
	case "None", "null":
		return nil
	}
	l.bad()
	return nil
}

// prefixed reads a string with a prefix: u” and r”.
func (l *literalReader) prefixed(prefix string) any {
	switch strings.ToLower(prefix) {
	case "u":
		return l.strings()
	case "r":
		return l.quoted(true)
	}
	l.bad()
	return nil
}

// strings reads a string and those that stand next to it.
func (l *literalReader) strings() any {
	var b strings.Builder
	for l.space(); l.i < len(l.s) && (l.s[l.i] == '\'' || l.s[l.i] == '"'); l.space() {
		b.WriteString(l.quoted(false))
	}
	return b.String()
}

func (l *literalReader) quoted(raw bool) string {
	q := l.s[l.i : l.i+1]
	if strings.HasPrefix(l.s[l.i:], q+q+q) {
		q = q + q + q
	}
	l.i += len(q)
	start := l.i
	for !strings.HasPrefix(l.s[l.i:], q) {
		if l.i >= len(l.s) || len(q) == 1 && l.s[l.i] == '\n' {
			l.bad()
		}
		if l.s[l.i] == '\\' {
			l.i++
		}
		if l.i++; l.i > len(l.s) {
			l.bad()
		}
	}
	body := l.s[start:l.i]
	l.i += len(q)
	if raw || strings.IndexByte(body, '\\') < 0 {
		return body
	}
	s, err := unicodeEscape(body)
	if err != nil {
		l.bad()
	}
	return s
}

func (l *literalReader) number() any {
	negative := false
	for l.i < len(l.s) && (l.s[l.i] == '-' || l.s[l.i] == '+') {
		negative = negative != (l.s[l.i] == '-')
		l.i++
	}
	start := l.i
	for l.i < len(l.s) && (isDigit(l.s[l.i]) || strings.IndexByte("._xXoObBaAcCdDeEfF", l.s[l.i]) >= 0 || l.afterExponent()) {
		l.i++
	}
	return l.parse(strings.ReplaceAll(l.s[start:l.i], "_", ""), negative)
}

func (l *literalReader) afterExponent() bool {
	c, before := l.s[l.i], byte(0)
	if l.i > 0 {
		before = l.s[l.i-1]
	}
	return (c == '+' || c == '-') && (before == 'e' || before == 'E')
}

func (l *literalReader) parse(text string, negative bool) any {
	if n, err := strconv.ParseInt(text, 0, 64); err == nil && (len(text) < 2 || text[0] != '0' || !isDigit(text[1])) {
		if negative {
			n = -n
		}
		return int(n)
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil && !math.IsInf(f, 0) || strings.ContainsAny(text, "xX") || text != "" && text[0] == '0' && len(text) > 1 && isDigit(text[1]) && !strings.ContainsAny(text, ".eE") {
		l.bad()
	}
	if negative {
		f = -f
	}
	return f
}

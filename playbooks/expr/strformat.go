package expr

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// strFormat is Python's "text".format(...).
func strFormat(f *frame, format string, c callValues) string {
	var b strings.Builder
	auto := 0
	for i := 0; i < len(format); i++ {
		switch ch := format[i]; {
		case (ch == '{' || ch == '}') && i+1 < len(format) && format[i+1] == ch:
			b.WriteByte(ch)
			i++
		case ch == '}':
			fail("Single '}' encountered in format string")
		case ch == '{':
			end := closing(format, i)
			b.WriteString(formatField(f, format[i+1:end], c, &auto))
			i = end
		default:
			b.WriteByte(ch)
		}
	}
	return b.String()
}

// closing is the offset of the brace that closes the one at i.
func closing(s string, i int) int {
	depth := 0
	for j := i; j < len(s); j++ {
		switch s[j] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return j
			}
		}
	}
	fail("Single '{' encountered in format string")
	return 0
}

func formatField(f *frame, field string, c callValues, auto *int) string {
	name, how, _ := strings.Cut(field, ":")
	name, conversion, _ := strings.Cut(name, "!")
	v := fieldValue(f, name, c, auto)
	undefinedFails(v)
	switch conversion {
	case "s":
		v = pyStr(v)
	case "r", "a":
		v = pyRepr(v)
	}
	if strings.Contains(how, "{") {
		how = strFormatNested(f, how, c, auto)
	}
	return formatValue(v, how)
}

func strFormatNested(f *frame, how string, c callValues, auto *int) string {
	var b strings.Builder
	for i := 0; i < len(how); i++ {
		if how[i] != '{' {
			b.WriteByte(how[i])
			continue
		}
		end := closing(how, i)
		b.WriteString(formatField(f, how[i+1:end], c, auto))
		i = end
	}
	return b.String()
}

// fieldValue finds what "0.name[key]" means.
func fieldValue(f *frame, path string, c callValues, auto *int) any {
	head := path
	if i := strings.IndexAny(path, ".["); i >= 0 {
		head = path[:i]
	}
	v := fieldHead(head, c, auto)
	for rest := path[len(head):]; rest != ""; {
		if rest[0] == '.' {
			end := strings.IndexAny(rest[1:], ".[") + 1
			if end == 0 {
				end = len(rest)
			}
			v, rest = attribute(f, v, rest[1:end]), rest[end:]
			continue
		}
		end := strings.IndexByte(rest, ']')
		if end < 0 {
			fail("Missing ']' in format string")
		}
		var key any = rest[1:end]
		if n, err := strconv.Atoi(rest[1:end]); err == nil {
			key = n
		}
		v, rest = getItem(f, v, key), rest[end+1:]
	}
	return v
}

// attribute is v.name without a fall back to v[name].
func attribute(f *frame, v any, name string) any {
	undefinedFails(v)
	if _, isItem := member(f.r, v, name); isItem && methodOf(v, name) == nil {
		fail("'%s' object has no attribute '%s'", typeName(v), name)
	}
	return getAttr(f, v, name)
}

func fieldHead(head string, c callValues, auto *int) any {
	if head == "" {
		if *auto < 0 {
			fail("cannot switch from manual field specification to automatic field numbering")
		}
		head = strconv.Itoa(*auto)
		*auto++
	} else if isDigit(head[0]) {
		if *auto > 0 {
			fail("cannot switch from automatic field numbering to manual field specification")
		}
		*auto = -1
	}
	if n, err := strconv.Atoi(head); err == nil {
		if n >= len(c.pos) {
			fail("Replacement index %d out of range for positional args tuple", n)
		}
		return norm(c.pos[n])
	}
	for i, name := range c.names {
		if name == head {
			return norm(c.named[i])
		}
	}
	fail("format has no value for '%s'", head)
	return nil
}

// formatValue is Python's format(v, spec).
func formatValue(v any, how string) string {
	if how == "" {
		return pyStr(v)
	}
	if t, ok := v.(*dateTime); ok {
		return strftime(how, t.t)
	}
	sp := parseSpec(how)
	if s, ok := v.(string); ok {
		if sp.verb != 0 && sp.verb != 's' {
			fail("Unknown format code '%c' for object of type 'str'", sp.verb)
		}
		return sp.pad(sp.cut(s), '<')
	}
	i, fl, isFloat, ok := numeric(v)
	switch {
	case !ok:
		fail("unsupported format string passed to %s.__format__", typeName(v))
	case sp.verb == '%':
		sp.verb, sp.percentage = 'f', true
		return sp.float(fl * 100)
	case sp.verb == 'c':
		return sp.pad(string(rune(i)), '<')
	case isFloat && sp.verb == 0:
		return sp.plainFloat(fl)
	case isFloat || strings.IndexByte("eEfFgG", sp.verb) >= 0 && sp.verb != 0:
		return sp.float(fl)
	}
	return sp.integer(i)
}

func (sp *spec) plainFloat(f float64) string {
	if sp.precision >= 0 {
		sp.verb = 'g'
		return sp.float(f)
	}
	s := floatRepr(f)
	return sp.number(sp.signOf(strings.HasPrefix(s, "-")), sp.group(strings.TrimPrefix(s, "-")))
}

// parseSpec reads [[fill]align][sign][#][0][width][,][.precision][type].
func parseSpec(s string) *spec {
	sp := &spec{fill: ' ', precision: -1}
	if r, n := utf8.DecodeRuneInString(s); n < len(s) && strings.IndexByte("<>^=", s[n]) >= 0 {
		sp.fill, sp.align, s = r, s[n], s[n+1:]
	} else if s != "" && strings.IndexByte("<>^=", s[0]) >= 0 {
		sp.align, s = s[0], s[1:]
	}
	if s != "" && strings.IndexByte("+- ", s[0]) >= 0 {
		if s[0] != '-' {
			sp.sign = s[0]
		}
		s = s[1:]
	}
	if strings.HasPrefix(s, "#") {
		sp.alt, s = true, s[1:]
	}
	if strings.HasPrefix(s, "0") && sp.align == 0 {
		sp.zero, s = true, s[1:]
	}
	sp.width, s = leadingInt(s)
	if s != "" && (s[0] == ',' || s[0] == '_') {
		sp.comma, s = s[0], s[1:]
	}
	if strings.HasPrefix(s, ".") {
		sp.precision, s = leadingInt(s[1:])
	}
	if len(s) > 1 {
		fail("Invalid format specifier")
	}
	if s != "" {
		sp.verb = s[0]
	}
	return sp
}

func leadingInt(s string) (int, string) {
	end := 0
	for end < len(s) && isDigit(s[end]) {
		end++
	}
	n, _ := strconv.Atoi(s[:end]) // "" is 0
	return n, s[end:]
}

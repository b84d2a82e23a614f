package expr

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// percentFormat is Python's "format % values".
func percentFormat(format string, values any) string {
	p := &percent{values: []any{values}}
	spare := false // values that no conversion takes are no mistake
	if t, ok := values.(Tuple); ok {
		p.values = t
	} else if d, ok := asDict(values); ok {
		p.named, p.mapped, spare = d, true, true
	} else {
		_, spare = asList(values)
	}
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			b.WriteByte(format[i])
			continue
		}
		n := p.one(&b, format[i+1:])
		i += n
	}
	if p.next < len(p.values) && !spare {
		fail("not all arguments converted during string formatting")
	}
	return b.String()
}

type percent struct {
	values []any
	next   int
	named  *Dict
	mapped bool
}

// spec is how one value is to be shown: what stands between the % or : and the letter.
type spec struct {
	fill       rune
	align      byte // < > ^ = or 0
	sign       byte // + or blank or 0
	alt        bool // #
	zero       bool
	width      int
	comma      byte
	precision  int // -1 when there is none
	verb       byte
	percentage bool
}

func (p *percent) take() any {
	if p.next >= len(p.values) {
		fail("not enough arguments for format string")
	}
	p.next++
	return p.values[p.next-1]
}

// one writes one conversion, whose text after the % starts s, and gives how much of s it is.
func (p *percent) one(b *strings.Builder, s string) int {
	i := 0
	v, given := any(nil), false
	if strings.HasPrefix(s, "(") {
		end := strings.IndexByte(s, ')')
		if end < 0 {
			fail("incomplete format key")
		}
		if !p.mapped {
			fail("format requires a mapping")
		}
		v, given = p.named.Get(s[1:end])
		if !given {
			fail("the format has no value for '%s'", s[1:end])
		}
		i = end + 1
	}
	sp := spec{precision: -1, fill: ' '}
	for ; i < len(s) && strings.IndexByte("#0- +", s[i]) >= 0; i++ {
		sp.flag(s[i])
	}
	sp.width, i = p.count(s, i)
	if i < len(s) && s[i] == '.' {
		sp.precision, i = p.count(s, i+1)
	}
	if i >= len(s) {
		fail("incomplete format")
	}
	sp.verb = s[i]
	if sp.verb == '%' {
		b.WriteByte('%')
		return i + 1
	}
	if !given {
		v = p.take()
	}
	b.WriteString(sp.percentValue(norm(v)))
	return i + 1
}

func (sp *spec) flag(c byte) {
	switch c {
	case '#':
		sp.alt = true
	case '0':
		sp.zero = true
	case '-':
		sp.align = '<'
	case ' ', '+':
		if sp.sign != '+' {
			sp.sign = c
		}
	}
}

// count reads a width or precision; * takes it from the values.
func (p *percent) count(s string, i int) (n, end int) {
	if i < len(s) && s[i] == '*' {
		n, _, _, _ = numeric(p.take())
		return n, i + 1
	}
	end = i
	for end < len(s) && isDigit(s[end]) {
		end++
	}
	n, _ = strconv.Atoi(s[i:end]) // "" is 0
	return n, end
}

func (sp *spec) percentValue(v any) string {
	undefinedFails(v)
	switch sp.verb {
	case 's', 'r', 'a':
		text := pyRepr(v)
		if sp.verb == 's' {
			text = pyStr(v)
		}
		return sp.pad(sp.cut(text), '>')
	case 'c':
		if n, ok := v.(int); ok {
			return sp.pad(string(rune(n)), '>')
		}
		return sp.pad(pyStr(v), '>')
	}
	i, f, isFloat, ok := numeric(v)
	if strings.IndexByte("diuxXo", sp.verb) >= 0 {
		if !ok || isFloat && strings.IndexByte("xXo", sp.verb) >= 0 {
			fail("%%%c format: a number is required, not %s", sp.verb, typeName(v))
		}
		if isFloat {
			i = int(f)
		}
		return sp.integer(i)
	}
	if strings.IndexByte("eEfFgG", sp.verb) < 0 {
		fail("unsupported format character '%c'", sp.verb)
	}
	if !ok {
		fail("must be real number, not %s", typeName(v))
	}
	return sp.float(f)
}

func (sp *spec) cut(s string) string {
	if sp.precision < 0 || utf8.RuneCountInString(s) <= sp.precision {
		return s
	}
	return string([]rune(s)[:sp.precision])
}

// pad fills s up to the width; def is the side it leans to when the spec does not say.
func (sp *spec) pad(s string, def byte) string {
	n := sp.width - utf8.RuneCountInString(s)
	if n <= 0 {
		return s
	}
	align := sp.align
	if align == 0 {
		align = def
	}
	fill := string(sp.fill)
	switch align {
	case '<':
		return s + strings.Repeat(fill, n)
	case '^':
		return strings.Repeat(fill, n/2) + s + strings.Repeat(fill, n-n/2)
	}
	return strings.Repeat(fill, n) + s
}

func (sp *spec) signOf(negative bool) string {
	switch {
	case negative:
		return "-"
	case sp.sign != 0:
		return string(sp.sign)
	}
	return ""
}

func (sp *spec) integer(i int) string {
	prefix, digits := "", ""
	abs := uint64(i)
	if i < 0 {
		abs = -abs
	}
	switch sp.verb {
	case 'x', 'X':
		prefix, digits = "0x", strconv.FormatUint(abs, 16)
	case 'o':
		prefix, digits = "0o", strconv.FormatUint(abs, 8)
	case 'b':
		prefix, digits = "0b", strconv.FormatUint(abs, 2)
	default:
		digits = strconv.FormatUint(abs, 10)
	}
	if !sp.alt {
		prefix = ""
	}
	if sp.verb == 'X' {
		prefix, digits = strings.ToUpper(prefix), strings.ToUpper(digits)
	}
	if sp.precision > len(digits) {
		digits = strings.Repeat("0", sp.precision-len(digits)) + digits
	}
	return sp.number(sp.signOf(i < 0)+prefix, sp.group(digits))
}

// number pads a number: zeros and "=" go between the sign and the digits.
func (sp *spec) number(sign, digits string) string {
	if sp.zero && sp.align == 0 || sp.align == '=' {
		fill := sp.fill
		if sp.zero {
			fill = '0'
		}
		inner := *sp
		inner.fill, inner.align, inner.width = fill, '>', sp.width-len(sign)
		return sign + inner.pad(digits, '>')
	}
	return sp.pad(sign+digits, '>')
}

func (sp *spec) group(digits string) string {
	if sp.comma == 0 {
		return digits
	}
	whole, rest, _ := strings.Cut(digits, ".")
	if rest != "" {
		rest = "." + rest
	}
	var parts []string
	for len(whole) > 3 {
		parts = append([]string{whole[len(whole)-3:]}, parts...)
		whole = whole[:len(whole)-3]
	}
	return strings.Join(append([]string{whole}, parts...), string(sp.comma)) + rest
}

func (sp *spec) float(f float64) string {
	precision := sp.precision
	if precision < 0 {
		precision = 6
	}
	var digits string
	switch sp.verb {
	case 'e', 'E':
		digits = strconv.FormatFloat(math.Abs(f), 'e', precision, 64)
	case 'f', 'F':
		digits = strconv.FormatFloat(math.Abs(f), 'f', precision, 64)
	default:
		digits = general(math.Abs(f), max(precision, 1), sp.alt)
	}
	if sp.verb >= 'A' && sp.verb <= 'Z' {
		digits = strings.ToUpper(digits)
	}
	if math.IsInf(f, 0) || math.IsNaN(f) {
		digits = strings.ToLower(strings.TrimPrefix(fmt.Sprint(math.Abs(f)), "+"))
	}
	if sp.percentage {
		digits += "%"
	}
	return sp.number(sp.signOf(f < 0 || f == 0 && math.Signbit(f)), sp.group(digits))
}

// general is %g: the shorter of %e and %f, without zeros at the end.
func general(f float64, precision int, keepZeros bool) string {
	e := strconv.FormatFloat(f, 'e', precision-1, 64)
	mantissa, exp, _ := strings.Cut(e, "e")
	n, _ := strconv.Atoi(exp)
	if n >= -4 && n < precision {
		s := strconv.FormatFloat(f, 'f', precision-1-n, 64)
		return trimZeros(s, keepZeros)
	}
	return trimZeros(mantissa, keepZeros) + "e" + exp
}

func trimZeros(s string, keep bool) string {
	if keep || !strings.Contains(s, ".") {
		return s
	}
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

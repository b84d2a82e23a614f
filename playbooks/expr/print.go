package expr

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// pyStr is Python's str(v). An undefined value fails.
func pyStr(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case int:
		return strconv.Itoa(v)
	}
	switch v := norm(v).(type) {
	case string:
		return v
	case *Undefined:
		v.use()
		return ""
	case *dateTime:
		return v.String()
	case *omitted:
		return omitText
	default:
		return pyRepr(v)
	}
}

// pyRepr is Python's repr(v). An undefined value inside fails, too.
func pyRepr(v any) string {
	var b strings.Builder
	writeRepr(&b, v)
	return b.String()
}

func writeRepr(b *strings.Builder, v any) {
	switch v := norm(v).(type) {
	case nil:
		b.WriteString("None")
	case bool:
		if v {
			b.WriteString("True")
		} else {
			b.WriteString("False")
		}
	case int:
		b.WriteString(strconv.Itoa(v))
	case float64:
		b.WriteString(floatRepr(v))
	case string:
		b.WriteString(pyQuote(v))
	case []any:
		writeItems(b, "[", v, "]")
	case *List:
		writeItems(b, "[", v.items, "]")
	case Tuple:
		writeTuple(b, v)
	case *group:
		writeTuple(b, v.pair())
	case *Dict:
		writeDict(b, v)
	case Mapping:
		writeDict(b, dictOfMapping(v))
	case *Undefined:
		panic(failure{v})
	case *omitted:
		b.WriteString("'" + omitText + "'")
	case fmt.Stringer:
		b.WriteString(v.String())
	default:
		fmt.Fprintf(b, "<%s>", typeName(v))
	}
}

func writeItems(b *strings.Builder, open string, items []any, end string) {
	b.WriteString(open)
	for i, item := range items {
		if i > 0 {
			b.WriteString(", ")
		}
		writeRepr(b, item)
	}
	b.WriteString(end)
}

func writeTuple(b *strings.Builder, t Tuple) {
	if len(t) == 1 {
		writeItems(b, "(", t, ",)")
		return
	}
	writeItems(b, "(", t, ")")
}

func writeDict(b *strings.Builder, d *Dict) {
	sep := "{"
	for k, v := range d.All() {
		b.WriteString(sep)
		writeRepr(b, k)
		b.WriteString(": ")
		writeRepr(b, v)
		sep = ", "
	}
	if d.Len() == 0 {
		b.WriteByte('{')
	}
	b.WriteByte('}')
}

// floatRepr is the shortest text that reads back as f, in Python's form.
func floatRepr(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		s := strconv.FormatFloat(f, 'e', -1, 64)
		return s // Go and Python both write at least two digits of exponent
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// pyQuote is the repr of a string: in single quotes unless it holds some and no double ones.
func pyQuote(s string) string {
	quote := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	b := make([]byte, 0, len(s)+2)
	b = append(b, quote)
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		b = appendQuoted(b, s[i:i+n], r, quote)
		i += n
	}
	return string(append(b, quote))
}

func appendQuoted(b []byte, text string, r rune, quote byte) []byte {
	switch {
	case r == rune(quote) || r == '\\':
		return append(b, '\\', byte(r))
	case r == '\n':
		return append(b, `\n`...)
	case r == '\t':
		return append(b, `\t`...)
	case r == '\r':
		return append(b, `\r`...)
	case r == utf8.RuneError && len(text) == 1:
		return fmt.Appendf(b, `\udc%02x`, text[0])
	case r == ' ' || unicode.IsPrint(r):
		return append(b, text...)
	case r < 0x100:
		return fmt.Appendf(b, `\x%02x`, r)
	case r < 0x10000:
		return fmt.Appendf(b, `\u%04x`, r)
	}
	return fmt.Appendf(b, `\U%08x`, r)
}

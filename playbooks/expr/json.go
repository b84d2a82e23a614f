package expr

import (
	"math"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/calroll/calroll/playbooks/value"
)

// jsonWriter writes JSON as Python's json.dumps does: ", " and ": " between parts, text beyond ASCII escaped.
type jsonWriter struct {
	b        strings.Builder
	indent   string // of one level; "" for one line
	lines    bool
	itemSep  string
	keySep   string
	sortKeys bool
	unicode  bool // leave text beyond ASCII as it is
}

// dumps writes v. indent below zero is one line.
func dumps(v any, indent int, sortKeys, unicode bool) string {
	w := &jsonWriter{itemSep: ", ", keySep: ": ", sortKeys: sortKeys, unicode: unicode}
	if indent >= 0 {
		w.lines, w.indent, w.itemSep = true, strings.Repeat(" ", indent), ","
	}
	w.write(v, 0)
	return w.b.String()
}

func (w *jsonWriter) write(v any, depth int) {
	switch v := norm(v).(type) {
	case nil:
		w.b.WriteString("null")
	case bool:
		w.b.WriteString(strings.ToLower(pyRepr(v)))
	case int:
		w.b.WriteString(pyStr(v))
	case float64:
		w.b.WriteString(jsonFloat(v))
	case string:
		w.text(v)
	case *omitted:
		w.text(omitText)
	case *dateTime:
		w.text(v.iso())
	case *Undefined:
		v.use()
		w.b.WriteString(`""`)
	default:
		w.container(v, depth)
	}
}

func jsonFloat(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return floatRepr(f)
}

func (w *jsonWriter) container(v any, depth int) {
	if d, ok := asDict(v); ok {
		w.mapping(d, depth)
		return
	}
	items, ok := asList(v)
	if !ok {
		fail("Object of type %s is not JSON serializable", typeName(v))
	}
	if len(items) == 0 {
		w.b.WriteString("[]")
		return
	}
	w.b.WriteByte('[')
	for i, item := range items {
		w.next(i, depth+1)
		w.write(item, depth+1)
	}
	w.end(depth)
	w.b.WriteByte(']')
}

// next starts item i of a container.
func (w *jsonWriter) next(i, depth int) {
	if i > 0 {
		w.b.WriteString(w.itemSep)
	}
	if w.lines {
		w.b.WriteByte('\n')
		w.b.WriteString(strings.Repeat(w.indent, depth))
	}
}

func (w *jsonWriter) end(depth int) {
	if w.lines {
		w.b.WriteByte('\n')
		w.b.WriteString(strings.Repeat(w.indent, depth))
	}
}

func (w *jsonWriter) mapping(d *Dict, depth int) {
	if d.Len() == 0 {
		w.b.WriteString("{}")
		return
	}
	w.b.WriteByte('{')
	for i, k := range w.keys(d) {
		w.next(i, depth+1)
		w.text(jsonKey(k))
		w.b.WriteString(w.keySep)
		v, _ := d.Get(k)
		w.write(v, depth+1)
	}
	w.end(depth)
	w.b.WriteByte('}')
}

// jsonKey is a key as Python's json writes it.
func jsonKey(k any) string {
	switch k := k.(type) {
	case string:
		return k
	case nil:
		return "null"
	case bool:
		return strings.ToLower(pyRepr(k))
	case int, float64:
		return pyStr(k)
	}
	fail("keys must be str, int, float, bool or None, not %s", typeName(k))
	return ""
}

func (w *jsonWriter) keys(d *Dict) []any {
	keys := d.Keys()
	if w.sortKeys {
		slices.SortStableFunc(keys, func(a, b any) int { return compare(a, b, "<") })
	}
	return keys
}

var jsonEscapes = map[rune]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\b': `\b`, '\f': `\f`}

func (w *jsonWriter) text(s string) {
	w.b.WriteByte('"')
	for _, r := range s {
		switch esc, ok := jsonEscapes[r]; {
		case ok:
			w.b.WriteString(esc)
		case r < ' ' || r >= 0x7f && !w.unicode && r < 0x10000 && r != 0x7f:
			w.hex(r)
		case r >= 0x10000 && !w.unicode:
			hi, lo := utf16.EncodeRune(r)
			w.hex(hi)
			w.hex(lo)
		default:
			w.b.WriteRune(r)
		}
	}
	w.b.WriteByte('"')
}

func (w *jsonWriter) hex(r rune) {
	const digits = "0123456789abcdef"
	w.b.WriteString(`\u`)
	for shift := 12; shift >= 0; shift -= 4 {
		w.b.WriteByte(digits[r>>shift&15])
	}
}

// validText is s without bytes that are no UTF-8.
func validText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// loads reads JSON as Python's json.loads does, which also takes NaN and Infinity.
func loads(text string) any {
	v, err := value.FromJSON([]byte(text))
	if err != nil {
		fail("cannot read JSON: %w", err)
	}
	return v
}

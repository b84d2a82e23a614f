package expr

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/playbooks/value"
)

// emitter writes YAML exactly as PyYAML with libyaml does, so that files written by the to_yaml filters are the same
// bytes as under Ansible: its choice of quotes, its indentation of lists, its line breaks past the width.
type emitter struct {
	b          strings.Builder
	indent     int // of one level
	width      int
	block      bool // never flow style
	flow       bool // always flow style
	sortKeys   bool
	unicode    bool
	quote      string // ', " or | for every text, or ""
	start      bool   // begin with ---
	stop       bool   // end with ...
	level      int    // the current indentation
	column     int
	flowDepth  int
	whitespace bool // the last character was a blank
	indention  bool // only indentation so far on this line
}

func newEmitter() *emitter {
	return &emitter{indent: 2, width: 80, level: -1, whitespace: true, indention: true}
}

func (e *emitter) document(v any) string {
	if e.indent < 2 || e.indent > 9 {
		e.indent = 2
	}
	switch {
	case e.width < 0:
		e.width = math.MaxInt
	case e.width <= e.indent*2:
		e.width = 80
	}
	if e.start {
		e.indicator("---", true, false, false)
	}
	e.node(norm(v), false, false)
	e.newLine()
	if e.stop {
		e.put("...")
		e.newLine()
	}
	return e.b.String()
}

func (e *emitter) put(s string) {
	e.b.WriteString(s)
	e.column += utf8.RuneCountInString(s)
}

func (e *emitter) newLine() { e.lineBreak('\n') }

// lineBreak ends the line with r, which is one of Unicode's line ends.
func (e *emitter) lineBreak(r rune) {
	e.b.WriteRune(r)
	e.column, e.whitespace, e.indention = 0, true, true
}

// lineIndent goes to the indentation, on a new line unless this one has nothing else.
func (e *emitter) lineIndent() {
	to := max(e.level, 0)
	if !e.indention || e.column > to || e.column == to && !e.whitespace {
		e.newLine()
	}
	if e.column < to {
		e.put(strings.Repeat(" ", to-e.column))
	}
	e.whitespace, e.indention = true, true
}

func (e *emitter) indicator(s string, needBlank, isBlank, isIndention bool) {
	if needBlank && !e.whitespace {
		e.put(" ")
	}
	e.put(s)
	e.whitespace, e.indention = isBlank, e.indention && isIndention
}

// deeper raises the indentation and gives what puts it back.
func (e *emitter) deeper(flow, indentless bool) func() {
	before := e.level
	switch {
	case e.level < 0 && flow:
		e.level = e.indent
	case e.level < 0:
		e.level = 0
	case !indentless:
		e.level += e.indent
	}
	return func() { e.level = before }
}

func (e *emitter) node(v any, inMapping, key bool) {
	if d, ok := asDict(v); ok {
		e.mapping(d)
		return
	}
	if items, ok := asList(v); ok {
		e.sequence(items, inMapping)
		return
	}
	defer e.deeper(true, false)()
	e.scalar(v, key)
}

func isScalar(v any) bool {
	v = norm(v)
	_, isDict := asDict(v)
	_, isList := asList(v)
	return !isDict && !isList
}

// flowStyle tells whether a collection goes on one line: inside another such, when it is empty, or, unless told
// otherwise, when it holds scalars alone.
func (e *emitter) flowStyle(members []any) bool {
	return e.flowDepth > 0 || len(members) == 0 || e.flow || !e.block && e.quote == "" && !slices.ContainsFunc(members, func(v any) bool { return !isScalar(v) })
}

func (e *emitter) sequence(items []any, inMapping bool) {
	if e.flowStyle(items) {
		e.flowed("[", "]", len(items), func(i int) { e.node(norm(items[i]), false, false) })
		return
	}
	defer e.deeper(false, inMapping && !e.indention)()
	for _, item := range items {
		e.lineIndent()
		e.indicator("-", true, false, true)
		e.node(norm(item), false, false)
	}
}

func (e *emitter) flowed(open, end string, n int, member func(i int)) {
	e.indicator(open, true, true, false)
	back := e.deeper(true, false)
	e.flowDepth++
	for i := range n {
		if i > 0 {
			e.indicator(",", false, false, false)
		}
		if e.column > e.width {
			e.lineIndent()
		}
		member(i)
	}
	e.flowDepth--
	back()
	e.indicator(end, false, false, false)
}

func (e *emitter) mapping(d *Dict) {
	keys := d.Keys()
	if e.sortKeys && sortable(keys) {
		slices.SortStableFunc(keys, func(a, b any) int { return compare(a, b, "<") })
	}
	pair := func(i int) {
		e.pair(keys[i], norm(d.At(keys[i])))
	}
	if e.flowStyle(dictVals(d)) {
		e.flowed("{", "}", len(keys), pair)
		return
	}
	defer e.deeper(false, false)()
	for i := range keys {
		e.lineIndent()
		pair(i)
	}
}

// sortable: PyYAML leaves keys that have no order as they are.
func sortable(keys []any) bool {
	return attempt(func() {
		for i := range keys {
			compare(keys[0], keys[i], "<")
		}
	}) == nil
}

func (e *emitter) pair(k, v any) {
	text := e.scalarText(k)
	if len(text) <= 128 && strings.IndexFunc(text, isBreak) < 0 {
		e.node(k, true, true)
		e.indicator(":", false, false, false)
		e.node(v, true, false)
		return
	}
	e.indicator("?", true, false, true)
	e.node(k, true, false)
	if e.flowDepth == 0 || e.column > e.width {
		e.lineIndent()
	}
	e.indicator(":", true, false, true)
	e.node(v, true, false)
}

// scalarText is a scalar that is not text as YAML writes it.
func (e *emitter) scalarText(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return strings.ToLower(pyRepr(v))
	case float64:
		return yamlFloat(v)
	case *omitted:
		return omitText
	case *dateTime:
		return v.String()
	case string, int:
		return pyStr(v)
	case *Undefined:
		v.use()
		return ""
	}
	fail("cannot represent an object of type %s in YAML", typeName(v))
	return ""
}

func yamlFloat(f float64) string {
	switch {
	case math.IsNaN(f):
		return ".nan"
	case math.IsInf(f, 1):
		return ".inf"
	case math.IsInf(f, -1):
		return "-.inf"
	}
	s := floatRepr(f)
	if !strings.Contains(s, ".") {
		s = strings.Replace(s, "e", ".0e", 1)
	}
	return s
}

func (e *emitter) scalar(v any, key bool) {
	text := e.scalarText(v)
	s, isText := v.(string)
	if !isText {
		e.plain(text, key)
		return
	}
	a := analyze(s, e.unicode)
	switch style := e.style(s, a, key); style {
	case '\'':
		e.single(s, key)
	case '"':
		e.double(s, key)
	case '|':
		e.literal(s)
	default:
		e.plain(s, key)
	}
}

// style picks how a text is written: plain (0), ', " or |.
func (e *emitter) style(s string, a analysis, key bool) byte {
	switch {
	case key && a.lines:
		return '"'
	case e.quote == "|" && !key && e.flowDepth == 0 && a.block:
		return '|'
	case e.quote == `"`:
		return '"'
	}
	plain := a.blockPlain
	if e.flowDepth > 0 {
		plain = a.flowPlain
	}
	if plain && e.quote == "" && (s != "" || e.flowDepth == 0 && !key) && readsAsText(s) {
		return 0
	}
	if a.single && (!key || !a.lines) {
		return '\''
	}
	return '"'
}

// readsAsText tells whether the plain scalar s would be read as text again.
func readsAsText(s string) bool {
	v, err := value.FromYAML(&yaml.Node{Kind: yaml.ScalarNode, Value: s}, "")
	if err != nil {
		return false
	}
	switch v.(type) {
	case string, value.Template:
		return true
	}
	return false
}

// analysis says which styles can hold a text.
type analysis struct{ lines, flowPlain, blockPlain, single, block bool }

func analyze(s string, unicodeOK bool) analysis {
	if s == "" {
		return analysis{blockPlain: true, single: true}
	}
	a := analysis{flowPlain: true, blockPlain: true, single: true, block: true}
	if strings.HasPrefix(s, "---") || strings.HasPrefix(s, "...") {
		a.flowPlain, a.blockPlain = false, false
	}
	rs := []rune(s)
	for i, r := range rs {
		a.indicators(rs, i)
		if !printable(r) || r >= utf8.RuneSelf && !unicodeOK {
			return analysis{lines: a.lines || strings.ContainsAny(s, "\n\r\u0085\u2028\u2029")}
		}
		a.spaces(rs, i)
	}
	return a
}

func isBreak(r rune) bool {
	return r == '\n' || r == '\r' || r == 0x85 || r == 0x2028 || r == 0x2029
}

func blankAt(rs []rune, i int) bool {
	return i < 0 || i >= len(rs) || rs[i] == ' ' || rs[i] == '\t' || isBreak(rs[i])
}

func (a *analysis) indicators(rs []rune, i int) {
	r, first, followed := rs[i], i == 0, blankAt(rs, i+1)
	switch {
	case first && strings.ContainsRune("#,[]{}&*!|>'\"%@`", r), first && r == '-' && followed:
		a.flowPlain, a.blockPlain = false, false
	case r == ':' || first && r == '?':
		a.flowPlain = false
		a.blockPlain = a.blockPlain && !followed
	case strings.ContainsRune(",?[]{}", r):
		a.flowPlain = false
	case r == '#' && blankAt(rs, i-1):
		a.flowPlain, a.blockPlain = false, false
	}
}

func (a *analysis) spaces(rs []rune, i int) {
	r, first, last := rs[i], i == 0, i == len(rs)-1
	switch {
	case r == ' ':
		if first || last {
			a.flowPlain, a.blockPlain = false, false
			a.block = a.block && !last
		}
		if i > 0 && isBreak(rs[i-1]) {
			a.flowPlain, a.blockPlain, a.single = false, false, false
		}
	case isBreak(r):
		a.lines, a.flowPlain, a.blockPlain = true, false, false
		if i > 0 && rs[i-1] == ' ' {
			a.single, a.block = false, false
		}
	}
}

// printable is libyaml's idea: neither the tab nor the next-line character nor anything beyond 16 bits counts.
func printable(r rune) bool {
	return r == '\n' || r >= ' ' && r <= '~' || r >= 0xa0 && r <= 0xd7ff || r >= 0xe000 && r <= 0xfffd && r != 0xfeff
}

func (e *emitter) plain(s string, key bool) {
	if !e.whitespace && (s != "" || e.flowDepth > 0) {
		e.put(" ")
	}
	rs := []rune(s)
	spaces := false
	for i, r := range rs {
		if r == ' ' && !key && !spaces && e.column > e.width && (i+1 >= len(rs) || rs[i+1] != ' ') {
			e.lineIndent()
		} else {
			e.put(string(r))
		}
		if r != ' ' {
			e.indention = false
		}
		spaces = r == ' '
	}
	e.whitespace, e.indention = false, false
}

func (e *emitter) single(s string, key bool) {
	e.indicator("'", true, false, false)
	rs := []rune(s)
	spaces, breaks := false, false
	for i, r := range rs {
		switch {
		case r == ' ':
			if !key && !spaces && e.column > e.width && i > 0 && i < len(rs)-1 && rs[i+1] != ' ' {
				e.lineIndent()
			} else {
				e.put(" ")
			}
			spaces = true
		case isBreak(r):
			if !breaks && r == '\n' {
				e.newLine()
			}
			e.lineBreak(r)
			breaks = true
		default:
			if breaks {
				e.lineIndent()
			}
			e.put(strings.Repeat(string(r), 1+boolInt(r == '\'')))
			e.indention, spaces, breaks = false, false, false
		}
	}
	if breaks {
		e.lineIndent()
	}
	e.put("'")
	e.whitespace, e.indention = false, false
}

var yamlEscapes = map[rune]string{
	0: `\0`, 7: `\a`, 8: `\b`, 9: `\t`, 10: `\n`, 11: `\v`, 12: `\f`, 13: `\r`, 27: `\e`, '"': `\"`, '\\': `\\`, 0x85: `\N`, 0xa0: `\_`, 0x2028: `\L`, 0x2029: `\P`,
}

func (e *emitter) double(s string, key bool) {
	e.indicator(`"`, true, false, false)
	rs := []rune(s)
	spaces := false
	for i, r := range rs {
		switch {
		case !printable(r) || r >= utf8.RuneSelf && !e.unicode || isBreak(r) || r == '"' || r == '\\':
			e.put(yamlEscape(r))
			spaces = false
		case r == ' ':
			if !key && !spaces && e.column > e.width && i > 0 && i < len(rs)-1 {
				e.lineIndent()
				if rs[i+1] == ' ' {
					e.put(`\`)
				}
			} else {
				e.put(" ")
			}
			spaces = true
		default:
			e.put(string(r))
			spaces = false
		}
	}
	e.indicator(`"`, false, false, false)
}

func yamlEscape(r rune) string {
	if esc, ok := yamlEscapes[r]; ok {
		return esc
	}
	switch {
	case r <= 0xff:
		return fmt.Sprintf(`\x%02X`, r)
	case r <= 0xffff:
		return fmt.Sprintf(`\u%04X`, r)
	}
	return fmt.Sprintf(`\U%08X`, r)
}

// literal writes a text below a "|".
func (e *emitter) literal(s string) {
	hints := ""
	if s != "" && (s[0] == ' ' || s[0] == '\n') {
		hints = fmt.Sprint(e.indent)
	}
	switch {
	case !strings.HasSuffix(s, "\n"):
		hints += "-"
	case strings.HasSuffix(s, "\n\n") || s == "\n":
		hints += "+"
	}
	e.indicator("|"+hints, true, false, false)
	for _, line := range strings.Split(strings.TrimSuffix(s, "\n"), "\n") {
		e.newLine()
		if line != "" {
			e.put(strings.Repeat(" ", max(e.level, 0)))
			e.put(line)
		}
	}
	e.whitespace, e.indention = false, false
}

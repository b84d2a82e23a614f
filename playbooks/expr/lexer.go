package expr

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

type kind uint8

const (
	tokEOF kind = iota
	tokData
	tokVarBegin
	tokVarEnd
	tokBlockBegin
	tokBlockEnd
	tokName
	tokString
	tokInt
	tokFloat
	tokOp
)

// token is one lexical element; at is its byte offset in the text with newlines normalised.
type token struct {
	kind kind
	text string // for tokString: the decoded value
	at   int
}

func (t token) describe() string {
	switch t.kind {
	case tokEOF:
		return "end of template"
	case tokVarEnd:
		return "end of print statement"
	case tokBlockEnd:
		return "end of statement block"
	case tokData:
		return "template data / text"
	}
	return t.text
}

// syntax is what a template may change about the language.
type syntax struct {
	blockStart, blockEnd     string
	varStart, varEnd         string
	commentStart, commentEnd string
	trimBlocks, lstripBlocks bool
	keepTrailingNewline      bool
	newline                  string
	// keepBackslashes: in {{ }} a backslash in a string literal stands for itself, as in task arguments,
	// where YAML has already had its turn at unescaping.
	keepBackslashes bool
}

// syntaxError is a mistake in the template text at a byte offset.
type syntaxError struct {
	at   int
	msg  string
	hint string
}

func (e *syntaxError) Error() string { return e.msg }

type lexer struct {
	src     string
	pos     int
	syn     *syntax
	out     []token
	starts  []marker
	newLine bool // the last match ended with a newline, or nothing was read yet
	inVar   bool
}

type marker struct {
	text string
	kind markerKind
}

type markerKind uint8

const (
	markComment markerKind = iota
	markBlock
	markVar
)

// lex splits text into tokens; mistakes are thrown as *syntaxError.
func lex(text string, syn *syntax) []token {
	l := &lexer{src: text, syn: syn, newLine: true, out: make([]token, 0, 8+len(text)/6)}
	l.starts = []marker{{syn.commentStart, markComment}, {syn.blockStart, markBlock}, {syn.varStart, markVar}}
	for l.pos < len(l.src) {
		l.root()
	}
	l.emit(tokEOF, "", len(l.src))
	return l.out
}

// normalizeNewlines makes every line end "\n" and drops one at the end unless it is to be kept.
func normalizeNewlines(text string, keepTrailing bool) string {
	if strings.Contains(text, "\r") {
		text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	}
	if !keepTrailing {
		text = strings.TrimSuffix(text, "\n")
	}
	return text
}

func (l *lexer) emit(k kind, text string, at int) { l.out = append(l.out, token{k, text, at}) }

func (l *lexer) fail(at int, format string, args ...any) {
	panic(&syntaxError{at: at, msg: fmt.Sprintf(format, args...)})
}

// next finds the first start marker from pos on; the longest wins where several start.
func (l *lexer) next() (int, marker) {
	best, found := len(l.src), marker{}
	for _, m := range l.starts {
		i := strings.Index(l.src[l.pos:], m.text)
		if i < 0 {
			continue
		}
		if i += l.pos; i < best || i == best && len(m.text) > len(found.text) {
			best, found = i, m
		}
	}
	return best, found
}

func (l *lexer) root() {
	at, m := l.next()
	if m.text == "" {
		l.data(l.src[l.pos:], l.pos)
		l.pos = len(l.src)
		return
	}
	sign := l.sign(at + len(m.text))
	l.data(l.strip(l.src[l.pos:at], sign, m.kind), l.pos)
	l.pos = at + len(m.text)
	if m.kind == markBlock && l.raw(at) {
		return
	}
	if sign != 0 {
		l.pos++
	}
	switch m.kind {
	case markComment:
		l.comment(at)
	case markBlock:
		l.emit(tokBlockBegin, m.text, at)
		l.inVar = false
		l.code(at, l.syn.blockEnd, tokBlockEnd)
	case markVar:
		l.emit(tokVarBegin, m.text, at)
		l.inVar = true
		l.code(at, l.syn.varEnd, tokVarEnd)
	}
}

func (l *lexer) sign(at int) byte {
	if at < len(l.src) && (l.src[at] == '-' || l.src[at] == '+') {
		return l.src[at]
	}
	return 0
}

// strip applies "{%-" and lstrip_blocks to the text before a tag.
func (l *lexer) strip(text string, sign byte, kind markerKind) string {
	if sign == '-' {
		return strings.TrimRightFunc(text, unicode.IsSpace)
	}
	if sign == '+' || !l.syn.lstripBlocks || kind == markVar {
		return text
	}
	line := strings.LastIndexByte(text, '\n') + 1
	if (line > 0 || l.newLine) && line < len(text) && strings.TrimSpace(text[line:]) == "" {
		return text[:line]
	}
	return text
}

func (l *lexer) data(text string, at int) {
	if text == "" {
		return
	}
	if l.syn.newline != "" && l.syn.newline != "\n" {
		text = strings.ReplaceAll(text, "\n", l.syn.newline)
	}
	l.emit(tokData, text, at)
}

// raw reads {% raw %}...{% endraw %} when the tag at pos is one.
func (l *lexer) raw(at int) bool {
	end := l.wordTag(l.pos, "raw")
	if end < 0 {
		return false
	}
	l.closed(end)
	for i := end; ; {
		j := strings.Index(l.src[i:], l.syn.blockStart)
		if j < 0 {
			l.fail(at, "Missing end of raw directive")
		}
		j += i
		if stop := l.wordTag(j+len(l.syn.blockStart), "endraw"); stop >= 0 {
			l.data(l.strip(l.src[end:j], l.sign(j+len(l.syn.blockStart)), markBlock), end)
			l.closed(stop)
			return true
		}
		i = j + len(l.syn.blockStart)
	}
}

// wordTag is the offset behind a tag that holds only word, or -1.
func (l *lexer) wordTag(at int, word string) int {
	if l.sign(at) != 0 {
		at++
	}
	at = l.skipSpace(at)
	if !strings.HasPrefix(l.src[at:], word) {
		return -1
	}
	return l.tagEnd(l.skipSpace(at+len(word)), l.syn.blockEnd, word != "raw")
}

// tagEnd is the offset behind the end marker at at, with what whitespace control removes, or -1.
func (l *lexer) tagEnd(at int, end string, trim bool) int {
	rest := l.src[at:]
	switch {
	case strings.HasPrefix(rest, "-"+end):
		return l.skipSpace(at + 1 + len(end))
	case strings.HasPrefix(rest, "+"+end) && end != l.syn.varEnd:
		return at + 1 + len(end)
	case !strings.HasPrefix(rest, end):
		return -1
	}
	at += len(end)
	if trim && l.syn.trimBlocks && at < len(l.src) && l.src[at] == '\n' {
		at++
	}
	return at
}

func (l *lexer) skipSpace(at int) int {
	for at < len(l.src) {
		r, n := utf8.DecodeRuneInString(l.src[at:])
		if !unicode.IsSpace(r) {
			break
		}
		at += n
	}
	return at
}

func (l *lexer) comment(at int) {
	for i := l.pos; i < len(l.src); i++ {
		if end := l.tagEnd(i, l.syn.commentEnd, true); end >= 0 {
			l.closed(end)
			return
		}
	}
	l.fail(at, "Missing end of comment tag")
}

func (l *lexer) closed(end int) {
	l.newLine = end > 0 && l.src[end-1] == '\n'
	l.pos = end
}

// code reads the tokens of a tag up to its end marker.
func (l *lexer) code(start int, end string, endKind kind) {
	var open []byte
	for {
		l.pos = l.skipSpace(l.pos)
		if l.pos >= len(l.src) {
			l.emit(tokEOF, "", len(l.src))
			return
		}
		if len(open) == 0 {
			if stop := l.tagEnd(l.pos, end, endKind == tokBlockEnd); stop >= 0 {
				l.emit(endKind, end, l.pos)
				l.closed(stop)
				return
			}
		}
		open = l.one(open)
	}
}

// one reads one token and keeps the stack of open brackets.
func (l *lexer) one(open []byte) []byte {
	c := l.src[l.pos]
	switch {
	case c >= '0' && c <= '9':
		l.number()
	case c == '"' || c == '\'':
		l.str(c)
	case c == '_' || c >= utf8.RuneSelf || unicode.IsLetter(rune(c)):
		l.name()
	default:
		return l.operator(open)
	}
	return open
}

func (l *lexer) name() {
	at := l.pos
	for l.pos < len(l.src) {
		r, n := utf8.DecodeRuneInString(l.src[l.pos:])
		if r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			break
		}
		l.pos += n
	}
	if l.pos == at {
		r, _ := utf8.DecodeRuneInString(l.src[at:])
		l.fail(at, "unexpected char %s at %d", pyQuote(string(r)), at)
	}
	l.emit(tokName, l.src[at:l.pos], at)
}

var operators = []string{
	"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|", ",", ";",
}

func (l *lexer) operator(open []byte) []byte {
	for _, op := range operators {
		if !strings.HasPrefix(l.src[l.pos:], op) {
			continue
		}
		open = l.balance(open, op)
		l.emit(tokOp, op, l.pos)
		l.pos += len(op)
		return open
	}
	r, _ := utf8.DecodeRuneInString(l.src[l.pos:])
	l.fail(l.pos, "unexpected char %s at %d", pyQuote(string(r)), l.pos)
	return nil
}

var closers = map[string]byte{"(": ')', "[": ']', "{": '}'}

func (l *lexer) balance(open []byte, op string) []byte {
	if c, ok := closers[op]; ok {
		return append(open, c)
	}
	if op != ")" && op != "]" && op != "}" {
		return open
	}
	if len(open) == 0 {
		l.fail(l.pos, "unexpected '%s'", op)
	}
	if want := open[len(open)-1]; want != op[0] {
		l.fail(l.pos, "unexpected '%s', expected '%c'", op, want)
	}
	return open[:len(open)-1]
}

// number reads an integer (decimal, 0x, 0o, 0b, with _) or a float as Python writes them.
func (l *lexer) number() {
	at, src := l.pos, l.src
	i := at
	digits := func(ok func(byte) bool) {
		for i < len(src) && (ok(src[i]) || src[i] == '_' && i+1 < len(src) && ok(src[i+1])) {
			i++
		}
	}
	if src[i] == '0' && i+1 < len(src) && strings.IndexByte("xXoObB", src[i+1]) >= 0 {
		i += 2
		digits(isHexDigit)
		l.emitNumber(tokInt, at, i)
		return
	}
	digits(isDigit)
	k := tokInt
	if i+1 < len(src) && src[i] == '.' && isDigit(src[i+1]) {
		k, i = tokFloat, i+1
		digits(isDigit)
	}
	if j := exponent(src, i); j > 0 {
		k, i = tokFloat, j
		digits(isDigit)
	}
	l.emitNumber(k, at, i)
}

func (l *lexer) emitNumber(k kind, at, end int) {
	l.emit(k, strings.ReplaceAll(l.src[at:end], "_", ""), at)
	l.pos = end
}

// exponent is the offset of the digits of an exponent that starts at i, or 0.
func exponent(src string, i int) int {
	if i >= len(src) || src[i] != 'e' && src[i] != 'E' {
		return 0
	}
	i++
	if i < len(src) && (src[i] == '+' || src[i] == '-') {
		i++
	}
	if i < len(src) && isDigit(src[i]) {
		return i
	}
	return 0
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isHexDigit(c byte) bool {
	return isDigit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func (l *lexer) str(quote byte) {
	at := l.pos
	i := at + 1
	for i < len(l.src) && l.src[i] != quote {
		if l.src[i] == '\\' {
			i++
		}
		i++
	}
	if i >= len(l.src) {
		l.fail(at, "unexpected char %s at %d (the string is not closed)", pyQuote(string(quote)), at)
	}
	body := l.src[at+1 : i]
	l.pos = i + 1
	if strings.IndexByte(body, '\\') >= 0 {
		body = l.unescape(body, quote, at)
	}
	l.emit(tokString, body, at)
}

func (l *lexer) unescape(body string, quote byte, at int) string {
	if l.inVar && l.syn.keepBackslashes {
		return strings.ReplaceAll(body, `\`+string(quote), string(quote))
	}
	s, err := unicodeEscape(body)
	if err != nil {
		l.fail(at, "%s", err)
	}
	return s
}

package inventory

import (
	"encoding/json"
	"errors"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/calroll/calroll/playbooks/value"
)

// literal is what Python's ast.literal_eval makes of a value in an INI file: a number, a quoted string, a list, a tuple
// (given as a list), a mapping, True, False or None. Text that is none of these is a string as it stands, so 0644, true
// and a bare word are strings.
func literal(text string) any {
	p := &literalParser{rest: text}
	p.space()
	v, err := p.expression()
	if err != nil || !p.atEnd() {
		return text
	}
	return v
}

var errNotLiteral = errors.New("not a literal")

type literalParser struct{ rest string }

func (p *literalParser) space() { p.rest = strings.TrimLeft(p.rest, " \t\f") }

func (p *literalParser) atEnd() bool {
	p.space()
	return p.rest == "" || p.rest[0] == '#'
}

// take eats s, and the space behind it, when it comes next.
func (p *literalParser) take(s string) bool {
	rest, ok := strings.CutPrefix(p.rest, s)
	if ok {
		p.rest = rest
		p.space()
	}
	return ok
}

// expression is a value, or several with commas between them, which make a tuple.
func (p *literalParser) expression() (any, error) {
	first, err := p.value()
	if err != nil || !p.take(",") {
		return first, err
	}
	items := []any{first}
	for !p.atEnd() && !strings.ContainsRune(")]}", rune(p.rest[0])) {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		items = append(items, v)
		if !p.take(",") {
			break
		}
	}
	return items, nil
}

var numberStart = regexp.MustCompile(`^[-+]?[ \t]*\.?[0-9]`)
var stringStart = regexp.MustCompile(`^(?i:[bru]|br|rb)?['"]`)

func (p *literalParser) value() (any, error) {
	switch {
	case p.take("["):
		return p.items("]")
	case p.take("("):
		return p.tuple()
	case p.take("{"):
		return p.braces()
	case stringStart.MatchString(p.rest):
		return p.strings()
	case numberStart.MatchString(p.rest):
		return p.number()
	}
	return p.word()
}

var wordText = regexp.MustCompile(`^[\pL_][\pL\pN_]*`)

func (p *literalParser) word() (any, error) {
	word := wordText.FindString(p.rest)
	p.rest = p.rest[len(word):]
	p.space()
	switch word {
	case "True":
		return true, nil
	case "False":
		return false, nil
	case "None":
		return nil, nil
	}
	return nil, errNotLiteral
}

func (p *literalParser) items(end string) ([]any, error) {
	items := []any{}
	for !p.take(end) {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		items = append(items, v)
		if !p.take(",") && !strings.HasPrefix(p.rest, end) {
			return nil, errNotLiteral
		}
	}
	return items, nil
}

func (p *literalParser) tuple() (any, error) {
	if p.take(")") {
		return []any{}, nil
	}
	v, err := p.expression()
	if err == nil && !p.take(")") {
		err = errNotLiteral
	}
	return v, err
}

// braces is a mapping, or a set, which is given as a list.
func (p *literalParser) braces() (any, error) {
	dict := &value.Dict{}
	if p.take("}") {
		return dict, nil
	}
	for first := true; ; first = false {
		key, err := p.value()
		if err != nil {
			return nil, err
		}
		if !p.take(":") {
			if !first {
				return nil, errNotLiteral
			}
			return p.set(key)
		}
		v, err := p.value()
		if err != nil || !isScalar(key) {
			return nil, errNotLiteral
		}
		dict.Set(key, v)
		comma := p.take(",")
		if p.take("}") {
			return dict, nil
		}
		if !comma {
			return nil, errNotLiteral
		}
	}
}

func (p *literalParser) set(first any) (any, error) {
	if !p.take(",") && !strings.HasPrefix(p.rest, "}") {
		return nil, errNotLiteral
	}
	rest, err := p.items("}")
	return append([]any{first}, rest...), err
}

func isScalar(v any) bool {
	switch v.(type) {
	case []any, *value.Dict:
		return false
	}
	return true
}

var (
	floatLiteral = regexp.MustCompile(`^(?:(?:[0-9]+(?:_[0-9]+)*)?\.[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+(?:_[0-9]+)*)?` +
		`|[0-9]+(?:_[0-9]+)*\.(?:[eE][-+]?[0-9]+(?:_[0-9]+)*)?` +
		`|[0-9]+(?:_[0-9]+)*[eE][-+]?[0-9]+(?:_[0-9]+)*)`)
	intLiteral = regexp.MustCompile(`^(?:0[xX](?:_?[0-9a-fA-F])+|0[oO](?:_?[0-7])+|0[bB](?:_?[01])+|[1-9](?:_?[0-9])*|0(?:_?0)*)`)
)

func (p *literalParser) number() (any, error) {
	negative := strings.HasPrefix(p.rest, "-")
	if negative || strings.HasPrefix(p.rest, "+") {
		p.take(p.rest[:1])
	}
	isFloat := true
	text := floatLiteral.FindString(p.rest)
	if text == "" {
		isFloat = false
		text = intLiteral.FindString(p.rest)
	}
	p.rest = p.rest[len(text):]
	if text == "" || p.rest != "" && (wordText.MatchString(p.rest) || p.rest[0] == '.' || p.rest[0] >= '0' && p.rest[0] <= '9') {
		return nil, errNotLiteral
	}
	p.space()
	digits := strings.ReplaceAll(text, "_", "")
	if isFloat {
		f, _ := strconv.ParseFloat(digits, 64) // out of range is infinity, as in Python
		if negative {
			f = -f
		}
		return f, nil
	}
	n, _ := new(big.Int).SetString(digits, 0) // the expression lets only valid digits through
	if negative {
		n.Neg(n)
	}
	if n.IsInt64() {
		return int(n.Int64()), nil
	}
	return json.Number(n.String()), nil
}

// strings reads one or more string literals side by side, which are one string.
func (p *literalParser) strings() (any, error) {
	var b strings.Builder
	for stringStart.MatchString(p.rest) {
		s, err := p.oneString()
		if err != nil {
			return nil, err
		}
		b.WriteString(s)
		p.space()
	}
	return b.String(), nil
}

func (p *literalParser) oneString() (string, error) {
	at := strings.IndexAny(p.rest, `'"`)
	raw := strings.ContainsAny(p.rest[:at], "rR")
	quote := p.rest[at : at+1]
	if strings.HasPrefix(p.rest[at:], strings.Repeat(quote, 3)) {
		quote = strings.Repeat(quote, 3)
	}
	text := p.rest[at+len(quote):]
	var b strings.Builder
	for i := 0; i < len(text); {
		switch {
		case strings.HasPrefix(text[i:], quote):
			p.rest = text[i+len(quote):]
			return b.String(), nil
		case text[i] == '\\' && i+1 < len(text):
			s, size, err := escape(text[i:], raw)
			if err != nil {
				return "", err
			}
			b.WriteString(s)
			i += size
		default:
			b.WriteByte(text[i])
			i++
		}
	}
	return "", errNotLiteral
}

var plainEscapes = map[byte]string{'\\': `\`, '\'': "'", '"': `"`, 'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v"}
var hexEscape = map[byte]int{'x': 2, 'u': 4, 'U': 8}
var octalEscape = regexp.MustCompile(`^\\[0-7]{1,3}`)

// escape reads the escape sequence that s begins with, and its length.
func escape(s string, raw bool) (string, int, error) {
	if raw {
		return s[:2], 2, nil
	}
	if plain, ok := plainEscapes[s[1]]; ok {
		return plain, 2, nil
	}
	if octal := octalEscape.FindString(s); octal != "" {
		n, _ := strconv.ParseUint(octal[1:], 8, 32) // three octal digits always fit
		return string(rune(n)), len(octal), nil
	}
	if n := hexEscape[s[1]]; n > 0 {
		if len(s) < 2+n {
			return "", 0, errNotLiteral
		}
		code, err := strconv.ParseUint(s[2:2+n], 16, 32)
		if err != nil || !utf8.ValidRune(rune(code)) {
			return "", 0, errNotLiteral
		}
		return string(rune(code)), 2 + n, nil
	}
	if s[1] == 'N' {
		return "", 0, errNotLiteral // names of characters are not known here
	}
	return s[:2], 2, nil
}

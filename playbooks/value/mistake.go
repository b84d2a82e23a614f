package value

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// mistake is a syntax error of which the place is sought. The parser tells a line alone, often that of what surrounds
// the mistake, one too low for some kinds and none for the first line; so the place comes from its message, from how
// far it read, and from which beginnings of the text are still YAML.
type mistake struct {
	text  string
	msg   string // the parser's words, without the line
	line  int    // where what the parser was reading began, from 1; 0 when it told none
	reach int    // the offset up to which the parser had read: the mistake stands before it
}

var parserError = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// ofParser are the errors whose lines the library counts from 0; all others come from its scanner and count from 1.
var ofParser = regexp.MustCompile(`^(did not find expected (<stream-start>|<document start>|node content|'-' indicator|key|',' or .*)|found undefined tag handle|found duplicate %.*)$`)

// findMistake reads the text again behind an empty line, for an error in the first line is told without a number, and
// byte by byte, to see how far the parser comes.
func findMistake(text string) mistake {
	read := &byteReader{text: "\n" + text + "\n\n\n\n"} // the parser looks up to four characters ahead
	err := decodeAll(read)
	if err == nil {
		return mistake{text: text}
	}
	m := mistake{text: text, reach: max(0, min(read.at-1, len(text)))}
	found := parserError.FindStringSubmatch(err.Error())
	if found == nil {
		m.msg = err.Error()
		return m
	}
	m.msg = err.Error()[len(found[0]):]
	if line, err := strconv.Atoi(found[1]); err == nil {
		m.line = line - 1
		if ofParser.MatchString(m.msg) {
			m.line = line
		}
	}
	return m
}

type byteReader struct {
	text string
	at   int
}

func (r *byteReader) Read(to []byte) (int, error) {
	if r.at >= len(r.text) {
		return 0, io.EOF
	}
	to[0] = r.text[r.at]
	r.at++
	return 1, nil
}

func decodeAll(from io.Reader) error {
	dec := yaml.NewDecoder(from)
	for {
		var doc yaml.Node
		if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func isYAML(text string) bool { return decodeAll(bytes.NewReader([]byte(text))) == nil }

// place is the line and column of the mistake, both from 1, the column in characters.
func (m mistake) place() (line, col int) {
	at := m.offset()
	if at < 0 {
		at = m.firstOf(m.line)
	}
	start := strings.LastIndexByte(m.text[:at], '\n') + 1
	return strings.Count(m.text[:at], "\n") + 1, utf8.RuneCountInString(m.text[start:at]) + 1
}

// offset is where the mistake stands, -1 when no more than its line is known.
func (m mistake) offset() int {
	says := func(part string) bool { return strings.Contains(m.msg, part) }
	before := m.text[:m.reach]
	switch {
	case m.line == 0 && says("unknown anchor"):
		return m.alias()
	case m.line == 0:
		_, size := utf8.DecodeLastRuneInString(before)
		return m.reach - size
	case says("found a tab character"):
		return m.tab()
	case says("escape character"), says("hexdecimal"):
		return strings.LastIndexByte(before, '\\')
	case says("end of stream"), says("document indicator"), says("',' or"), says("node content"):
		return m.opening()
	case says("expected key"), says("'-' indicator"):
		return m.dashBefore(m.firstBad(strings.Count(before, "\n") + 1))
	case says("not allowed in this context"), says("cannot start any token"), says("<document start>"):
		return m.tabBefore(m.inFlow(m.firstBad(m.line)))
	}
	return -1
}

// dashBefore moves from what follows a dash at the beginning of a line to the dash: -x is one word.
func (m mistake) dashBefore(at int) int {
	if at > 0 && m.text[at-1] == '-' && strings.TrimSpace(m.text[strings.LastIndexByte(m.text[:at], '\n')+1:at-1]) == "" {
		return at - 1
	}
	return at
}

// tab is the first tab of the last line with one that the parser had reached.
func (m mistake) tab() int {
	last := strings.LastIndexByte(m.text[:m.reach], '\t')
	if last < 0 {
		return -1
	}
	start := strings.LastIndexByte(m.text[:last], '\n') + 1
	return start + strings.IndexByte(m.text[start:], '\t')
}

// tabBefore moves from a word to the tab that indents it; of what can never begin a word, the place stays.
func (m mistake) tabBefore(at int) int {
	if at < 0 || at >= len(m.text) || strings.IndexByte("@`%", m.text[at]) >= 0 {
		return at
	}
	start := strings.LastIndexByte(m.text[:at], '\n') + 1
	tab := strings.IndexByte(m.text[start:at], '\t')
	if tab < 0 || strings.TrimSpace(m.text[start:at]) != "" {
		return at
	}
	return start + tab
}

// alias is the alias that the message names, where a value may begin.
func (m mistake) alias() int {
	_, name, _ := strings.Cut(m.msg, "'")
	name, _, _ = strings.Cut(name, "'")
	alias := regexp.MustCompile(`(?m)(?:^|[\[{,:?-])[ \t]*(?:![^ \n]*[ \t]+)?(\*` + regexp.QuoteMeta(name) + `)(?:[^\w-]|$)`)
	found := alias.FindAllStringSubmatchIndex(m.text[:m.reach], -1)
	if len(found) == 0 {
		return max(0, strings.LastIndex(m.text[:m.reach], "*"+name))
	}
	at := found[len(found)-1][2]
	start := strings.LastIndexByte(m.text[:at], '\n')
	for _, f := range found { // the parser reads to the line's end before it looks: the line's first is the one
		if f[2] > start {
			return f[2]
		}
	}
	return at
}

// lineAt is a line's offset and its text without the line end.
func (m mistake) lineAt(number int) (int, string) {
	start := 0
	for ; number > 1; number-- {
		end := strings.IndexByte(m.text[start:], '\n')
		if end < 0 {
			break
		}
		start += end + 1
	}
	line, _, _ := strings.Cut(m.text[start:], "\n")
	return start, line
}

// firstOf is the offset of a line's first character that is not blank.
func (m mistake) firstOf(number int) int {
	start, line := m.lineAt(number)
	return start + len(line) - len(strings.TrimLeft(line, " \t\r"))
}

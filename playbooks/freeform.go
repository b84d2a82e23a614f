package playbooks

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
)

// pair is one key=value of a task written in one line.
type pair struct{ key, val string }

// commandOptions are the arguments that command, shell, script and raw take out of their text; any other key=value is part of it.
var commandOptions = map[string]bool{"creates": true, "removes": true, "chdir": true, "executable": true, "warn": true,
	"stdin": true, "stdin_add_newline": true, "strip_empty_ends": true}

// splitArgs takes "src=a dest='b c' some text" apart as Ansible does: the pairs, and what is left in the order written. A pair
// counts only if it is an option (nil: any key is).
func splitArgs(text string, options map[string]bool) (pairs []pair, raw string, err error) {
	words, err := splitWords(text)
	if err != nil {
		return nil, "", err
	}
	var rest []string
	for _, word := range words {
		plain := unescape(word)
		at := equals(plain)
		switch {
		case at < 0 && strings.Contains(plain, "="):
			rest = append(rest, strings.ReplaceAll(plain, `\=`, "="))
		case at < 0 || options != nil && !options[plain[:at]]:
			rest = append(rest, word)
		default:
			pairs = append(pairs, pair{strings.TrimSpace(plain[:at]), unquote(strings.TrimSpace(plain[at+1:]))})
		}
	}
	return pairs, joinWords(rest), nil
}

// equals is the place of the first = that separates key and value: not the first letter, not escaped. -1 when there is none.
func equals(word string) int {
	for i := 1; i < len(word); i++ {
		if word[i] == '=' && word[i-1] != '\\' {
			return i
		}
	}
	return -1
}

// wordReader splits at spaces and line ends that are outside quotes and Jinja2 blocks. Further spaces and line ends stay at the end
// of the word before them, so that joinWords gives the text back.
type wordReader struct {
	words  []string
	quote  rune               // the quote that is open, 0 for none
	blocks [len(brackets)]int // how many of each Jinja2 bracket are open
}

var brackets = [...]struct{ open, closing string }{{"{{", "}}"}, {"{%", "%}"}, {"{#", "#}"}}

var errUnbalanced = errors.New("a quote or a Jinja2 block ({{ }}) is opened and not closed")

func splitWords(text string) ([]string, error) {
	var r wordReader
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		goesOn := r.line(line)
		if i < len(lines)-1 && !goesOn {
			r.lengthen("\n")
		}
	}
	if r.inside() {
		return nil, errUnbalanced
	}
	return r.words, nil
}

// line takes the words of a line; goesOn tells that a backslash joins the next line to it.
func (r *wordReader) line(line string) (goesOn bool) {
	for i, part := range strings.Split(line, " ") {
		switch {
		case part == "" && i > 0:
			r.lengthen(" ")
		case part == `\` && r.quote == 0:
			goesOn = true
		default:
			r.part(part, i > 0)
		}
	}
	return goesOn
}

// part takes what stands between two spaces: a word, or more of the last one when that is still open.
func (r *wordReader) part(part string, spaced bool) {
	open := r.inside()
	r.follow(part)
	switch {
	case open && spaced:
		r.lengthen(" " + part)
	case open:
		r.lengthen(part)
	case part != "":
		r.words = append(r.words, part)
	}
}

func (r *wordReader) lengthen(by string) {
	if last := len(r.words) - 1; last >= 0 {
		r.words[last] += by
	}
}

func (r *wordReader) inside() bool { return r.quote != 0 || r.blocks != [len(brackets)]int{} }

// follow keeps account of what part opens and closes.
func (r *wordReader) follow(part string) {
	before := rune(0)
	for _, c := range part {
		switch {
		case c != '"' && c != '\'' || before == '\\':
		case r.quote == 0:
			r.quote = c
		case r.quote == c:
			r.quote = 0
		}
		before = c
	}
	for i, b := range brackets {
		r.blocks[i] = max(0, r.blocks[i]+strings.Count(part, b.open)-strings.Count(part, b.closing))
	}
}

func joinWords(words []string) string {
	var b strings.Builder
	for i, w := range words {
		if i > 0 && !strings.HasSuffix(words[i-1], "\n") {
			b.WriteByte(' ')
		}
		b.WriteString(w)
	}
	return b.String()
}

// unquote takes off the quotes around a value.
func unquote(s string) string {
	n := len(s)
	if n > 1 && (s[0] == '"' || s[0] == '\'') && s[n-1] == s[0] && s[n-2] != '\\' {
		return s[1 : n-1]
	}
	return s
}

var escapes = regexp.MustCompile(`\\U[0-9a-fA-F]{8}|\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|\\[\\'"abfnrtv]`)

// unescape turns \n, \t, \x41, \u00e9 and the like into what they stand for.
func unescape(s string) string {
	return escapes.ReplaceAllStringFunc(s, func(e string) string {
		if e == `\'` {
			return "'"
		}
		plain, _, _, err := strconv.UnquoteChar(e, '"')
		if err != nil { // a number that is no character
			return e
		}
		return string(plain)
	})
}

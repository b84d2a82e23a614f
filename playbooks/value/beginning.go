package value

import (
	"strings"
	"unicode/utf8"
)

// How far the search for a good beginning goes: each step parses the text up to there.
const (
	mostLines   = 200
	mostColumns = 300
)

// firstBad is the offset behind the longest beginning that is YAML, sought from a line backwards: of a value that is
// never closed it is the opening, of all else the first character too many. It is -1 when the search went too far.
func (m mistake) firstBad(line int) int {
	for tries := 0; tries < mostLines && line > 0; tries, line = tries+1, line-1 {
		start, text := m.lineAt(line)
		if !isYAML(m.text[:start]) {
			continue
		}
		end := longest(text, func(s string) bool { return isYAML(m.text[:start] + s) })
		if end < 0 {
			return -1
		}
		return m.skipBlank(start + end)
	}
	return -1
}

// longest is the length of the longest beginning of a text that is good, the empty one being so; -1 when the search went too far.
func longest(text string, good func(string) bool) int {
	for end, tries := len(text), 0; end > 0; end-- {
		if end < len(text) && !utf8.RuneStart(text[end]) {
			continue
		}
		if good(text[:end]) {
			return end
		}
		if tries++; tries > mostColumns {
			return -1
		}
	}
	return 0
}

func (m mistake) skipBlank(at int) int {
	rest := m.text[at:]
	line, _, _ := strings.Cut(rest, "\n")
	if trimmed := strings.TrimLeft(line, " \t\r"); trimmed != "" {
		return at + len(line) - len(trimmed)
	}
	return at
}

// opening is the quote or bracket that is never closed; when all brackets are, the place within them.
func (m mistake) opening() int {
	outer := m.firstBad(m.line)
	if outer < 0 || outer >= len(m.text) || !strings.ContainsRune("[{", rune(m.text[outer])) {
		return outer
	}
	flow := scanFlow(m.text[outer:])
	if flow.quote >= 0 {
		return outer + flow.quote
	}
	if len(flow.open) == 0 {
		return m.inFlow(outer)
	}
	if strings.Contains(m.msg, "node content") {
		return outer + flow.open[len(flow.open)-1]
	}
	want := m.msg[len(m.msg)-2] - 2 // "... ',' or ']'": the pairs lie two apart in ASCII
	start, line := m.lineAt(m.line)
	for i := len(flow.open) - 1; i >= 0; i-- {
		at := outer + flow.open[i]
		if m.text[at] == want && at >= start && at <= start+len(line) {
			return at
		}
	}
	return outer
}

// inFlow goes on inside brackets, where no beginning is YAML before it is closed: each is tried with all brackets closed.
func (m mistake) inFlow(outer int) int {
	if outer < 0 || outer >= len(m.text) || !strings.ContainsRune("[{", rune(m.text[outer])) {
		return outer
	}
	text := m.text[outer:max(outer, m.reach)]
	end := longest(text, func(s string) bool {
		return isYAML(m.text[:outer] + s + scanFlow(s).closers(s))
	})
	if end < 0 {
		return -1
	}
	return m.skipBlank(outer + end)
}

// flow is what a beginning of a value in brackets leaves open.
type flow struct {
	open  []int // offsets of brackets
	quote int   // offset of a quote, -1 for none
}

func scanFlow(text string) flow {
	f := flow{quote: -1}
	token := true // a quote here begins a text
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '\'', '"':
			if !token {
				break
			}
			end := closing(text, i)
			if end < 0 {
				f.quote = i
				return f
			}
			i, token = end, false
		case '[', '{':
			f.open, token = append(f.open, i), true
		case ']', '}':
			if n := len(f.open); n > 0 && text[f.open[n-1]] == c-2 {
				f.open = f.open[:n-1]
			}
			if token = false; len(f.open) == 0 {
				return f
			}
		case ',', ':', '?':
			token = true
		case ' ', '\t', '\n', '\r':
		default:
			token = false
		}
	}
	return f
}

// closing is the offset of the quote that ends the text which begins at the given one, -1 for none.
func closing(text string, at int) int {
	for i := at + 1; i < len(text); i++ {
		switch {
		case text[at] == '"' && text[i] == '\\':
			i++
		case text[i] != text[at]:
		case text[at] == '\'' && strings.HasPrefix(text[i+1:], "'"):
			i++
		default:
			return i
		}
	}
	return -1
}

func (f flow) closers(text string) string {
	var b strings.Builder
	for i := len(f.open) - 1; i >= 0; i-- {
		b.WriteByte(text[f.open[i]] + 2)
	}
	return b.String()
}

package expr

import (
	"strings"
	"unicode/utf8"
)

// wordwrapFilter wraps every line of its own, keeping the blanks inside.
func wordwrapFilter(a args) any {
	w := &wrapper{width: a.int(1), long: a.bool(2), hyphens: a.bool(4)}
	if w.width <= 0 {
		fail("invalid width %d (must be > 0)", w.width)
	}
	end := "\n"
	if !a.nil(3) {
		end = a.str(3)
	}
	var lines []string
	for _, line := range splitLines(a.text(0, "the text to wrap"), false) {
		lines = append(lines, strings.Join(w.wrap(line), end))
	}
	return strings.Join(lines, end)
}

// wrapper breaks one line of text into lines of a width, as Python's textwrap does.
type wrapper struct {
	width         int
	long, hyphens bool
	rest          []string // the chunks still to be placed
}

const (
	wordEnd  = `[\w!"'&.,?]`
	letterRE = `[^\d\W]`
	// wordChunks finds blanks, dashes between words, and words, which may end behind a hyphen.
	wordChunks = `\s+|(?<=` + wordEnd + `)-{2,}(?=\w)|\S+?(?:-(?:(?<=` + letterRE + `{2}-)|(?<=` + letterRE + `-` + letterRE + `-))(?=` +
		letterRE + `-?` + letterRE + `)|(?=\s|\Z)|(?<=` + wordEnd + `)(?=-{2,}\w))`
	blankChunks = `\s+|\S+`
)

func (w *wrapper) wrap(line string) []string {
	pattern := blankChunks
	if w.hyphens {
		pattern = wordChunks
	}
	w.rest = nil
	for _, m := range matches(compileRegex(pattern, false, false), []rune(line)) {
		w.rest = append(w.rest, m.String())
	}
	var out []string
	for len(w.rest) > 0 {
		if len(out) > 0 && isBlank(w.rest[0]) {
			w.rest = w.rest[1:]
		}
		if taken := w.line(); len(taken) > 0 {
			out = append(out, strings.Join(taken, ""))
		}
	}
	return out
}

func isBlank(s string) bool { return strings.TrimSpace(s) == "" }

// line takes the chunks of one line. A last one that is blank is dropped.
func (w *wrapper) line() []string {
	var taken []string
	n := 0
	for len(w.rest) > 0 {
		size := utf8.RuneCountInString(w.rest[0])
		if n+size > w.width {
			break
		}
		taken, w.rest = append(taken, w.rest[0]), w.rest[1:]
		n += size
	}
	if len(w.rest) > 0 && utf8.RuneCountInString(w.rest[0]) > w.width {
		taken = w.longWord(taken, w.width-n)
	}
	if len(taken) > 0 && isBlank(taken[len(taken)-1]) {
		taken = taken[:len(taken)-1]
	}
	return taken
}

// longWord puts what fits of a word that fits on no line into the room that is left; that may be nothing at all.
func (w *wrapper) longWord(taken []string, room int) []string {
	word := []rune(w.rest[0])
	switch {
	case w.long:
		end := room
		if w.hyphens {
			end = hyphenBefore(word, room)
		}
		w.rest[0] = string(word[end:])
		return append(taken, string(word[:end]))
	case len(taken) == 0:
		taken, w.rest = append(taken, w.rest[0]), w.rest[1:]
	}
	return taken
}

// hyphenBefore is the offset behind the last hyphen within room, if something else comes before it; else room.
func hyphenBefore(word []rune, room int) int {
	head := string(word[:room])
	i := strings.LastIndexByte(head, '-')
	if i <= 0 || strings.Trim(head[:i], "-") == "" {
		return room
	}
	return utf8.RuneCountInString(head[:i]) + 1
}

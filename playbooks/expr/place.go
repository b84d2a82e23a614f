package expr

import (
	"strings"
	"unicode/utf8"

	"github.com/calroll/calroll/playbooks/source"
)

// spot is a place in a file and, when the file may not be readable, its line.
type spot struct {
	pos  source.Pos
	line string
}

// place finds byte offset at of text in the file that text comes from. pos is where the first line of the text stands,
// as value.ReadYAML gives it: the lines of a block scalar follow one another at the same column. A pos without a line
// is a template file as a whole; skipped counts its lines before the text.
func place(text string, at int, pos source.Pos, skipped int) spot {
	if pos.Line == 0 && pos.File == "" {
		return spot{pos: pos}
	}
	at = min(at, len(text))
	line := strings.Count(text[:at], "\n")
	start := strings.LastIndexByte(text[:at], '\n') + 1
	col := utf8.RuneCountInString(text[start:at])
	if pos.Line == 0 {
		shown, _, _ := strings.Cut(text[start:], "\n")
		return spot{source.Pos{File: pos.File, Line: line + 1 + skipped, Col: col + 1}, shown}
	}
	out := source.Pos{File: pos.File, Line: pos.Line + line}
	if pos.Col > 0 {
		out.Col = pos.Col + col
	}
	return spot{pos: out}
}

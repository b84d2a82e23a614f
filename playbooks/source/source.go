// Package source knows where text came from, so that a mistake can be shown where it was made.
//
// A Pos is a place in a file, a Problem is one mistake at a place, Problems are all mistakes of one input: readers
// collect them and report them together. Everything that reads what a user wrote (inventories, playbooks,
// variables, templates) reports through this package, so every message has the same shape:
//
//	site.yml:12:7: cannot use "coppy": no module or keyword has this name
//	    coppy: {src: a, dest: /b}
//	    ^
//	  hint: did you mean "copy"?
package source

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
)

// Pos is a place in a file. Line and Col count from 1; a zero Line means the file as a whole.
type Pos struct {
	File      string
	Line, Col int
}

// String is file:line:col, or as much of it as is known.
func (p Pos) String() string {
	switch {
	case p.File == "" && p.Line == 0:
		return "unknown place"
	case p.Line == 0:
		return p.File
	case p.Col == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// Known tells whether p names a line.
func (p Pos) Known() bool { return p.Line > 0 }

// Problem is one mistake in something a user wrote.
type Problem struct {
	Pos  Pos
	Msg  string // "cannot <do> <what>: <why>"
	Hint string // what to do about it; may be empty
	Line string // the source line; when empty it is read from Pos.File if that can be read
	Err  error  // the cause, for errors.Is and errors.As; may be nil
}

// Errorf is a Problem at p.
func Errorf(p Pos, format string, args ...any) *Problem {
	err := fmt.Errorf(format, args...)
	return &Problem{Pos: p, Msg: err.Error(), Err: errors.Unwrap(err)}
}

// WithHint sets the hint and returns the problem, for use in a return statement.
func (p *Problem) WithHint(format string, args ...any) *Problem {
	p.Hint = fmt.Sprintf(format, args...)
	return p
}

// Unwrap is the cause.
func (p *Problem) Unwrap() error { return p.Err }

// Error is the message with its place, the source line with a caret below the column, and the hint.
func (p *Problem) Error() string {
	var b strings.Builder
	if p.Pos.File != "" || p.Pos.Line > 0 {
		b.WriteString(p.Pos.String() + ": ")
	}
	b.WriteString(p.Msg)
	if line := p.sourceLine(); line != "" {
		text := strings.TrimLeft(line, " \t")
		fmt.Fprintf(&b, "\n    %s", text)
		if at := p.Pos.Col - 1 - (len(line) - len(text)); at >= 0 && at <= len(text) {
			fmt.Fprintf(&b, "\n    %s^", strings.Repeat(" ", at))
		}
	}
	if p.Hint != "" {
		b.WriteString("\n  hint: " + p.Hint)
	}
	return b.String()
}

func (p *Problem) sourceLine() string {
	if p.Line != "" || !p.Pos.Known() {
		return p.Line
	}
	lines := textLines(p.Pos.File)
	if p.Pos.Line > len(lines) {
		return ""
	}
	return lines[p.Pos.Line-1]
}

// Problems are all mistakes of one input. The zero value is ready to use.
type Problems []*Problem

// Add collects err: a Problem or Problems keep their places, anything else is put at pos. A nil err adds nothing.
func (ps *Problems) Add(pos Pos, err error) {
	var many Problems
	var one *Problem
	switch {
	case err == nil:
	case errors.As(err, &many):
		*ps = append(*ps, many...)
	case errors.As(err, &one):
		*ps = append(*ps, one)
	default:
		*ps = append(*ps, &Problem{Pos: pos, Msg: err.Error(), Err: err})
	}
}

// Addf collects a mistake at pos and returns it so that a hint can be set.
func (ps *Problems) Addf(pos Pos, format string, args ...any) *Problem {
	p := Errorf(pos, format, args...)
	*ps = append(*ps, p)
	return p
}

// Err is nil when there are no problems, else the problems sorted by place.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	sort.SliceStable(ps, func(i, j int) bool {
		a, b := ps[i].Pos, ps[j].Pos
		if a.File != b.File {
			return a.File < b.File
		}
		return a.Line < b.Line || a.Line == b.Line && a.Col < b.Col
	})
	return ps
}

// Error lists every problem, each on its own lines.
func (ps Problems) Error() string {
	texts := make([]string, len(ps))
	for i, p := range ps {
		texts[i] = p.Error()
	}
	return strings.Join(texts, "\n")
}

// Unwrap gives errors.Is and errors.As each problem.
func (ps Problems) Unwrap() []error {
	errs := make([]error, len(ps))
	for i, p := range ps {
		errs[i] = p
	}
	return errs
}

var embedded struct {
	sync.Mutex // guards texts
	texts      map[string]string
}

// Remember keeps the text of a file that is not on disk (an embedded playbook), so that problems can show its lines.
func Remember(file string, text []byte) {
	embedded.Lock()
	defer embedded.Unlock()
	if embedded.texts == nil {
		embedded.texts = map[string]string{}
	}
	embedded.texts[file] = string(text)
}

func textLines(file string) []string {
	embedded.Lock()
	text, ok := embedded.texts[file]
	embedded.Unlock()
	if !ok {
		raw, err := os.ReadFile(filepath.Clean(file))
		if err != nil {
			return nil // the message stands without its line
		}
		text = string(raw)
	}
	return strings.Split(text, "\n")
}

package main

import (
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/catalog"
	"github.com/calroll/calroll/runner/store"
)

// source are lines of a file as they were when the run read them.
type source struct {
	Where string       `json:"where"` // file:line:col
	Lines []sourceLine `json:"lines,omitempty"`
	Note  string       `json:"note,omitempty"` // why there are none
}

type sourceLine struct {
	No   int    `json:"no"`
	Text string `json:"text"`
}

// sourceWidth is how many lines of a task are shown.
const sourceWidth = 14

// taskSource are the lines of a task: from its place to the next line that stands as far left as its dash.
func taskSource(m store.Meta, where string) source {
	return sourceAt(m, where, func(lines []string, at, col int) int {
		end := at + 1
		for end < len(lines) && end < at+sourceWidth && (strings.TrimSpace(lines[end]) == "" || indent(lines[end]) >= col-1) {
			end++
		}
		for end > at+1 && strings.TrimSpace(lines[end-1]) == "" {
			end--
		}
		return end
	})
}

// lineSource is one line.
func lineSource(m store.Meta, where string) source {
	return sourceAt(m, where, func(_ []string, at, _ int) int { return at + 1 })
}

func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// sourceAt are the lines from a place to the end that until finds, if the file is still what the run has read.
func sourceAt(m store.Meta, where string, until func(lines []string, at, col int) int) source {
	s := source{Where: where}
	file, line, col, ok := splitPlace(where)
	if !ok {
		s.Note = "nobody has written it in a file"
		return s
	}
	text, note := unchanged(m, file)
	if s.Note = note; note != "" {
		return s
	}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if line > len(lines) {
		s.Note = "the file has no such line"
		return s
	}
	for i := line - 1; i < until(lines, line-1, col); i++ {
		s.Lines = append(s.Lines, sourceLine{i + 1, lines[i]})
	}
	return s
}

// unchanged is the text of a file, or a note why it cannot be shown.
func unchanged(m store.Meta, file string) (text, note string) {
	name := file
	if !strings.HasPrefix(file, playbooks.CatalogPrefix) && !filepath.IsAbs(file) {
		name = filepath.Join(m.Dir, file)
	}
	content, err := playbooks.Files{Catalog: catalog.FS()}.ReadFile(name)
	switch sum := m.Inputs.Files[name]; {
	case err != nil:
		return "", fmt.Sprintf("cannot show it: %v", err)
	case sum == "":
		return "", "it is not known what the file was when the run read it"
	case sum != playbooks.SumOf(content):
		return "", "the file has changed since the run"
	}
	return string(content), ""
}

var place = regexp.MustCompile(`^(.+?):([0-9]+)(?::([0-9]+))?$`)

// splitPlace takes file:line:col apart.
func splitPlace(where string) (file string, line, col int, ok bool) {
	found := place.FindStringSubmatch(where)
	if found == nil {
		return "", 0, 0, false
	}
	line, _ = strconv.Atoi(found[2]) // digits alone
	col, _ = strconv.Atoi(found[3])
	return found[1], line, col, line > 0
}

func (s source) print(out io.Writer) {
	if s.Note != "" {
		fmt.Fprintf(out, "  (%s)\n", s.Note)
	}
	for _, l := range s.Lines {
		fmt.Fprintf(out, "  %5d  %s\n", l.No, l.Text)
	}
}

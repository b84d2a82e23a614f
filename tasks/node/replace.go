package node

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/dlclark/regexp2"

	"github.com/calroll/calroll/tasks"
)

var _ = register("replace", func() tasks.Module { return &Replace{} })

// Replace puts a text in the place of everything in a file that a regular expression matches. Regular expressions are Perl's, which Python's
// are near to; ^ and $ match at the ends of lines.
type Replace struct {
	Path     tasks.Path `arg:"path,alias=dest|destfile|name,required" doc:"the file"`
	Regexp   string     `arg:"regexp,required" doc:"what is replaced"`
	Replace  string     `arg:"replace" doc:"what it is replaced by; \\1 and \\g<name> are groups"`
	After    string     `arg:"after" doc:"only behind what this regular expression matches"`
	Before   string     `arg:"before" doc:"only before what this regular expression matches"`
	Backup   bool       `arg:"backup" doc:"keep the old file beside it"`
	Validate string     `arg:"validate" doc:"command that judges the new file; %s is its path"`
	tasks.FileArgs

	path   string
	result tasks.Result
}

// Run replaces, and then sees to the file's attributes.
func (m *Replace) Run(ctx context.Context, sys *tasks.Sys) (tasks.Result, error) {
	m.path = m.Path.Expand()
	switch {
	case isDir(m.path):
		m.result.Set("rc", 256)
		return m.result, fail("Path %s is a directory !", m.path)
	case !exists(m.path):
		m.result.Set("rc", 257)
		return m.result, fail("Path %s does not exist !", m.path)
	}
	raw, err := os.ReadFile(m.path)
	if err != nil {
		return m.result, fail("cannot read %s: %v", m.path, err)
	}
	m.result.Set("rc", 0)
	text := string(raw)
	start, end, pattern, err := m.section(text)
	if err != nil {
		return m.result, err
	}
	if start < 0 {
		m.result.Set("msg", "Pattern for before/after params did not match the given file: "+pattern)
		return m.result, nil
	}
	section, count, err := m.replaced(text[start:end])
	if err != nil {
		return m.result, err
	}
	return m.result, m.write(ctx, sys, text, text[:start]+section+text[end:], count)
}

// section is the part of the text that the arguments mean; -1 if it has none.
func (m *Replace) section(text string) (start, end int, pattern string, err error) {
	switch {
	case m.After != "" && m.Before != "":
		pattern = m.After + "(?P<subsection>.*?)" + m.Before
	case m.After != "":
		pattern = m.After + "(?P<subsection>.*)"
	case m.Before != "":
		pattern = "(?P<subsection>.*)" + m.Before
	default:
		return 0, len(text), "", nil
	}
	re, err := compile("(?s)" + pattern)
	if err != nil {
		return 0, 0, "", err
	}
	found, _ := re.FindStringMatch(text) // an error is a time-out, which is not set
	if found == nil {
		return -1, -1, pattern, nil
	}
	g := found.GroupByName("subsection")
	start = byteIndex(text, g.Index)
	return start, start + len(g.String()), pattern, nil
}

// byteIndex is where a rune of a text begins.
func byteIndex(text string, rune int) int {
	for i := range text {
		if rune == 0 {
			return i
		}
		rune--
	}
	return len(text)
}

func (m *Replace) replaced(section string) (string, int, error) {
	re, err := compile("(?m)" + m.Regexp)
	if err != nil {
		return "", 0, err
	}
	var b strings.Builder
	runes, last, count := []rune(section), 0, 0
	for found, _ := re.FindStringMatch(section); found != nil; found, _ = re.FindNextMatch(found) {
		by, err := m.filled(found)
		if err != nil {
			return "", 0, err
		}
		b.WriteString(string(runes[last:found.Index]) + by)
		last = found.Index + found.Length
		count++
	}
	b.WriteString(string(runes[last:]))
	return b.String(), count, nil
}

func (m *Replace) filled(found *regexp2.Match) (string, error) { return expand(m.Replace, found) }

func (m *Replace) write(ctx context.Context, sys *tasks.Sys, before, after string, count int) (err error) {
	check, err := validator(sys, m.Validate)
	if err != nil {
		return err
	}
	if after == before {
		m.result.Changed, err = sys.SetAttrs(ctx, realPath(m.path), m.Attrs())
		m.say("", m.result.Changed)
		return err
	}
	if m.Backup {
		if err := backup(ctx, sys, m.path, &m.result); err != nil {
			return err
		}
	}
	look := tasks.NewSys(tasks.Options{Check: true})
	differ, _ := look.SetAttrs(ctx, realPath(m.path), m.Attrs()) // the writing below reports what is wrong
	m.say(fmt.Sprintf("%d replacements made", count), differ)
	o := tasks.WriteOptions{Follow: true, Unsafe: m.UnsafeWrites, Validate: check}
	m.result.Changed, err = sys.WriteFile(ctx, m.path, tasks.Text([]byte(after)), m.Attrs(), o)
	return err
}

// say sets the message.
func (m *Replace) say(text string, attrs bool) {
	if attrs {
		text = strings.TrimPrefix(text+attrsChanged, " and ")
	}
	m.result.Msg = text
	m.result.Set("msg", text)
}

package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dlclark/regexp2"

	"github.com/calroll/calroll/tasks"
)

var _ = register("lineinfile", func() tasks.Module { return &LineInFile{} })

// LineInFile sees to one line of a text file. Regular expressions are Perl's, which Python's are near to.
type LineInFile struct {
	Path         tasks.Path `arg:"path,alias=dest|destfile|name,required" doc:"the file"`
	Regexp       string     `arg:"regexp,alias=regex" doc:"which line: the last that matches"`
	SearchString string     `arg:"search_string" doc:"which line, as plain text"`
	State        string     `arg:"state,choices=absent|present,default=present" doc:"whether the line shall be there"`
	Line         *string    `arg:"line,alias=value" doc:"the line"`
	Backrefs     bool       `arg:"backrefs" doc:"fill the groups of regexp into line; nothing matches: nothing is done"`
	InsertAfter  string     `arg:"insertafter" doc:"where a new line goes: EOF or a regular expression"`
	InsertBefore string     `arg:"insertbefore" doc:"where a new line goes: BOF or a regular expression"`
	Create       bool       `arg:"create" doc:"make the file if it is missing"`
	Backup       bool       `arg:"backup" doc:"keep the old file beside it"`
	FirstMatch   bool       `arg:"firstmatch" doc:"insertafter and insertbefore take the first match, not the last"`
	Validate     string     `arg:"validate" doc:"command that judges the new file; %s is its path"`
	tasks.FileArgs

	path   string
	lines  []string // each with what ends it
	result tasks.Result
}

// Rules are Ansible's.
func (*LineInFile) Rules() tasks.Rules {
	return tasks.Rules{MutuallyExclusive: [][]string{{"insertbefore", "insertafter"}, {"regexp", "search_string"}, {"backrefs", "search_string"}}}
}

// Run sees to the line, and then to the file's attributes.
func (m *LineInFile) Run(ctx context.Context, sys *tasks.Sys) (tasks.Result, error) {
	m.path = m.Path.Expand()
	if isDir(m.path) {
		m.result.Set("rc", 256)
		return m.result, fail("Path %s is a directory !", m.path)
	}
	match, err := m.matcher()
	if err != nil {
		return m.result, err
	}
	before, err := m.read()
	if err != nil {
		return m.result, err
	}
	if m.State == "absent" {
		err = m.absent(ctx, sys, before, match)
	} else {
		err = m.present(ctx, sys, before, match)
	}
	return m.result, err
}

// matcher tells whether a line is the one that is meant; nil when the arguments name none.
func (m *LineInFile) matcher() (func(line string) *regexp2.Match, error) {
	if m.Regexp == "" {
		return nil, nil
	}
	re, err := compile(m.Regexp)
	if err != nil {
		return nil, err
	}
	return func(line string) *regexp2.Match {
		found, _ := re.FindStringMatch(line) // an error is a time-out, which is not set
		return found
	}, nil
}

func compile(expr string) (*regexp2.Regexp, error) {
	re, err := regexp2.Compile(strings.ReplaceAll(expr, "(?P<", "(?<"), regexp2.None)
	if err != nil {
		return nil, fail("cannot read the regular expression %q: %v", expr, err)
	}
	return re, nil
}

func (m *LineInFile) read() (string, error) {
	raw, err := os.ReadFile(m.path)
	if err != nil && !os.IsNotExist(err) {
		return "", fail("cannot read %s: %v", m.path, err)
	}
	m.lines = strings.SplitAfter(string(raw), "\n")
	if last := len(m.lines) - 1; m.lines[last] == "" {
		m.lines = m.lines[:last]
	}
	return string(raw), nil
}

func (m *LineInFile) absent(ctx context.Context, sys *tasks.Sys, before string, match func(string) *regexp2.Match) error {
	if m.Regexp == "" && m.SearchString == "" && m.Line == nil {
		return fail("one of line, search_string, or regexp is required with state=absent")
	}
	if !exists(m.path) {
		m.say("file not present")
		return nil
	}
	kept := slices.DeleteFunc(slices.Clone(m.lines), func(line string) bool {
		switch {
		case match != nil:
			return match(strings.TrimRight(line, "\r\n")) != nil
		case m.SearchString != "":
			return strings.Contains(line, m.SearchString)
		}
		return strings.TrimRight(line, "\r\n") == *m.Line
	})
	found := len(m.lines) - len(kept)
	m.lines = kept
	m.result.Set("found", found)
	msg := ""
	if found > 0 {
		msg = fmt.Sprintf("%d line(s) removed", found)
	}
	return m.write(ctx, sys, before, msg)
}

func (m *LineInFile) present(ctx context.Context, sys *tasks.Sys, before string, match func(string) *regexp2.Match) error {
	switch {
	case m.Backrefs && m.Regexp == "":
		return fail("regexp is required with backrefs=true")
	case m.Line == nil:
		return fail("line is required with state=present")
	case !exists(m.path) && !m.Create:
		m.result.Set("rc", 257)
		return fail("Destination %s does not exist !", m.path)
	case !exists(m.path) && !exists(filepath.Dir(m.path)) && !sys.Check():
		if _, err := makeDirs(ctx, sys, filepath.Dir(m.path), tasks.Attrs{}); err != nil {
			return err
		}
	}
	msg, err := m.put(match)
	if err != nil {
		return err
	}
	return m.write(ctx, sys, before, msg)
}

// put changes the lines and says how.
func (m *LineInFile) put(match func(string) *regexp2.Match) (string, error) {
	at, found := m.find(match)
	line := *m.Line
	if at >= 0 {
		if m.Backrefs && found != nil {
			var err error
			if line, err = expand(line, found); err != nil {
				return "", err
			}
		}
		line = strings.TrimSuffix(line, "\n") + "\n"
		if m.lines[at] == line {
			return "", nil
		}
		m.lines[at] = line
		return "line replaced", nil
	}
	if m.Backrefs {
		return "", nil
	}
	return m.insert(line)
}

// find is the last line that matches, else the last that is the line already.
func (m *LineInFile) find(match func(string) *regexp2.Match) (at int, found *regexp2.Match) {
	at = -1
	for i, have := range m.lines {
		text := strings.TrimRight(have, "\r\n")
		switch {
		case match != nil:
			if f := match(text); f != nil && (at < 0 || !m.FirstMatch) {
				at, found = i, f
			}
		case m.SearchString != "":
			if strings.Contains(have, m.SearchString) && (at < 0 || !m.FirstMatch) {
				at = i
			}
		}
	}
	if at >= 0 || m.Backrefs {
		return at, found
	}
	for i, have := range m.lines {
		if strings.TrimRight(have, "\r\n") == *m.Line {
			at = i
		}
	}
	return at, nil
}

// insert puts a new line where insertafter or insertbefore say, else at the end.
func (m *LineInFile) insert(line string) (string, error) {
	at := len(m.lines)
	switch {
	case m.InsertBefore == "BOF":
		at = 0
	case m.InsertBefore != "":
		i, err := m.findPlace(m.InsertBefore)
		if err != nil {
			return "", err
		}
		if i >= 0 {
			at = i
		}
	case m.InsertAfter != "" && m.InsertAfter != "EOF":
		i, err := m.findPlace(m.InsertAfter)
		if err != nil {
			return "", err
		}
		if i >= 0 {
			at = i + 1
		}
	}
	if last := len(m.lines) - 1; last >= 0 && !strings.HasSuffix(m.lines[last], "\n") {
		m.lines[last] += "\n"
	}
	m.lines = slices.Insert(m.lines, at, line+"\n")
	return "line added", nil
}

func (m *LineInFile) findPlace(expr string) (int, error) {
	re, err := compile(expr)
	if err != nil {
		return -1, err
	}
	at := -1
	for i, have := range m.lines {
		if ok, _ := re.MatchString(strings.TrimRight(have, "\r\n")); ok {
			if at = i; m.FirstMatch {
				break
			}
		}
	}
	return at, nil
}

// expand fills \1, \g<1> and \g<name> of a line with the groups of a match, as Python's Match.expand does.
func expand(line string, found *regexp2.Match) (string, error) {
	var b strings.Builder
	for i := 0; i < len(line); i++ {
		if line[i] != '\\' || i+1 == len(line) {
			b.WriteByte(line[i])
			continue
		}
		i++
		switch c := line[i]; {
		case c >= '0' && c <= '9':
			name := string(c)
			if i+1 < len(line) && line[i+1] >= '0' && line[i+1] <= '9' {
				i++
				name += string(line[i])
			}
			b.WriteString(groupText(found, name))
		case c == 'g' && strings.HasPrefix(line[i:], "g<") && strings.Contains(line[i:], ">"):
			name, _, _ := strings.Cut(line[i+2:], ">")
			b.WriteString(groupText(found, name))
			i += len(name) + 2
		case strings.IndexByte("ntrafv", c) >= 0:
			b.WriteByte("\n\t\r\a\f\v"[strings.IndexByte("ntrafv", c)])
		case c == '\\':
			b.WriteByte(c)
		default:
			if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
				return "", fail("cannot fill the groups into %q: bad escape \\%c", line, c)
			}
			b.WriteByte('\\')
			b.WriteByte(c)
		}
	}
	return b.String(), nil
}

func groupText(found *regexp2.Match, name string) string {
	if g := found.GroupByName(name); g != nil {
		return g.String()
	}
	return ""
}

func (m *LineInFile) write(ctx context.Context, sys *tasks.Sys, before, msg string) error {
	after := strings.Join(m.lines, "")
	m.result.Set("backup", "")
	m.say(msg)
	check, err := validator(sys, m.Validate)
	if err != nil {
		return err
	}
	if after == before && exists(m.path) {
		return m.setAttrs(ctx, sys)
	}
	if m.Backup {
		name, err := backupFile(ctx, sys, m.path)
		if err != nil {
			return err
		}
		m.result.Set("backup", name)
	}
	if m.attrsDiffer(ctx) {
		m.say(msg + attrsChanged)
	}
	o := tasks.WriteOptions{Follow: true, Unsafe: m.UnsafeWrites, Validate: check}
	m.result.Changed, err = sys.WriteFile(ctx, m.path, tasks.Text([]byte(after)), m.Attrs(), o)
	return err
}

func (m *LineInFile) setAttrs(ctx context.Context, sys *tasks.Sys) error {
	changed, err := sys.SetAttrs(ctx, realPath(m.path), m.Attrs())
	m.result.Changed = changed
	if changed {
		m.say(strings.TrimPrefix(m.result.Msg+attrsChanged, " and "))
	}
	return err
}

const attrsChanged = " and ownership, perms or SE linux context changed"

// attrsDiffer tells whether the attributes asked for are others than the file has, or than a new file gets.
func (m *LineInFile) attrsDiffer(ctx context.Context) bool {
	if exists(m.path) {
		look := tasks.NewSys(tasks.Options{Check: true})
		differ, err := look.SetAttrs(ctx, realPath(m.path), m.Attrs())
		return err == nil && differ
	}
	return m.Owner != "" || m.Group != "" || m.Mode.Apply(0o644, false, 0o022) != 0o644
}

// say sets the message, which is a returned value even when it is empty.
func (m *LineInFile) say(msg string) {
	m.result.Msg = msg
	m.result.Set("msg", msg)
}

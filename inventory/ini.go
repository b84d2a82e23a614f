package inventory

import (
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

var (
	sectionLine = regexp.MustCompile(`^\[([^:\]\s]+)(?::(\w+))?\]\s*(?:#.*)?$`)
	groupLine   = regexp.MustCompile(`^([^:\]\s]+)\s*(?:#.*)?$`)
)

// iniReader reads an INI inventory: lines of hosts, [group], [group:vars] and [group:children].
type iniReader struct {
	*loader
	file    string
	pos     source.Pos // of the line's first character that is no space
	group   string
	state   string                // hosts, vars or children
	waiting map[string]source.Pos // groups given variables before a section declared them
	parents map[string][]parent   // children named before a section declared them; they join where they are declared
	known   map[string]bool       // groups that have been declared
}

// parent is a group that names a child that no section has declared yet.
type parent struct {
	group *Group
	pos   source.Pos
}

func (l *loader) readINI(file string, text []byte) {
	r := &iniReader{loader: l, file: file, group: "ungrouped", state: "hosts", waiting: map[string]source.Pos{}, parents: map[string][]parent{}, known: map[string]bool{}}
	for _, g := range l.inv.groups {
		r.known[g.Name] = true
	}
	for i, line := range strings.Split(string(text), "\n") {
		trimmed := strings.TrimLeft(line, " \t")
		r.pos = source.Pos{File: file, Line: i + 1, Col: utf8.RuneCountInString(line[:len(line)-len(trimmed)]) + 1}
		if i == 0 {
			trimmed = strings.TrimPrefix(trimmed, "\ufeff")
		}
		r.line(strings.TrimRight(trimmed, " \t\r"))
	}
	r.undeclared()
}

func (r *iniReader) line(line string) {
	switch {
	case line == "" || line[0] == '#' || line[0] == ';':
	case sectionLine.MatchString(line):
		m := sectionLine.FindStringSubmatch(line)
		r.section(m[1], m[2])
	case line[0] == '[' && line[len(line)-1] == ']' && !strings.Contains(line, "]:"):
		r.problems.Addf(r.pos, "cannot read the section %s: between the brackets stands group, group:vars or group:children, without spaces", line)
	case r.state == "hosts":
		r.hostLine(line)
	case r.state == "vars":
		r.varLine(line)
	case r.state == "children":
		r.childLine(line)
	}
}

func (r *iniReader) section(group, kind string) {
	if kind == "" {
		kind = "hosts"
	}
	kinds := []string{"hosts", "vars", "children"}
	r.group, r.state = group, kind
	switch kind {
	case "hosts", "children":
		r.declare(r.inv.group(group, r.pos))
	case "vars":
		if !r.known[group] {
			r.waiting[group] = r.pos
		}
		r.inv.group(group, r.pos)
	default:
		r.state = "" // what follows cannot be judged
		r.problems.Addf(r.pos, "cannot read the section [%s:%s]: its kind is not known", group, kind).Hint = nearest(kind, kinds)
	}
}

func (r *iniReader) declare(g *Group) {
	r.known[g.Name] = true
	delete(r.waiting, g.Name)
	for _, p := range r.parents[g.Name] {
		r.adopt(p, g)
	}
	delete(r.parents, g.Name)
}

func (r *iniReader) adopt(p parent, child *Group) {
	if err := p.group.adopt(child); err != nil {
		r.problems.Add(p.pos, source.Errorf(p.pos, "%w", err))
	}
}

// hostLine reads "name[range]:port key=value key=value".
func (r *iniReader) hostLine(line string) {
	words, err := splitWords(line)
	if err != nil {
		r.problems.Addf(r.pos, "cannot read the host line: %w", err)
		return
	}
	if len(words) == 0 {
		return
	}
	if words[0].text == "---" {
		r.problems.Addf(r.pos, "cannot use --- as a host: the file looks like YAML").WithHint("give it the ending .yml")
		return
	}
	names, port, err := expandHosts(words[0].text)
	if err != nil {
		r.problems.Add(r.pos, source.Errorf(r.pos, "%w", err))
		return
	}
	vars := r.hostVars(words[1:])
	for _, name := range names {
		isNew := r.inv.hostNamed[name] == nil
		h := r.inv.host(name, r.inv.group(r.group, r.pos), r.pos, r.file)
		if port != 0 && isNew {
			h.Vars.Put("ansible_port", port, r.pos)
		}
		h.Vars.PutAll(vars)
	}
}

func (r *iniReader) hostVars(words []word) *value.Vars {
	vars := &value.Vars{}
	for _, w := range words {
		pos := r.pos
		pos.Col += w.col
		key, text, ok := strings.Cut(w.text, "=")
		if !ok {
			r.problems.Addf(pos, "cannot read %q: expected key=value after the host", w.text).
				WithHint("a value with spaces is quoted: key=\"a b\"")
			continue
		}
		vars.Put(key, iniValue(text, pos.File, pos.Line, pos.Col+len(key)+1), pos)
	}
	return vars
}

// iniValue is a value as Ansible reads it: a Python literal, or else a string.
func iniValue(text, file string, line, col int) any {
	v := literal(text)
	if s, ok := v.(string); ok {
		return value.FromText(s, source.Pos{File: file, Line: line, Col: col})
	}
	return v
}

func (r *iniReader) varLine(line string) {
	key, text, ok := strings.Cut(line, "=")
	if !ok {
		r.problems.Addf(r.pos, "cannot read %q: expected key=value in the section [%s:vars]", line, r.group)
		return
	}
	col := r.pos.Col + utf8.RuneCountInString(line[:len(line)-len(strings.TrimLeft(text, " \t"))])
	v := iniValue(strings.TrimSpace(text), r.file, r.pos.Line, col)
	r.problems.Add(r.pos, r.inv.group(r.group, r.pos).setVar(strings.TrimSpace(key), v, r.pos))
}

func (r *iniReader) childLine(line string) {
	m := groupLine.FindStringSubmatch(line)
	if m == nil {
		r.problems.Addf(r.pos, "cannot read %q: expected the name of a group in the section [%s:children]", line, r.group)
		return
	}
	p := parent{r.inv.group(r.group, r.pos), r.pos}
	if r.known[m[1]] {
		r.adopt(p, r.inv.group(m[1], r.pos))
	} else {
		r.parents[m[1]] = append(r.parents[m[1]], p)
	}
}

// undeclared reports groups that were only ever named: a [group:vars] or a child without a section of its own.
func (r *iniReader) undeclared() {
	known := slices.Sorted(maps.Keys(r.known))
	for group, pos := range r.waiting {
		r.problems.Addf(pos, "cannot give variables to group %q: no section [%s] declares it", group, group).Hint = nearest(group, known)
	}
	for group, parents := range r.parents {
		for _, p := range parents {
			r.problems.Addf(p.pos, "cannot make group %q a child of %q: no section [%s] declares it", group, p.group.Name, group).Hint = nearest(group, known)
		}
	}
}

// word is a part of a host line, and how many characters of the line stand before it.
type word struct {
	text string
	col  int
}

// splitWords splits a line as a POSIX shell would: quotes, backslashes, and # begins a comment, even within a word.
func splitWords(line string) ([]word, error) {
	s := splitter{start: -1}
	runes := []rune(line)
	for col := 0; col < len(runes); col++ {
		c := runes[col]
		if s.quote == 0 && strings.ContainsRune(" \t#", c) {
			s.end()
			if c == '#' {
				return s.words, nil
			}
			continue
		}
		if s.start < 0 {
			s.start = col
		}
		if c == '\\' && s.quote != '\'' {
			col++
			if col == len(runes) {
				return nil, errors.New("nothing follows the backslash at its end")
			}
			s.escaped(runes[col])
			continue
		}
		s.plain(c)
	}
	if s.quote != 0 {
		return nil, errors.New("a quote is not closed")
	}
	s.end()
	return s.words, nil
}

type splitter struct {
	words []word
	text  strings.Builder
	start int  // where the word began, -1 between words
	quote rune // the one that is open, 0 outside
}

func (s *splitter) end() {
	if s.start >= 0 {
		s.words = append(s.words, word{s.text.String(), s.start})
	}
	s.text.Reset()
	s.start = -1
}

func (s *splitter) plain(c rune) {
	switch {
	case c == s.quote:
		s.quote = 0
	case s.quote == 0 && (c == '"' || c == '\''):
		s.quote = c
	default:
		s.text.WriteRune(c)
	}
}

// escaped takes the character behind a backslash, which inside double quotes only protects a quote and itself.
func (s *splitter) escaped(c rune) {
	if s.quote == '"' && c != '"' && c != '\\' {
		s.text.WriteRune('\\')
	}
	s.text.WriteRune(c)
}

func nearest(name string, known []string) string {
	if n := source.Nearest(name, known); n != "" {
		return "did you mean \"" + n + "\"?"
	}
	return ""
}

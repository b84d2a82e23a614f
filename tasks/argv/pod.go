package argv

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Pod is the manifest of a static pod whose container's arguments are to be edited.
type Pod struct {
	text  string
	lists []*yaml.Node // command and args
	lines []int        // where each line begins
}

// ReadPod finds the arguments of a container, or of the only one.
func ReadPod(text, container string) (*Pod, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return nil, err
	}
	if len(doc.Content) == 0 {
		return nil, errors.New("it is empty")
	}
	c := pickContainer(field(field(doc.Content[0], "spec"), "containers"), container)
	if c == nil {
		return nil, fmt.Errorf("it has no container %s", container)
	}
	p := &Pod{text: text, lines: []int{0}}
	for i := range text {
		if text[i] == '\n' {
			p.lines = append(p.lines, i+1)
		}
	}
	for _, name := range []string{"command", "args"} {
		if list := field(c, name); list != nil && list.Kind == yaml.SequenceNode && len(list.Content) > 0 {
			p.lists = append(p.lists, list)
		}
	}
	if len(p.lists) == 0 {
		return nil, fmt.Errorf("its container %s has neither command nor args", container)
	}
	for _, list := range p.lists {
		for _, e := range list.Content {
			if strings.Contains(e.Value, "\n") || e.Value == "-c" {
				return nil, errors.New("its command is a script of a shell; change that by hand")
			}
		}
	}
	return p, nil
}

func field(n *yaml.Node, name string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

func pickContainer(list *yaml.Node, name string) *yaml.Node {
	if list == nil || list.Kind != yaml.SequenceNode {
		return nil
	}
	for _, c := range list.Content {
		if n := field(c, "name"); n != nil && n.Value == name {
			return c
		}
	}
	if len(list.Content) == 1 {
		return list.Content[0]
	}
	return nil
}

// Argv are the words of the command and the arguments.
func (p *Pod) Argv() []string {
	var out []string
	for _, list := range p.lists {
		for _, e := range list.Content {
			out = append(out, e.Value)
		}
	}
	return out
}

// edit replaces a span of the text.
type edit struct {
	start, end int
	by         string
}

// Apply is the text with the change; every byte that the change does not concern stays as it is.
func (p *Pod) Apply(c Change) (string, error) {
	var edits []edit
	var have []string
	for _, list := range p.lists {
		flags := scan(contents(list))
		for _, f := range flags {
			e, err := p.editOf(c, list, f, slices.Contains(have, f.Name))
			if err != nil {
				return "", err
			}
			edits = append(edits, e...)
			have = append(have, f.Name)
		}
	}
	var missing []string
	for _, f := range c.Set {
		if !slices.Contains(have, f.Name) {
			missing = append(missing, f.String())
		}
	}
	if len(missing) > 0 {
		e, err := p.insert(p.lists[len(p.lists)-1], missing)
		if err != nil {
			return "", err
		}
		edits = append(edits, e)
	}
	slices.SortStableFunc(edits, func(a, b edit) int { return b.start - a.start })
	text := p.text
	for _, e := range edits {
		text = text[:e.start] + e.by + text[e.end:]
	}
	return text, nil
}

func contents(list *yaml.Node) []string {
	var out []string
	for _, e := range list.Content {
		out = append(out, e.Value)
	}
	return out
}

// editOf is what becomes of a flag that is there. One that comes again is taken away if it is to be set.
func (p *Pod) editOf(c Change, list *yaml.Node, f at, again bool) ([]edit, error) {
	i := slices.IndexFunc(c.Set, func(s Flag) bool { return s.Name == f.Name })
	remove := slices.Contains(c.Remove, f.Name) || i >= 0 && again
	if remove {
		var out []edit
		for j := f.first; j <= f.last; j++ {
			e, err := p.take(list, j)
			if err != nil {
				return nil, err
			}
			out = append(out, e)
		}
		return out, nil
	}
	if i < 0 {
		return nil, nil
	}
	value := c.Set[i].Value
	if slices.Contains(c.Merge, f.Name) {
		value = Merged(f.Value, value)
	}
	if value == f.Value {
		return nil, nil
	}
	start, end, err := p.span(list.Content[f.last])
	if f.first != f.last {
		return []edit{{start, end, scalar(value)}}, err
	}
	return []edit{{start, end, scalar(Flag{f.Name, value}.String())}}, err
}

// span is where a scalar stands.
func (p *Pod) span(n *yaml.Node) (start, end int, err error) {
	start = p.lines[n.Line-1] + n.Column - 1
	rest := p.text[start:]
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		for i := 1; i < len(rest) && rest[i] != '\n'; i++ {
			switch rest[i] {
			case '\\':
				i++
			case '"':
				return start, start + i + 1, nil
			}
		}
	case n.Style&yaml.SingleQuotedStyle != 0:
		for i := 1; i < len(rest) && rest[i] != '\n'; i++ {
			if rest[i] == '\'' {
				if i+1 == len(rest) || rest[i+1] != '\'' {
					return start, start + i + 1, nil
				}
				i++
			}
		}
	case strings.HasPrefix(rest, n.Value):
		return start, start + len(n.Value), nil
	}
	return 0, 0, fmt.Errorf("line %d: the argument %q is written over several lines; write it in one", n.Line, n.Value)
}

// take removes an element: its line, or in a list in brackets the element and a comma.
func (p *Pod) take(list *yaml.Node, i int) (edit, error) {
	start, end, err := p.span(list.Content[i])
	if err != nil {
		return edit{}, err
	}
	if list.Style&yaml.FlowStyle != 0 {
		if i+1 < len(list.Content) {
			next, _, err := p.span(list.Content[i+1])
			return edit{start, next, ""}, err
		}
		if i > 0 {
			_, last, err := p.span(list.Content[i-1])
			return edit{last, end, ""}, err
		}
		return edit{start, end, ""}, nil
	}
	line := list.Content[i].Line
	head := p.text[p.lines[line-1]:start]
	if strings.TrimLeft(head, " ") != "- " && strings.Trim(head, " -") != "" {
		return edit{}, fmt.Errorf("line %d: the list does not begin on a line of its own", line)
	}
	if line == len(p.lines) {
		return edit{p.lines[line-1], len(p.text), ""}, nil
	}
	return edit{p.lines[line-1], p.lines[line], ""}, nil
}

// insert puts elements behind the last one, written as the list is.
func (p *Pod) insert(list *yaml.Node, words []string) (edit, error) {
	last := list.Content[len(list.Content)-1]
	_, end, err := p.span(last)
	if err != nil {
		return edit{}, err
	}
	by := ""
	if list.Style&yaml.FlowStyle != 0 {
		for _, w := range words {
			by += ", " + inFlow(w)
		}
		return edit{end, end, by}, nil
	}
	if i := strings.IndexByte(p.text[end:], '\n'); i >= 0 {
		end += i // behind a comment
	} else {
		end = len(p.text)
	}
	indent := strings.Repeat(" ", list.Column-1) // of the dash
	gap := last.Column - list.Column - 1         // behind it
	for _, w := range words {
		by += "\n" + indent + "-" + strings.Repeat(" ", max(gap, 1)) + scalar(w)
	}
	return edit{end, end, by}, nil
}

// scalar is a word as YAML reads it back, plain where it can be.
func scalar(word string) string {
	var n yaml.Node
	if yaml.Unmarshal([]byte(word), &n) == nil && len(n.Content) == 1 && n.Content[0].Kind == yaml.ScalarNode &&
		n.Content[0].Tag == "!!str" && n.Content[0].Value == word && n.LineComment == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", "''") + "'"
}

func inFlow(word string) string {
	if s := scalar(word); s != word || !strings.ContainsAny(word, ",[]{}") {
		return s
	}
	return "'" + strings.ReplaceAll(word, "'", "''") + "'"
}

package value

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/playbooks/source"
)

// Docs are the documents of one YAML or JSON file. A scalar node's Line and Column are those of its text (after the
// quote, the tag or the anchor; the first line of a block scalar), so they are right for a Template.
type Docs struct {
	File     string
	Nodes    []*yaml.Node    // one a document, without the document node around it
	Warnings source.Problems // duplicate keys: the last one wins, as under Ansible
}

// ReadYAML parses a file's text. JSON is read as JSON (1e5 is a number there). Mistakes of syntax come as source.Problems.
func ReadYAML(file string, text []byte) (Docs, error) {
	docs := Docs{File: file}
	if p := unreadable(file, text); p != nil {
		return docs, source.Problems{p}
	}
	if node := readJSON(text); node != nil {
		docs.Nodes = []*yaml.Node{node}
		return docs, nil
	}
	err := docs.parse(text)
	return docs, err
}

func (d *Docs) parse(text []byte) error {
	lines := strings.Split(string(text), "\n")
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return source.Problems{syntaxProblem(d.File, string(text), lines, err)}
		}
		node := doc.Content[0]
		placeScalars(node, lines)
		d.Warnings = append(d.Warnings, duplicateKeys(d.File, node)...)
		d.Nodes = append(d.Nodes, node)
	}
}

// One is the only document's node, nil for an empty file; more than one document is an error.
func (d Docs) One() (*yaml.Node, error) {
	switch len(d.Nodes) {
	case 0:
		return nil, nil
	case 1:
		return d.Nodes[0], nil
	}
	p := source.Errorf(At(d.Nodes[1], d.File), "cannot read the file: it holds %d documents, expected one", len(d.Nodes))
	return nil, source.Problems{p.WithHint("a line that is only --- starts another document; put each in a file of its own")}
}

// Value is the only document's value, nil for an empty file.
func (d Docs) Value() (any, error) {
	node, err := d.One()
	if err != nil || node == nil {
		return nil, err
	}
	return FromYAML(node, d.File)
}

// At is the place of a node.
func At(node *yaml.Node, file string) source.Pos {
	return source.Pos{File: file, Line: node.Line, Col: node.Column}
}

// unreadable finds bytes that no YAML text may hold.
func unreadable(file string, text []byte) *source.Problem {
	if bytes.HasPrefix(text, []byte("$ANSIBLE_VAULT;")) {
		return source.Errorf(source.Pos{File: file, Line: 1, Col: 1}, "cannot read the file: it is encrypted with Ansible Vault").
			WithHint("decrypt it with ansible-vault decrypt")
	}
	line, col := 1, 1
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		pos := source.Pos{File: file, Line: line, Col: col}
		switch {
		case r == utf8.RuneError && size <= 1:
			return source.Errorf(pos, "cannot read the file: byte 0x%02x is not UTF-8 text", text[i])
		case r < ' ' && !strings.ContainsRune("\t\n\r", r) || r == 0x7f:
			return source.Errorf(pos, "cannot read the file: control character 0x%02x is not allowed", r)
		}
		i, col = i+size, col+1
		if r == '\n' {
			line, col = line+1, 1
		}
	}
	return nil
}

// syntaxProblem puts the parser's error where it happened, with a hint for the mistakes that everybody makes.
func syntaxProblem(file, text string, lines []string, err error) *source.Problem {
	m := findMistake(text)
	if m.msg == "" { // the text is right when it is read again
		return source.Errorf(source.Pos{File: file}, "cannot read YAML: %w", err)
	}
	line, col := m.place()
	p := source.Errorf(source.Pos{File: file, Line: line, Col: col}, "cannot read YAML: %s", m.msg)
	p.Hint = syntaxHint(m.msg, lines, line, col)
	return p
}

func syntaxHint(msg string, lines []string, line, col int) string {
	text := ""
	if line >= 1 && line <= len(lines) {
		text = lines[line-1]
	}
	at := ""
	if runes := []rune(text); col <= len(runes) {
		at = string(runes[col-1])
	}
	switch {
	case strings.HasPrefix(strings.TrimLeft(text, " "), "\t"), strings.Contains(msg, "tab character"):
		return "indent with spaces; YAML does not take tabs"
	case strings.Contains(msg, "cannot start any token"):
		return "a value that begins with @, ` or % must be quoted"
	case strings.Contains(text, ": {{"):
		return "a value that begins with {{ must be quoted: \"{{ ... }}\""
	case strings.Contains(msg, "mapping values are not allowed"):
		return "a value that holds \": \" must be quoted; otherwise look at the indentation"
	case (at == "[" || at == "{") && (strings.Contains(msg, "',' or") || strings.Contains(msg, "node content")):
		return "look for a bracket or a comma that is missing behind this one"
	case strings.Contains(msg, "end of stream"), strings.Contains(msg, "document indicator"):
		return "the quote that opens here is not closed"
	}
	return ""
}

// duplicateKeys warns of every key that stands twice in a mapping.
func duplicateKeys(file string, node *yaml.Node) source.Problems {
	var warnings source.Problems
	if node.Kind == yaml.MappingNode {
		first := map[string]*yaml.Node{}
		for i := 0; i+1 < len(node.Content); i += 2 {
			key := node.Content[i]
			if key.Kind != yaml.ScalarNode || isMerge(key) {
				continue
			}
			id := tagOf(key) + " " + key.Value
			if before := first[id]; before != nil {
				warnings.Addf(At(key, file), "duplicate key %q: the value of line %d is ignored, the last one is used", key.Value, before.Line)
			}
			first[id] = key
		}
	}
	for _, child := range node.Content {
		warnings = append(warnings, duplicateKeys(file, child)...)
	}
	return warnings
}

// tagOf is the short tag of a scalar under YAML 1.1.
func tagOf(node *yaml.Node) string {
	switch {
	case node.Style&yaml.TaggedStyle != 0:
		return node.Tag
	case node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return "!!str"
	}
	return plainTag(node.Value)
}

func isMerge(key *yaml.Node) bool {
	return key.Kind == yaml.ScalarNode && (key.Style == 0 && key.Value == "<<" || key.Style&yaml.TaggedStyle != 0 && key.Tag == "!!merge")
}

package value

import (
	"bytes"
	"encoding/json"
	"io"
	"sort"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// readJSON is the node of a text that is one JSON object or list, else nil: Ansible tries JSON first, and the two
// languages differ (numbers such as 1e5, tabs, escaped surrogate pairs).
func readJSON(text []byte) *yaml.Node {
	trimmed := bytes.TrimSpace(text)
	if len(trimmed) == 0 || trimmed[0] != '{' && trimmed[0] != '[' || !json.Valid(text) {
		return nil
	}
	r := jsonReader{text: text, dec: json.NewDecoder(bytes.NewReader(text))}
	r.dec.UseNumber()
	for i, c := range text {
		if c == '\n' {
			r.lineEnds = append(r.lineEnds, i)
		}
	}
	node, err := r.value()
	if err != nil {
		return nil // json.Valid has said otherwise; the YAML reader will report it
	}
	return node
}

type jsonReader struct {
	text     []byte
	dec      *json.Decoder
	lineEnds []int
}

func (r *jsonReader) value() (*yaml.Node, error) {
	node := r.place()
	tok, err := r.dec.Token()
	if err != nil {
		return nil, err
	}
	switch tok := tok.(type) {
	case json.Delim:
		return r.collection(node, tok)
	case string:
		node.Value, node.Style = tok, yaml.DoubleQuotedStyle
		node.Column++
	case json.Number:
		node.Value, node.Tag, node.Style = tok.String(), "!!int", yaml.TaggedStyle
		if strings.ContainsAny(node.Value, ".eE") {
			node.Tag = "!!float"
		}
	case bool:
		node.Value, node.Tag = "false", "!!bool"
		if tok {
			node.Value = "true"
		}
	case nil:
		node.Value, node.Tag = "null", "!!null"
	}
	return node, nil
}

func (r *jsonReader) collection(node *yaml.Node, open json.Delim) (*yaml.Node, error) {
	node.Kind, node.Tag, node.Style = yaml.SequenceNode, "!!seq", yaml.FlowStyle
	if open == '{' {
		node.Kind, node.Tag = yaml.MappingNode, "!!map"
	}
	for r.dec.More() {
		child, err := r.value()
		if err != nil {
			return nil, err
		}
		node.Content = append(node.Content, child)
	}
	_, err := r.dec.Token() // the closing bracket
	return marked(node), err
}

// marked turns the two objects by which Ansible's JSON says "encrypted" and "never a template" into the tags they stand for.
func marked(node *yaml.Node) *yaml.Node {
	if node.Kind != yaml.MappingNode || len(node.Content) != 2 {
		return node
	}
	tag := map[string]string{"__ansible_vault": "!vault", "__ansible_unsafe": "!unsafe"}[node.Content[0].Value]
	if tag == "" {
		return node
	}
	v := node.Content[1]
	v.Tag, v.Style = tag, v.Style|yaml.TaggedStyle
	return v
}

// place is a scalar node that stands where the next token begins.
func (r *jsonReader) place() *yaml.Node {
	at := int(r.dec.InputOffset())
	for at < len(r.text) && bytes.IndexByte([]byte(" \t\r\n,:"), r.text[at]) >= 0 {
		at++
	}
	line := sort.SearchInts(r.lineEnds, at)
	start := 0
	if line > 0 {
		start = r.lineEnds[line-1] + 1
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Line: line + 1, Column: utf8.RuneCount(r.text[start:at]) + 1}
}

// UnmarshalJSON reads a JSON object and keeps the order of its keys; nested objects become Dicts, whole numbers int.
func (d *Dict) UnmarshalJSON(text []byte) error {
	v, err := FromJSON(text)
	if err != nil {
		return err
	}
	if got, ok := v.(*Dict); ok {
		*d = *got
	}
	return nil
}

// FromJSON reads one JSON value that is data: its strings are never templates.
func FromJSON(text []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	v, err := jsonData(dec)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errTrailing
	}
	return v, nil
}

var errTrailing = &json.UnsupportedValueError{Str: "text after the JSON value"}

func jsonData(dec *json.Decoder) (any, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	open, ok := tok.(json.Delim)
	if !ok {
		return jsonScalar(tok)
	}
	dict, list := &Dict{}, []any{}
	for dec.More() {
		v, err := jsonData(dec)
		if err != nil {
			return nil, err
		}
		if open == '[' {
			list = append(list, v)
			continue
		}
		member, err := jsonData(dec)
		if err != nil {
			return nil, err
		}
		dict.Set(v, member)
	}
	if _, err = dec.Token(); err != nil {
		return nil, err
	}
	if open == '[' {
		return list, nil
	}
	return dict, nil
}

func jsonScalar(tok json.Token) (any, error) {
	number, ok := tok.(json.Number)
	if !ok {
		return tok, nil
	}
	if strings.ContainsAny(number.String(), ".eE") {
		return number.Float64()
	}
	if n, err := number.Int64(); err == nil {
		return int(n), nil
	}
	return number, nil
}

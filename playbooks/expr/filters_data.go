package expr

import (
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/playbooks/value"
)

func addDataFilters(r *registry) {
	r.addFilter("to_json", "a, **options", func(a args) any {
		return toJSON(a, -1, false)
	})
	r.addFilter("to_nice_json", "a, indent=4, sort_keys=true, **options", func(a args) any {
		indent := 4
		if !a.nil(1) {
			indent = a.int(1)
		}
		return toJSON(a, indent, a.bool(2))
	})
	r.addFilter("tojson", "value, indent=None", func(a args) any {
		indent := -1
		if !a.nil(1) {
			indent = a.int(1)
		}
		return strings.NewReplacer("<", `\u003c`, ">", `\u003e`, "&", `\u0026`, "'", `\u0027`).Replace(dumps(a.v[0], indent, true, false))
	})
	r.addFilter("from_json", "value", func(a args) any { return loads(a.text(0, "the JSON object")) })
	r.addFilter("to_yaml", "a, **options", func(a args) any { return toYAML(a, -1, "") })
	r.addFilter("to_nice_yaml", "a, indent=4, **options", func(a args) any { return toYAML(a, a.int(1), "block") })
	r.addFilter("from_yaml", "data", func(a args) any {
		s, ok := a.v[0].(string)
		if !ok {
			return a.v[0]
		}
		docs := readDocs(s)
		if len(docs) > 1 {
			fail("expected a single document in the stream but found another document")
		}
		if len(docs) == 0 {
			return nil
		}
		return docs[0]
	})
	r.addFilter("from_yaml_all", "data", func(a args) any {
		s, ok := a.v[0].(string)
		if !ok {
			return a.v[0]
		}
		return readDocs(s)
	})
}

func toJSON(a args, indent int, sortKeys bool) string {
	a.onlyOpts("to_json", "indent", "sort_keys", "ensure_ascii", "vault_to_text", "preprocess_unsafe", "separators", "skipkeys", "allow_nan", "default", "cls", "check_circular")
	w := &jsonWriter{itemSep: ", ", keySep: ": ", sortKeys: truthy(a.opt("sort_keys", sortKeys)), unicode: !truthy(a.opt("ensure_ascii", true))}
	if n := a.opt("indent", nil); n != nil {
		indent, _, _, _ = numeric(n)
	}
	if indent >= 0 {
		w.lines, w.indent, w.itemSep = true, strings.Repeat(" ", indent), ","
	}
	if sep, ok := asList(a.opt("separators", nil)); ok && len(sep) == 2 {
		w.itemSep, w.keySep = pyStr(sep[0]), pyStr(sep[1])
	}
	w.write(a.v[0], 0)
	return w.b.String()
}

// readDocs reads the documents of a YAML text. They are data: text with markers is not a template.
func readDocs(text string) []any {
	docs, err := value.ReadYAML("", []byte(text))
	if err != nil {
		fail("cannot read YAML: %w", err)
	}
	out := []any{}
	for _, node := range docs.Nodes {
		out = append(out, docValue(node))
	}
	return out
}

func docValue(node *yaml.Node) any {
	v, err := value.FromYAML(node, "")
	if err != nil {
		fail("cannot read YAML: %w", err)
	}
	return asData(v)
}

// asData takes templates in v for the text they are.
func asData(v any) any {
	switch v := v.(type) {
	case value.Template:
		return v.Text
	case value.Vault:
		return v.Text
	case []any:
		for i := range v {
			v[i] = asData(v[i])
		}
	case *Dict:
		for _, k := range v.Keys() {
			v.Set(k, asData(v.At(k)))
		}
	}
	return v
}

func toYAML(a args, indent int, style string) string {
	e := newEmitter()
	if indent > 0 {
		e.indent = indent
	}
	if n, _, _, ok := numeric(a.opt("indent", nil)); ok {
		e.indent = n
	}
	if n, _, _, ok := numeric(a.opt("width", nil)); ok {
		e.width = n
	}
	e.block = style == "block"
	if v := a.opt("default_flow_style", nil); v != nil {
		e.block, e.flow = !truthy(v), truthy(v)
	}
	e.unicode = true
	e.sortKeys = truthy(a.opt("sort_keys", true))
	e.quote = pyStr(a.opt("default_style", ""))
	e.start, e.stop = truthy(a.opt("explicit_start", false)), truthy(a.opt("explicit_end", false))
	a.onlyOpts("to_yaml", "indent", "width", "default_flow_style", "sort_keys", "default_style", "explicit_start", "explicit_end")
	return e.document(a.v[0])
}

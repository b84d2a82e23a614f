package expr

import (
	"html"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// textFilter is a filter of text alone.
func (r *registry) textFilter(names string, fn func(s string) string) {
	r.addFilter(names, "value", func(a args) any { return fn(a.str(0)) })
}

func addTextFilters(r *registry) {
	r.textFilter("lower", strings.ToLower)
	r.textFilter("upper", upper)
	r.textFilter("capitalize", capitalize)
	r.textFilter("title", jinjaTitle)
	r.textFilter("string safe", func(s string) string { return s })
	r.textFilter("escape e forceescape", escapeHTML)
	r.textFilter("striptags", stripTags)
	r.addFilter("trim", "value, chars=None", func(a args) any {
		if a.nil(1) {
			return strings.TrimSpace(a.str(0))
		}
		return strings.Trim(a.str(0), a.str(1))
	})
	r.addFilter("replace", "s, old, new, count=None", func(a args) any {
		n := -1
		if !a.nil(3) {
			n = a.int(3)
		}
		return strings.Replace(a.str(0), a.str(1), a.str(2), n)
	})
	r.addFilter("center", "value, width=80", func(a args) any { return center(a.str(0), a.int(1), " ") })
	r.addFilter("indent", "s, width=4, first=false, blank=false", indentFilter)
	r.addFilter("truncate", "s, length=255, killwords=false, end='...', leeway=5", truncateFilter)
	r.addFilter("wordwrap", "s, width=79, break_long_words=true, wrapstring='\\n', break_on_hyphens=true", wordwrapFilter)
	r.addFilter("wordcount", "s", func(a args) any { return len(wordRE.FindAllString(a.str(0), -1)) })
	r.addFilter("format", "value, *args, **kwargs", formatFilter)
	r.addFilter("split", "value, sep=None, maxsplit=-1", func(a args) any {
		return strMethods["split"](a.f, a.text(0, "the text to split"), callValues{pos: a.v[1:]})
	})
	r.addFilter("xmlattr", "d, autospace=true", xmlattrFilter)
	r.addFilter("comment", "text, style='plain', **options", commentFilter)
	r.addFilter("pprint", "value", func(a args) any { return pyRepr(a.v[0]) })
	r.addFilter("urlize", "value, **options", func(a args) any { return a.str(0) })
}

var wordRE = regexp.MustCompile(`[\p{L}\p{N}_]+`)

// jinjaTitle starts each word with a capital, where a word follows blanks, a hyphen or an opening bracket.
func jinjaTitle(s string) string {
	start := true
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || strings.ContainsRune("-({[<", r) {
			start = true
			return r
		}
		if start {
			start = false
			return unicode.ToUpper(r)
		}
		return unicode.ToLower(r)
	}, s)
}

var htmlEscapes = strings.NewReplacer("&", "&amp;", ">", "&gt;", "<", "&lt;", "'", "&#39;", `"`, "&#34;")

func escapeHTML(s string) string { return htmlEscapes.Replace(s) }

var tagRE = regexp.MustCompile(`(?s)<!--.*?-->|<[^>]*>`)

func stripTags(s string) string {
	return html.UnescapeString(strings.Join(strings.Fields(tagRE.ReplaceAllString(s, "")), " "))
}

func indentFilter(a args) any {
	s := a.text(0, "the text to indent")
	pad := ""
	if text, ok := a.v[1].(string); ok {
		pad = text
	} else {
		pad = strings.Repeat(" ", max(a.int(1), 0))
	}
	if a.bool(3) {
		s = strings.ReplaceAll(s, "\n", "\n"+pad)
	} else {
		lines := splitLines(s+"\n", false)
		for i := 1; i < len(lines); i++ {
			if lines[i] != "" {
				lines[i] = pad + lines[i]
			}
		}
		s = strings.Join(lines, "\n")
	}
	if a.bool(2) {
		s = pad + s
	}
	return s
}

func truncateFilter(a args) any {
	s, n, end, leeway := []rune(a.str(0)), a.int(1), a.str(3), a.int(4)
	cut := n - utf8.RuneCountInString(end)
	if cut < 0 {
		fail("expected length >= %d, got %d", utf8.RuneCountInString(end), n)
	}
	if len(s) <= n+leeway {
		return string(s)
	}
	text := string(s[:cut])
	if !a.bool(2) {
		if i := strings.LastIndexByte(text, ' '); i >= 0 {
			text = text[:i]
		}
	}
	return text + end
}

func formatFilter(a args) any {
	if len(a.rest) > 0 && a.named != nil {
		fail("can't handle positional and keyword arguments at the same time")
	}
	if a.named != nil {
		return percentFormat(a.str(0), a.named)
	}
	return percentFormat(a.str(0), Tuple(a.rest))
}

func xmlattrFilter(a args) any {
	d := a.dict(0, "xmlattr")
	var parts []string
	for k, v := range d.All() {
		if _, undefined := v.(*Undefined); v == nil || undefined {
			continue
		}
		key := pyStr(k)
		if strings.ContainsAny(key, " \t\n\f\r/>=") {
			fail("Invalid character in attribute name: %s", pyQuote(key))
		}
		parts = append(parts, escapeHTML(key)+`="`+escapeHTML(pyStr(v))+`"`)
	}
	out := strings.Join(parts, " ")
	if out != "" && a.bool(1) {
		out = " " + out
	}
	return out
}

// dict is argument i, which must be a mapping.
func (a args) dict(i int, what string) *Dict {
	undefinedFails(a.v[i])
	d, ok := asDict(a.v[i])
	if !ok {
		fail("%s requires a dictionary, got %s instead", what, typeName(a.v[i]))
	}
	return d
}

// commentStyle is how a block of comment looks.
type commentStyle struct{ beginning, decoration, end string }

var commentStyles = map[string]commentStyle{
	"plain":  {decoration: "# "},
	"erlang": {decoration: "% "},
	"c":      {decoration: "// "},
	"cblock": {"/*", " * ", " */"},
	"xml":    {"<!--", " - ", "-->"},
}

func commentFilter(a args) any {
	style, ok := commentStyles[a.str(1)]
	if !ok {
		fail("there is no comment style %s", pyQuote(a.str(1)))
	}
	opt := func(name, def string) string { return pyStr(a.opt(name, def)) }
	newline := opt("newline", "\n")
	decoration := opt("decoration", style.decoration)
	beginning, end := opt("beginning", style.beginning), opt("end", style.end)
	prefix, postfix := opt("prefix", strings.TrimRight(decoration, " ")), opt("postfix", strings.TrimRight(decoration, " "))
	count := func(name string) int {
		n, _, _, _ := numeric(a.opt(name, 1))
		return n
	}
	var b strings.Builder
	if beginning != "" {
		b.WriteString(beginning + newline)
	}
	b.WriteString(strings.Repeat(prefix+newline, boolInt(prefix != "")*count("prefix_count")))
	body := decoration + strings.ReplaceAll(a.text(0, "the text of a comment"), newline, newline+decoration)
	body = strings.ReplaceAll(body, decoration+newline, strings.TrimRight(decoration, " ")+newline)
	b.WriteString(body)
	b.WriteString(strings.Repeat(newline+postfix, boolInt(postfix != "")*count("postfix_count")))
	if end != "" {
		b.WriteString(newline + end)
	}
	return b.String()
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

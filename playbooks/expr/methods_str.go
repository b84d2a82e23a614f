package expr

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

func strMethod(name, sig string, fn func(s string, a args) any) {
	strMethods[name] = bound(name, sig, func(recv any, a args) any { return fn(recv.(string), a) })
}

// trimmed is the set of characters to strip; nil means white space.
func trimmed(a args) func(rune) bool {
	if a.nil(0) {
		return unicode.IsSpace
	}
	set := a.text(0, "strip's argument")
	return func(r rune) bool { return strings.ContainsRune(set, r) }
}

func addStrMethods() {
	addCaseMethods()
	addIsMethods()
	addFindMethods()
	strMethod("strip", "chars=None", func(s string, a args) any { return strings.TrimFunc(s, trimmed(a)) })
	strMethod("lstrip", "chars=None", func(s string, a args) any { return strings.TrimLeftFunc(s, trimmed(a)) })
	strMethod("rstrip", "chars=None", func(s string, a args) any { return strings.TrimRightFunc(s, trimmed(a)) })
	strMethod("replace", "old, new, count=-1", func(s string, a args) any {
		return strings.Replace(s, a.text(0, "replace's argument"), a.text(1, "replace's argument"), a.int(2))
	})
	strMethod("removeprefix", "prefix", func(s string, a args) any { return strings.TrimPrefix(s, a.text(0, "prefix")) })
	strMethod("removesuffix", "suffix", func(s string, a args) any { return strings.TrimSuffix(s, a.text(0, "suffix")) })
	strMethod("zfill", "width", func(s string, a args) any {
		sign := ""
		if strings.HasPrefix(s, "-") || strings.HasPrefix(s, "+") {
			sign, s = s[:1], s[1:]
		}
		return sign + (&spec{fill: '0', width: a.int(0) - len(sign)}).pad(s, '>')
	})
	strMethod("ljust", "width, fill=' '", justify('<'))
	strMethod("rjust", "width, fill=' '", justify('>'))
	strMethod("center", "width, fill=' '", func(s string, a args) any { return center(s, a.int(0), a.str(1)) })
	strMethod("join", "items", func(s string, a args) any {
		items := iterate(a.v[0])
		texts := make([]string, len(items))
		for i, item := range items {
			t, ok := norm(item).(string)
			if !ok {
				undefinedFails(item)
				fail("sequence item %d: expected str instance, %s found", i, typeName(item))
			}
			texts[i] = t
		}
		return strings.Join(texts, s)
	})
	strMethods["format"] = func(f *frame, recv any, c callValues) any { return strFormat(f, recv.(string), c) }
	strMethod("format_map", "mapping", func(s string, a args) any {
		var c callValues
		c.addNamed(a.v[0])
		return strFormat(a.f, s, c)
	})
	strMethod("encode", "encoding='utf-8', errors='strict'", func(s string, _ args) any { return s })
	strMethod("decode", "encoding='utf-8', errors='strict'", func(s string, _ args) any { return s })
	strMethod("expandtabs", "tabsize=8", func(s string, a args) any { return expandTabs(s, a.int(0)) })
}

func justify(align byte) func(s string, a args) any {
	return func(s string, a args) any {
		fill, _ := utf8.DecodeRuneInString(a.str(1))
		return (&spec{fill: fill, align: align, width: a.int(0)}).pad(s, align)
	}
}

// center puts the odd blank where Python does.
func center(s string, width int, fill string) string {
	n := width - utf8.RuneCountInString(s)
	if n <= 0 {
		return s
	}
	left := n/2 + n&width&1
	return strings.Repeat(fill, left) + s + strings.Repeat(fill, n-left)
}

func expandTabs(s string, size int) string {
	var b strings.Builder
	col := 0
	for _, r := range s {
		switch {
		case r == '\t' && size > 0:
			n := size - col%size
			b.WriteString(strings.Repeat(" ", n))
			col += n
		case r == '\t':
		case r == '\n' || r == '\r':
			b.WriteRune(r)
			col = 0
		default:
			b.WriteRune(r)
			col++
		}
	}
	return b.String()
}

func addCaseMethods() {
	strMethod("upper", "", func(s string, _ args) any { return upper(s) })
	strMethod("lower", "", func(s string, _ args) any { return strings.ToLower(s) })
	strMethod("casefold", "", func(s string, _ args) any { return strings.ToLower(s) })
	strMethod("capitalize", "", func(s string, _ args) any { return capitalize(s) })
	strMethod("title", "", func(s string, _ args) any { return pyTitle(s) })
	strMethod("swapcase", "", func(s string, _ args) any {
		return strings.Map(func(r rune) rune {
			if unicode.IsUpper(r) {
				return unicode.ToLower(r)
			}
			return unicode.ToUpper(r)
		}, s)
	})
}

// upper is text in capitals; unlike strings.ToUpper it makes SS of a sharp s.
func upper(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return strings.ToUpper(s)
	}
	return cases.Upper(language.Und).String(s)
}

func capitalize(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	return string(unicode.ToTitle(r)) + strings.ToLower(s[n:])
}

// pyTitle starts every run of letters with a capital.
func pyTitle(s string) string {
	inside := false
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) {
			inside = false
			return r
		}
		if inside {
			return unicode.ToLower(r)
		}
		inside = true
		return unicode.ToTitle(r)
	}, s)
}

func addIsMethods() {
	all := func(name string, ok func(rune) bool) {
		strMethod(name, "", func(s string, _ args) any {
			return s != "" && strings.IndexFunc(s, func(r rune) bool { return !ok(r) }) < 0
		})
	}
	all("isdigit", unicode.IsDigit)
	all("isdecimal", unicode.IsDigit)
	all("isnumeric", unicode.IsNumber)
	all("isalpha", unicode.IsLetter)
	all("isalnum", func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) })
	all("isspace", unicode.IsSpace)
	strMethod("isascii", "", func(s string, _ args) any {
		return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
	})
	strMethod("islower", "", func(s string, _ args) any { return hasCase(s) && s == strings.ToLower(s) })
	strMethod("isupper", "", func(s string, _ args) any { return hasCase(s) && s == strings.ToUpper(s) })
	strMethod("istitle", "", func(s string, _ args) any { return hasCase(s) && s == pyTitle(s) })
	strMethod("isidentifier", "", func(s string, _ args) any { return isIdentifier(s) })
}

func hasCase(s string) bool { return strings.IndexFunc(s, unicode.IsLetter) >= 0 }

func isIdentifier(s string) bool {
	for i, r := range s {
		if r != '_' && !unicode.IsLetter(r) && (i == 0 || !unicode.IsDigit(r)) {
			return false
		}
	}
	return s != ""
}

func addFindMethods() {
	strMethod("startswith", "prefix, start=None, end=None", func(s string, a args) any { return affixed(s, a, strings.HasPrefix) })
	strMethod("endswith", "suffix, start=None, end=None", func(s string, a args) any { return affixed(s, a, strings.HasSuffix) })
	strMethod("find", "sub, start=None, end=None", func(s string, a args) any { return find(s, a, strings.Index) })
	strMethod("rfind", "sub, start=None, end=None", func(s string, a args) any { return find(s, a, strings.LastIndex) })
	strMethod("index", "sub, start=None, end=None", func(s string, a args) any { return found(find(s, a, strings.Index)) })
	strMethod("rindex", "sub, start=None, end=None", func(s string, a args) any { return found(find(s, a, strings.LastIndex)) })
	strMethod("count", "sub, start=None, end=None", func(s string, a args) any {
		part, _ := window(s, a)
		return strings.Count(part, a.text(0, "count's argument"))
	})
}

// window is the part of s between the arguments start and end, and the offset of its first rune.
func window(s string, a args) (string, int) {
	if a.nil(1) && a.nil(2) {
		return s, 0
	}
	opt := func(i int) *int {
		if a.nil(i) {
			return nil
		}
		n := a.int(i)
		return &n
	}
	rs := []rune(s)
	lo, hi, _ := bounds(len(rs), opt(1), opt(2), nil)
	return string(rs[lo:max(lo, hi)]), lo
}

func find(s string, a args, in func(s, sub string) int) int {
	part, lo := window(s, a)
	i := in(part, a.text(0, "the text to find"))
	if i < 0 {
		return -1
	}
	return lo + utf8.RuneCountInString(part[:i])
}

func found(i int) int {
	if i < 0 {
		fail("substring not found")
	}
	return i
}

// affixed tests one affix or a tuple of them.
func affixed(s string, a args, has func(s, affix string) bool) bool {
	part, _ := window(s, a)
	if t, ok := a.v[0].(Tuple); ok {
		for _, x := range t {
			if has(part, pyStr(x)) {
				return true
			}
		}
		return false
	}
	return has(part, a.text(0, "startswith's first argument"))
}

func addSplitMethods() {
	strMethod("split", "sep=None, maxsplit=-1", func(s string, a args) any { return strings2any(pySplit(s, sepOf(a), a.int(1))) })
	strMethod("rsplit", "sep=None, maxsplit=-1", func(s string, a args) any { return strings2any(pyRsplit(s, sepOf(a), a.int(1))) })
	strMethod("splitlines", "keepends=false", func(s string, a args) any { return strings2any(splitLines(s, a.bool(0))) })
	strMethod("partition", "sep", func(s string, a args) any {
		if i := strings.Index(s, a.str(0)); i >= 0 {
			return Tuple{s[:i], a.str(0), s[i+len(a.str(0)):]}
		}
		return Tuple{s, "", ""}
	})
	strMethod("rpartition", "sep", func(s string, a args) any {
		if i := strings.LastIndex(s, a.str(0)); i >= 0 {
			return Tuple{s[:i], a.str(0), s[i+len(a.str(0)):]}
		}
		return Tuple{"", "", s}
	})
}

// sepOf is the separator of a split, or "" for white space.
func sepOf(a args) string {
	if a.nil(0) {
		return ""
	}
	sep := a.text(0, "the separator")
	if sep == "" {
		fail("empty separator")
	}
	return sep
}

func pySplit(s, sep string, limit int) []string {
	if sep != "" {
		if limit < 0 {
			return strings.Split(s, sep)
		}
		return strings.SplitN(s, sep, limit+1)
	}
	if limit < 0 {
		return strings.Fields(s)
	}
	var out []string
	for s = strings.TrimLeftFunc(s, unicode.IsSpace); s != ""; s = strings.TrimLeftFunc(s, unicode.IsSpace) {
		i := strings.IndexFunc(s, unicode.IsSpace)
		if len(out) == limit || i < 0 {
			if i >= 0 {
				s = strings.TrimRightFunc(s, unicode.IsSpace)
			}
			return append(out, s)
		}
		out, s = append(out, s[:i]), s[i:]
	}
	return out
}

func pyRsplit(s, sep string, limit int) []string {
	if limit < 0 {
		return pySplit(s, sep, limit)
	}
	var out []string
	cut := func(s string) (before, after string, ok bool) {
		if sep != "" {
			i := strings.LastIndex(s, sep)
			return s[:max(i, 0)], s[max(i+len(sep), 0):], i >= 0
		}
		s = strings.TrimRightFunc(s, unicode.IsSpace)
		i := strings.LastIndexFunc(s, unicode.IsSpace)
		return strings.TrimRightFunc(s[:max(i, 0)], unicode.IsSpace), s[i+1:], i >= 0
	}
	for range limit {
		before, after, ok := cut(s)
		if !ok {
			break
		}
		out, s = append([]string{after}, out...), before
	}
	if sep == "" {
		if s = strings.TrimSpace(s); s == "" {
			return out
		}
	}
	return append([]string{s}, out...)
}

// splitLines splits at every line end; one at the end of s starts no further line.
func splitLines(s string, keep bool) []string {
	var out []string
	for s != "" {
		i := strings.IndexAny(s, "\n\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029")
		if i < 0 {
			return append(out, s)
		}
		_, n := utf8.DecodeRuneInString(s[i:])
		if strings.HasPrefix(s[i:], "\r\n") {
			n = 2
		}
		line := s[:i]
		if keep {
			line = s[:i+n]
		}
		out, s = append(out, line), s[i+n:]
	}
	return out
}

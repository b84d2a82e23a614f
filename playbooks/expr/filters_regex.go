package expr

import (
	"strings"
)

func addRegexFilters(r *registry) {
	r.addFilter("regex_replace", "value='', pattern='', replacement='', ignorecase=false, multiline=false, count=0, mandatory_count=0", func(a args) any {
		re := compileRegex(a.str(1), a.bool(3), a.bool(4))
		out, n := replaceRegex(re, a.str(0), a.str(2), a.int(5))
		if want := a.int(6); want > 0 && n != want {
			fail("'%s' should match %d times, but matches %d times in '%s'", a.str(1), want, n, a.str(0))
		}
		return out
	})
	r.addFilter("regex_findall", "value, regex, multiline=false, ignorecase=false", func(a args) any {
		re := compileRegex(a.str(1), a.bool(3), a.bool(2))
		out := []any{}
		for _, m := range matches(re, []rune(a.str(0))) {
			switch groups := groupTexts(re, m); len(groups) {
			case 0:
				out = append(out, m.String())
			case 1:
				out = append(out, groups[0])
			default:
				out = append(out, Tuple(groups))
			}
		}
		return out
	})
	r.addFilter("regex_search", "value, regex, *groups, **options", regexSearch)
	r.addFilter("regex_escape", "string, re_type='python'", func(a args) any {
		switch a.str(1) {
		case "python":
			return escapeChars(a.str(0), "()[]{}?*+-|^$\\.&~# \t\n\r\v\f")
		case "posix_basic":
			return escapeChars(a.str(0), `[].*^$\`)
		}
		fail("Invalid regex type (%s)", a.str(1))
		return nil
	})
}

func escapeChars(s, special string) string {
	var b strings.Builder
	for _, r := range s {
		if strings.ContainsRune(special, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func regexSearch(a args) any {
	a.onlyOpts("filter 'regex_search'", "ignorecase", "multiline")
	re := compileRegex(a.str(1), truthy(a.opt("ignorecase", false)), truthy(a.opt("multiline", false)))
	for _, g := range a.rest {
		if s := pyStr(g); !strings.HasPrefix(s, `\g<`) && (len(s) < 2 || s[0] != '\\' || !isDigit(s[1])) {
			fail("Unknown argument")
		}
	}
	m := findFrom(re, []rune(a.str(0)), 0)
	if m == nil {
		return nil
	}
	if len(a.rest) == 0 {
		return m.String()
	}
	out := []any{}
	for _, g := range a.rest {
		name := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(pyStr(g), `\g<`), `\`), ">")
		out = append(out, groupNamed(re, m, name))
	}
	return out
}

package expr

import (
	"strconv"
	"strings"
	"sync"

	"github.com/dlclark/regexp2"
)

// regexes are compiled expressions by their text and flags.
var regexes sync.Map

type regexKey struct {
	pattern string
	flags   regexp2.RegexOptions
}

// compileRegex compiles an expression of Python's re module. regexp2 is used and not Go's own package because real
// playbooks look ahead and behind and refer back to groups.
func compileRegex(pattern string, ignoreCase, multiline bool) *regexp2.Regexp {
	var flags regexp2.RegexOptions
	if ignoreCase {
		flags |= regexp2.IgnoreCase
	}
	if multiline {
		flags |= regexp2.Multiline
	}
	key := regexKey{pattern, flags}
	if re, ok := regexes.Load(key); ok {
		return re.(*regexp2.Regexp)
	}
	re, err := regexp2.Compile(fromPython(pattern), flags)
	if err != nil {
		fail("cannot use the regular expression %s: %w", pyQuote(pattern), err)
	}
	regexes.Store(key, re)
	return re
}

// fromPython rewrites what Python spells differently: named groups, \Z and \A's kin.
func fromPython(p string) string {
	var b strings.Builder
	inClass := false
	for i := 0; i < len(p); i++ {
		switch {
		case p[i] == '\\' && i+1 < len(p):
			i++
			if p[i] == 'Z' && !inClass {
				b.WriteString(`\z`)
			} else {
				b.WriteString(p[i-1 : i+1])
			}
		case inClass:
			inClass = p[i] != ']' || p[i-1] == '[' || strings.HasSuffix(p[:i], "[^")
			if p[i] == '[' {
				b.WriteByte('\\')
			}
			b.WriteByte(p[i])
		case p[i] == '[':
			inClass = true
			b.WriteByte('[')
		case strings.HasPrefix(p[i:], "(?P<"):
			b.WriteString("(?<")
			i += 3
		case strings.HasPrefix(p[i:], "(?P="):
			end := strings.IndexByte(p[i:], ')')
			if end < 0 {
				fail("missing ), unterminated name in the regular expression %s", pyQuote(p))
			}
			b.WriteString(`\k<` + p[i+4:i+end] + ">")
			i += end
		default:
			b.WriteByte(p[i])
		}
	}
	return b.String()
}

// find is the next match from rune offset start on, or nil.
func findFrom(re *regexp2.Regexp, s []rune, start int) *regexp2.Match {
	m, err := re.FindRunesMatchStartingAt(s, start)
	if err != nil {
		fail("cannot match a regular expression: %w", err)
	}
	return m
}

// matches are all matches of re in s, found as Python does: an empty match may touch the end of the one before.
func matches(re *regexp2.Regexp, s []rune) []*regexp2.Match {
	var out []*regexp2.Match
	for at := 0; at <= len(s); {
		m := findFrom(re, s, at)
		if m == nil {
			break
		}
		out = append(out, m)
		at = m.Index + max(m.Length, 1)
	}
	return out
}

// replaceRegex is re.sub: \1, \g<1> and \g<name> in the replacement stand for groups.
func replaceRegex(re *regexp2.Regexp, text, repl string, limit int) (string, int) {
	s := []rune(text)
	var b strings.Builder
	at, n := 0, 0
	for _, m := range matches(re, s) {
		if limit > 0 && n == limit {
			break
		}
		b.WriteString(string(s[at:m.Index]))
		b.WriteString(expandGroups(re, m, repl))
		at = m.Index + m.Length
		n++
	}
	b.WriteString(string(s[at:]))
	return b.String(), n
}

func expandGroups(re *regexp2.Regexp, m *regexp2.Match, repl string) string {
	if strings.IndexByte(repl, '\\') < 0 {
		return repl
	}
	var b strings.Builder
	for i := 0; i < len(repl); i++ {
		if repl[i] != '\\' || i+1 == len(repl) {
			b.WriteByte(repl[i])
			continue
		}
		text, used := expandOne(re, m, repl[i+1:])
		b.WriteString(text)
		i += used
	}
	return b.String()
}

// expandOne expands what follows a backslash and tells how long that is.
func expandOne(re *regexp2.Regexp, m *regexp2.Match, s string) (string, int) {
	if strings.HasPrefix(s, "g<") {
		end := strings.IndexByte(s, '>')
		if end < 0 {
			fail("missing >, unterminated name in the replacement")
		}
		return groupNamed(re, m, s[2:end]), end + 1
	}
	if isDigit(s[0]) && s[0] != '0' {
		end := 1
		if len(s) > 1 && isDigit(s[1]) {
			end = 2
		}
		return groupNamed(re, m, s[:end]), end
	}
	if out, ok := simpleEscapes[s[0]]; ok && s[0] != '\n' && s[0] != '\'' && s[0] != '"' {
		return out, 1
	}
	if s[0] >= 'a' && s[0] <= 'z' || s[0] >= 'A' && s[0] <= 'Z' {
		fail(`bad escape \%c in the replacement of a regular expression`, s[0])
	}
	return `\` + s[:1], 1
}

func groupNamed(re *regexp2.Regexp, m *regexp2.Match, name string) string {
	var g *regexp2.Group
	if n, err := strconv.Atoi(name); err == nil {
		if n >= len(re.GetGroupNumbers()) {
			fail("invalid group reference %d", n)
		}
		g = m.GroupByNumber(pythonGroup(re, n))
	} else {
		g = m.GroupByName(name)
		if re.GroupNumberFromName(name) < 0 {
			fail("unknown group name %s", pyQuote(name))
		}
	}
	if g == nil || len(g.Captures) == 0 {
		return ""
	}
	return g.String()
}

// pythonGroup is the number under which regexp2 keeps Python's group n: regexp2 counts named groups after the others.
func pythonGroup(re *regexp2.Regexp, n int) int {
	order, ok := groupOrders.Load(re)
	if !ok {
		order = groupOrder(re)
		groupOrders.Store(re, order)
	}
	if nums := order.([]int); n < len(nums) {
		return nums[n]
	}
	return n
}

var groupOrders sync.Map

// groupOrder lists regexp2's group numbers in the order in which the groups open.
func groupOrder(re *regexp2.Regexp) []int {
	p := re.String()
	order := []int{0}
	unnamed := 1
	inClass := false
	for i := 0; i < len(p); i++ {
		switch {
		case p[i] == '\\':
			i++
		case inClass:
			inClass = p[i] != ']'
		case p[i] == '[':
			inClass = true
		case strings.HasPrefix(p[i:], "(?<") && i+3 < len(p) && p[i+3] != '=' && p[i+3] != '!':
			if end := strings.IndexByte(p[i:], '>'); end > 0 {
				order = append(order, re.GroupNumberFromName(p[i+3:i+end]))
			}
		case p[i] == '(' && (i+1 >= len(p) || p[i+1] != '?'):
			order = append(order, unnamed)
			unnamed++
		}
	}
	return order
}

// groups are the texts of a match's groups, in Python's order.
func groupTexts(re *regexp2.Regexp, m *regexp2.Match) []any {
	out := []any{}
	for n := 1; n < len(re.GetGroupNumbers()); n++ {
		g := m.GroupByNumber(pythonGroup(re, n))
		if g == nil || len(g.Captures) == 0 {
			out = append(out, "")
			continue
		}
		out = append(out, g.String())
	}
	return out
}

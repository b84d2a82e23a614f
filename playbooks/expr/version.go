package expr

import (
	"cmp"
	"regexp"
	"strconv"
	"strings"
)

var versionOps = map[string]string{
	"==": "==", "=": "==", "eq": "==", "<": "<", "lt": "<", "<=": "<=", "le": "<=", ">": ">", "gt": ">", ">=": ">=", "ge": ">=", "!=": "!=", "<>": "!=", "ne": "!=",
}

func versionTest(a args) bool {
	if a.str(0) == "" {
		fail("Input version value cannot be empty")
	}
	if a.str(1) == "" {
		fail("Version parameter to compare against cannot be empty")
	}
	op, ok := versionOps[a.str(2)]
	if !ok {
		fail("Invalid operator type (%s). Must be one of '==', '=', 'eq', '<', 'lt', '<=', 'le', '>', 'gt', '>=', 'ge', '!=', '<>', 'ne'", a.str(2))
	}
	if !a.nil(3) && !a.nil(4) {
		fail("Cannot specify both 'strict' and 'version_type'")
	}
	kind := "loose"
	switch {
	case !a.nil(4):
		kind = a.str(4)
	case a.bool(3):
		kind = "strict"
	}
	c := compareVersions(kind, a.str(0), a.str(1))
	return compareOp(op, c, 0)
}

func compareVersions(kind, a, b string) int {
	switch kind {
	case "loose":
		return compareLoose(looseParts(a), looseParts(b))
	case "strict":
		return compareStrict(strictVersion(a), strictVersion(b))
	case "semver", "semantic":
		return compareSemver(semVersion(a), semVersion(b))
	case "pep440":
		return comparePep440(a, b)
	}
	fail("Invalid version type (%s). Must be one of 'loose', 'strict', 'semver', 'semantic', 'pep440'", kind)
	return 0
}

var looseRE = regexp.MustCompile(`\d+|[a-z]+|\.`)

// looseParts are the numbers and words of a version; whatever stands between them counts as a word of its own.
func looseParts(s string) []any {
	var out []any
	at := 0
	add := func(text string) {
		if text == "" || text == "." {
			return
		}
		if n, err := strconv.Atoi(text); err == nil && isDigit(text[0]) {
			out = append(out, n)
			return
		}
		out = append(out, text)
	}
	for _, m := range looseRE.FindAllStringIndex(s, -1) {
		add(s[at:m[0]])
		add(s[m[0]:m[1]])
		at = m[1]
	}
	add(s[at:])
	return out
}

func compareLoose(a, b []any) int {
	for i := range min(len(a), len(b)) {
		if _, isText := a[i].(string); typeName(a[i]) != typeName(b[i]) {
			x, y := "int", "str"
			if isText {
				x, y = y, x
			}
			fail("Version comparison failed: '<' not supported between instances of '%s' and '%s'", x, y)
		}
		if c := compare(a[i], b[i], "<"); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

type strictParts struct {
	nums [3]int
	pre  string // "a" or "b", or "" for a release
	n    int
}

var strictRE = regexp.MustCompile(`^(\d+)\.(\d+)(?:\.(\d+))?(?:([ab])(\d+))?$`)

func strictVersion(s string) strictParts {
	m := strictRE.FindStringSubmatch(s)
	if m == nil {
		fail("Version comparison failed: invalid version number '%s'", s)
	}
	var p strictParts
	for i := range p.nums {
		p.nums[i], _ = strconv.Atoi(m[i+1]) // digits, or nothing for a missing third
	}
	p.pre = m[4]
	p.n, _ = strconv.Atoi(m[5])
	return p
}

func compareStrict(a, b strictParts) int {
	for i := range a.nums {
		if c := cmp.Compare(a.nums[i], b.nums[i]); c != 0 {
			return c
		}
	}
	if (a.pre == "") != (b.pre == "") {
		return map[bool]int{true: 1, false: -1}[a.pre == ""]
	}
	return cmp.Or(cmp.Compare(a.pre, b.pre), cmp.Compare(a.n, b.n))
}

type semParts struct {
	nums [3]int
	pre  []string
}

var semRE = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?$`)

func semVersion(s string) semParts {
	m := semRE.FindStringSubmatch(s)
	if m == nil {
		fail("Version comparison failed: invalid semantic version '%s'", s)
	}
	var p semParts
	for i := range p.nums {
		p.nums[i], _ = strconv.Atoi(m[i+1]) // the expression lets only digits through
	}
	if m[4] != "" {
		p.pre = strings.Split(m[4], ".")
	}
	return p
}

func compareSemver(a, b semParts) int {
	for i := range a.nums {
		if c := cmp.Compare(a.nums[i], b.nums[i]); c != 0 {
			return c
		}
	}
	if (len(a.pre) == 0) != (len(b.pre) == 0) {
		return map[bool]int{true: 1, false: -1}[len(a.pre) == 0]
	}
	for i := range min(len(a.pre), len(b.pre)) {
		if c := comparePre(a.pre[i], b.pre[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a.pre), len(b.pre))
}

// comparePre orders two parts of a pre-release: numbers before words.
func comparePre(a, b string) int {
	x, errX := strconv.Atoi(a)
	y, errY := strconv.Atoi(b)
	switch {
	case errX == nil && errY == nil:
		return cmp.Compare(x, y)
	case errX == nil:
		return -1
	case errY == nil:
		return 1
	}
	return cmp.Compare(a, b)
}

var pepRE = regexp.MustCompile(`^v?(?:(\d+)!)?(\d+(?:\.\d+)*)[-_.]?(?:(a|b|c|rc|alpha|beta|pre|preview)[-_.]?(\d*))?(?:(?:-(\d+))|[-_.]?(post|rev|r)[-_.]?(\d*))?(?:[-_.]?(dev)[-_.]?(\d*))?(?:\+[a-z0-9._-]+)?$`)

// comparePep440 orders versions of Python packages: dev < a < b < rc < release < post.
func comparePep440(a, b string) int {
	x, y := pepKey(a), pepKey(b)
	for i := range max(len(x), len(y)) {
		if c := cmp.Compare(at0(x, i), at0(y, i)); c != 0 {
			return c
		}
	}
	return 0
}

func at0(s []int, i int) int {
	if i < len(s) {
		return s[i]
	}
	return 0
}

// pepKey is epoch, release in a fixed number of parts, then pre, post and dev as ranks.
func pepKey(s string) []int {
	m := pepRE.FindStringSubmatch(strings.ToLower(strings.TrimSpace(s)))
	if m == nil {
		fail("Version comparison failed: Invalid version: '%s'", s)
	}
	num := func(i int) int { n, _ := strconv.Atoi(m[i]); return n } // digits or nothing
	key := make([]int, 12)
	key[0] = num(1)
	for i, part := range strings.Split(m[2], ".") {
		if i < 6 {
			key[1+i], _ = strconv.Atoi(part)
		}
	}
	rank := map[string]int{"a": 1, "alpha": 1, "b": 2, "beta": 2, "c": 3, "rc": 3, "pre": 3, "preview": 3, "": 4}[m[3]]
	if m[8] != "" && m[3] == "" && m[5] == "" && m[6] == "" {
		rank = 0
	}
	key[7], key[8] = rank, num(4)
	if m[5] != "" || m[6] != "" {
		key[9] = 1 + num(5) + num(7)
	}
	key[10] = 1
	if m[8] != "" {
		key[10], key[11] = 0, num(9)
	}
	return key
}

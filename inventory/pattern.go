package inventory

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/calroll/calroll/playbooks/source"
)

// UnknownNames is the error of a pattern that names hosts or groups that are not in the inventory. ansible-playbook
// warns of them and goes on with the rest.
type UnknownNames struct {
	Names   []string
	Nearest []string // beside each name, the nearest known one or ""
}

func (u *UnknownNames) Error() string {
	var b strings.Builder
	for i, name := range u.Names {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "cannot find %q: the inventory has no host or group of this name", name)
		if u.Nearest[i] != "" {
			fmt.Fprintf(&b, " (did you mean %q?)", u.Nearest[i])
		}
	}
	return b.String()
}

// Match gives the hosts that pattern picks, in inventory order, and of those only the ones that every limit picks too.
//
// A pattern is made of parts with ":" or "," between them: "web" a host or a group, "*.lan" a glob, "~web[0-9]+" a
// regular expression that the name begins with, "web[0]", "web[-1]", "web[1:3]" and "web[1:]" some of a group's hosts;
// "&prod" keeps only what is in prod too and "!web3" drops, both after everything else. A limit is a pattern, or
// "@file" with one part a line.
//
// An *UnknownNames error comes with the hosts that the rest of the pattern picks, for a caller who lets it pass.
func (inv *Inventory) Match(pattern string, limits ...string) ([]*Host, error) {
	m := matcher{inv: inv}
	hosts, err := m.evaluate(splitPattern(pattern))
	if err != nil {
		return nil, err
	}
	for _, limit := range limits {
		parts, err := limitParts(limit)
		if err != nil {
			return nil, err
		}
		within, err := m.evaluate(parts)
		if err != nil {
			return nil, err
		}
		hosts = combine(hosts, within, '&')
	}
	return hosts, m.unknown()
}

// Orders are the values of a play's order keyword.
var Orders = []string{"inventory", "sorted", "reverse_sorted", "reverse_inventory", "shuffle"}

// Order puts hosts, which it does not alter, into the order that a play asks for; "" is inventory.
func Order(hosts []*Host, order string) ([]*Host, error) {
	hosts = slices.Clone(hosts)
	byName := func(a, b *Host) int { return cmp.Compare(a.Name, b.Name) }
	switch order {
	case "", "inventory":
	case "sorted":
		slices.SortStableFunc(hosts, byName)
	case "reverse_sorted":
		slices.SortStableFunc(hosts, func(a, b *Host) int { return byName(b, a) })
	case "reverse_inventory":
		slices.Reverse(hosts)
	case "shuffle":
		rand.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	default:
		return nil, fmt.Errorf("cannot order hosts by %q: the orders are %s", order, strings.Join(Orders, ", "))
	}
	return hosts, nil
}

var colonPart = regexp.MustCompile(`(?:[^\s:\[\]]|\[[^\]]*\])+`)

// splitPattern splits at commas, or, when there are none, at colons that belong neither to an IPv6 address nor to brackets.
func splitPattern(pattern string) []string {
	var parts []string
	switch {
	case strings.Contains(pattern, ","):
		parts = strings.Split(pattern, ",")
	case isIP6(unbracket(pattern)):
		parts = []string{unbracket(pattern)}
	default:
		parts = colonPart.FindAllString(pattern, -1)
	}
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return slices.DeleteFunc(parts, func(p string) bool { return p == "" })
}

// limitParts are the parts of a --limit, each @file replaced by the lines of the file.
func limitParts(limit string) ([]string, error) {
	var out []string
	for _, part := range splitPattern(limit) {
		path, isFile := strings.CutPrefix(part, "@")
		if !isFile {
			out = append(out, part)
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("cannot read the limit %s: %w", part, err)
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" {
				out = append(out, line)
			}
		}
	}
	return out, nil
}

type matcher struct {
	inv     *Inventory
	missing []string
}

func (m *matcher) unknown() error {
	if len(m.missing) == 0 {
		return nil
	}
	u := &UnknownNames{}
	var known []string
	for _, g := range m.inv.groups {
		known = append(known, g.Name)
	}
	for _, h := range m.inv.hosts {
		known = append(known, h.Name)
	}
	for _, name := range m.missing {
		if !slices.Contains(u.Names, name) {
			u.Names = append(u.Names, name)
			u.Nearest = append(u.Nearest, source.Nearest(name, known))
		}
	}
	return u
}

// evaluate adds what the plain parts pick, then intersects, then excludes; parts that only do the latter two begin with all.
func (m *matcher) evaluate(parts []string) ([]*Host, error) {
	var add, keep, drop []string
	for _, p := range parts {
		switch p[0] {
		case '&':
			keep = append(keep, p)
		case '!':
			drop = append(drop, p)
		default:
			add = append(add, p)
		}
	}
	if len(add) == 0 {
		add = []string{"all"}
	}
	hosts := []*Host{}
	for _, p := range slices.Concat(add, keep, drop) {
		picked, err := m.part(strings.TrimLeft(p, "&!"), p[0] != '&' && p[0] != '!')
		if err != nil {
			return nil, err
		}
		hosts = combine(hosts, picked, p[0])
	}
	return hosts, nil
}

func combine(hosts, picked []*Host, sign byte) []*Host {
	in := map[*Host]bool{}
	switch sign {
	case '&', '!':
		for _, h := range picked {
			in[h] = true
		}
		return slices.DeleteFunc(hosts, func(h *Host) bool { return in[h] == (sign == '!') })
	}
	for _, h := range hosts {
		in[h] = true
	}
	for _, h := range picked {
		if !in[h] {
			in[h] = true
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// part gives the hosts of one part without its sign. Of a host and a group of the same name an adding part means the
// host, the others the group.
func (m *matcher) part(p string, adds bool) ([]*Host, error) {
	if p == "" {
		return nil, errors.New("cannot use an empty host pattern")
	}
	if h := m.inv.hostNamed[p]; h != nil && adds {
		return []*Host{h}, nil
	}
	name, pick, err := subscript(p)
	if err != nil {
		return nil, err
	}
	hosts, err := m.named(name)
	if err != nil || pick == nil || len(hosts) == 0 {
		return hosts, err
	}
	picked, ok := pick(hosts)
	if !ok {
		return nil, fmt.Errorf("cannot find the host that %q asks for: %q has %d", p, name, len(hosts))
	}
	return picked, nil
}

var subscriptText = regexp.MustCompile(`^(.+)\[(?:(-?[0-9]+)|([0-9]+):([0-9]*))\]$`)

// subscript takes [2], [-1], [1:3] or [1:] off a pattern; pick gives the hosts it means. Both ends of a range count in.
func subscript(p string) (name string, pick func([]*Host) ([]*Host, bool), err error) {
	if p[0] == '~' {
		return p, nil, nil
	}
	s := subscriptText.FindStringSubmatch(p)
	if s == nil {
		return p, nil, nil
	}
	nums := [5]int{}
	for i := 2; i < 5; i++ {
		if s[i] != "" {
			if nums[i], err = strconv.Atoi(s[i]); err != nil {
				return "", nil, fmt.Errorf("cannot use the host pattern %q: %w", p, err)
			}
		}
	}
	if s[2] != "" {
		return s[1], func(h []*Host) ([]*Host, bool) { return at(h, nums[2]) }, nil
	}
	first, last := nums[3], nums[4]
	return s[1], func(h []*Host) ([]*Host, bool) {
		if s[4] == "" {
			last = len(h) - 1
		}
		last = min(last, len(h)-1)
		if first > last {
			return nil, true
		}
		return h[first : last+1], true
	}, nil
}

func at(hosts []*Host, i int) ([]*Host, bool) {
	if i < 0 {
		i += len(hosts)
	}
	if i < 0 || i >= len(hosts) {
		return nil, false
	}
	return hosts[i : i+1], true
}

// named gives the hosts of every group that a name, glob or regular expression means; hosts of that name too when no
// group has it or it is not a plain name.
func (m *matcher) named(name string) ([]*Host, error) {
	matches, plain, err := nameMatcher(name)
	if err != nil {
		return nil, err
	}
	var hosts []*Host
	isGroup := false
	for _, g := range m.inv.groups {
		if matches(g.Name) {
			isGroup = true
			hosts = combine(hosts, m.inv.Members(g), '+')
		}
	}
	if !isGroup || name[0] == '~' || strings.ContainsAny(name, ".?*[") {
		for _, h := range m.inv.hosts {
			if matches(h.Name) {
				hosts = combine(hosts, []*Host{h}, '+')
			}
		}
	}
	if len(hosts) == 0 && !isGroup && isLocalhost(name) {
		return []*Host{m.inv.Host(name)}, nil
	}
	if len(hosts) == 0 && !isGroup && plain {
		m.missing = append(m.missing, name)
	}
	return hosts, nil
}

// nameMatcher tells which names a pattern means; plain is false for globs and regular expressions.
func nameMatcher(p string) (matches func(string) bool, plain bool, err error) {
	expr, isRegexp := strings.CutPrefix(p, "~")
	if !isRegexp {
		if !strings.ContainsAny(p, "*?[") {
			return func(name string) bool { return name == p }, true, nil
		}
		expr = globExpr(p) + `\z`
	}
	re, err := regexp.Compile(`^(?:` + expr + `)`)
	if err != nil {
		return nil, false, fmt.Errorf("cannot use the host pattern %q: %w", p, err)
	}
	return re.MatchString, false, nil
}

// globExpr is a shell glob (*, ?, [abc], [!abc]) as a regular expression.
func globExpr(glob string) string {
	var b strings.Builder
	for i := 0; i < len(glob); i++ {
		switch c := glob[i]; c {
		case '*':
			b.WriteString(`(?s:.*)`)
		case '?':
			b.WriteString(`(?s:.)`)
		case '[':
			set, size := globSet(glob[i:])
			b.WriteString(set)
			i += size - 1
		default:
			if c < 0x80 {
				b.WriteString(regexp.QuoteMeta(string(rune(c))))
			} else {
				b.WriteByte(c)
			}
		}
	}
	return b.String()
}

// globSet is the [set] that s begins with as a regular expression, and its length; a [ that is never closed is itself.
func globSet(s string) (string, int) {
	from := 1
	if strings.HasPrefix(s[from:], "!") {
		from++
	}
	end := strings.IndexByte(s[min(from+1, len(s)):], ']')
	if end < 0 {
		return `\[`, 1
	}
	end += from + 1
	set := strings.NewReplacer(`\`, `\\`, `[`, `\[`, `]`, `\]`, `^`, `\^`, `&`, `\&`).Replace(s[from:end])
	if from == 2 {
		return "[^" + set + "]", end + 1
	}
	return "[" + set + "]", end + 1
}

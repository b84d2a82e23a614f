package tasks

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Mode is what a task asks of permission bits: octal ("0644"), symbolic ("u+rwX,g-w") or "preserve". The zero Mode asks for nothing.
type Mode struct {
	text  string
	bits  uint32 // when octal
	octal bool
}

// Octal is a Mode of exactly these twelve bits.
func Octal(bits uint32) Mode {
	return Mode{text: fmt.Sprintf("0%o", bits), bits: bits & 0o7777, octal: true}
}

// ParseMode reads an octal or symbolic mode, or "preserve".
func ParseMode(text string) (Mode, error) {
	text = strings.TrimSpace(text)
	if text == "" || text == "preserve" {
		return Mode{text: text}, nil
	}
	if n, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32); err == nil {
		return Mode{text: text, bits: uint32(n) & 0o7777, octal: true}, nil
	}
	m := Mode{text: text}
	if _, err := m.symbolic(0, false, 0o022); err != nil {
		return Mode{}, fmt.Errorf("must be an octal or symbolic mode, not %q: %w", text, err)
	}
	return m, nil
}

// modeOf reads a Mode argument. A number is the bits themselves, as YAML's 0644 is read (octal, so 420).
func modeOf(val any) (Mode, error) {
	switch v := val.(type) {
	case string:
		return ParseMode(v)
	case int:
		return Octal(uint32(v)), nil
	case int64:
		return Octal(uint32(v)), nil
	case float64:
		if v == math.Trunc(v) {
			return Octal(uint32(v)), nil
		}
	case json.Number:
		n, err := v.Int64()
		return Octal(uint32(n)), err
	}
	return Mode{}, fmt.Errorf("must be an octal or symbolic mode, not %s", described(val))
}

// IsZero tells whether nothing is asked.
func (m Mode) IsZero() bool { return m.text == "" }

// Preserve tells whether the mode of the source is asked for.
func (m Mode) Preserve() bool { return m.text == "preserve" }

// String is the mode as it was written.
func (m Mode) String() string { return m.text }

// Apply is what the bits become from old; dir matters for X, umask for clauses that name nobody ("+x").
func (m Mode) Apply(old uint32, dir bool, umask uint32) uint32 {
	switch {
	case m.text == "" || m.Preserve():
		return old
	case m.octal:
		return m.bits
	}
	bits, err := m.symbolic(old, dir, umask)
	if err != nil {
		return old // ParseMode has refused it already
	}
	return bits
}

func (m Mode) symbolic(bits uint32, dir bool, umask uint32) (uint32, error) {
	for clause := range strings.SplitSeq(m.text, ",") {
		at := strings.IndexAny(clause, "+-=")
		if at < 0 {
			return 0, fmt.Errorf("%q has none of + - =", clause)
		}
		who, rest := clause[:at], clause[at:]
		if strings.Trim(who, "ugoa") != "" {
			return 0, fmt.Errorf("%q names somebody other than u, g, o, a", clause)
		}
		mask := uint32(0)
		if who == "" {
			who, mask = "ugo", umask
		}
		for rest != "" {
			op := rest[0]
			end := strings.IndexAny(rest[1:], "+-=") + 1
			if end == 0 {
				end = len(rest)
			}
			var err error
			if bits, err = applyPerms(bits, strings.ReplaceAll(who, "a", "ugo"), op, rest[1:end], dir, mask); err != nil {
				return 0, err
			}
			rest = rest[end:]
		}
	}
	return bits, nil
}

func applyPerms(bits uint32, who string, op byte, perms string, dir bool, mask uint32) (uint32, error) {
	for _, w := range who {
		set, err := permBits(bits, w, perms, dir)
		if err != nil {
			return 0, err
		}
		set &^= mask
		switch op {
		case '+':
			bits |= set
		case '-':
			bits &^= set
		case '=':
			keep := map[rune]uint32{'u': 0o4700, 'g': 0o2070, 'o': 0o1007}[w]
			bits = bits&^keep | set
		}
	}
	return bits, nil
}

func permBits(bits uint32, who rune, perms string, dir bool) (set uint32, err error) {
	shift := map[rune]uint{'u': 6, 'g': 3, 'o': 0}[who]
	for _, p := range perms {
		switch p {
		case 'r':
			set |= 4 << shift
		case 'w':
			set |= 2 << shift
		case 'x':
			set |= 1 << shift
		case 'X':
			if dir || bits&0o111 != 0 {
				set |= 1 << shift
			}
		case 's':
			set |= map[rune]uint32{'u': 0o4000, 'g': 0o2000}[who]
		case 't':
			if who == 'o' || who == 'u' {
				set |= 0o1000
			}
		case 'u', 'g', 'o':
			from := map[rune]uint{'u': 6, 'g': 3, 'o': 0}[p]
			set |= (bits >> from & 7) << shift
		default:
			return 0, fmt.Errorf("%q is not a permission", p)
		}
	}
	return set, nil
}

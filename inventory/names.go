package inventory

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

const maxRange = 65536 // hosts that one range may stand for; more is a typing mistake

// expandHosts gives the host names that an entry such as "web[01:20:2].lan:2222" stands for, and the port, 0 if none.
func expandHosts(entry string) (names []string, port int, err error) {
	name, port := splitPort(entry)
	if strings.HasSuffix(name, ":") || strings.Contains(name, ": ") {
		return nil, 0, fmt.Errorf("cannot use %q as a host: a name does not end in a colon, which comes before a port", entry)
	}
	names, err = expandRanges(name)
	return names, port, err
}

// splitPort takes a port off a host: "h:22", "[::1]:22"; an IPv6 address without brackets has none.
func splitPort(entry string) (name string, port int) {
	at := strings.LastIndexByte(entry, ':')
	if at < 0 {
		return entry, 0
	}
	n, err := strconv.Atoi(entry[at+1:])
	host := entry[:at]
	switch {
	case err != nil || n < 0 || strings.Contains(entry[at:], "]"):
		return unbracket(entry), 0
	case isIP6(unbracket(host)) && host != unbracket(host):
		return unbracket(host), n
	case strings.Contains(withoutBrackets(host), ":"):
		return entry, 0
	}
	return host, n
}

func isIP6(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is6()
}

// unbracket takes the brackets off an IPv6 address.
func unbracket(s string) string {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if inner, ok = strings.CutSuffix(inner, "]"); ok && isIP6(inner) {
			return inner
		}
	}
	return s
}

// withoutBrackets is s without its [...] parts.
func withoutBrackets(s string) string {
	var b strings.Builder
	depth := 0
	for _, r := range s {
		switch {
		case r == '[':
			depth++
		case r == ']':
			depth--
		case depth == 0:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// expandRanges expands every [first:last] and [first:last:step] in name, the leftmost slowest. Letters run a-z, then
// A-Z; a leading zero pads every number to that length.
func expandRanges(name string) ([]string, error) {
	open := strings.IndexByte(name, '[')
	end := strings.IndexByte(name, ']')
	if open < 0 || end < open || !strings.Contains(name[open:end], ":") {
		return []string{name}, nil
	}
	items, err := rangeItems(name[open+1 : end])
	if err != nil {
		return nil, fmt.Errorf("cannot expand %q: %w", name, err)
	}
	tails, err := expandRanges(name[end+1:])
	if err != nil {
		return nil, err
	}
	if len(items)*len(tails) > maxRange {
		return nil, fmt.Errorf("cannot expand %q: it stands for more than %d hosts", name, maxRange)
	}
	var out []string
	for _, item := range items {
		for _, tail := range tails {
			out = append(out, name[:open]+item+tail)
		}
	}
	return out, nil
}

func rangeItems(text string) ([]string, error) {
	bounds := strings.Split(text, ":")
	if len(bounds) > 3 {
		return nil, fmt.Errorf("a range is [first:last] or [first:last:step]")
	}
	first, last, step := bounds[0], bounds[1], 1
	if first == "" {
		first = "0"
	}
	if last == "" {
		return nil, fmt.Errorf("the range [%s] does not say where it ends", text)
	}
	if len(bounds) == 3 {
		n, err := strconv.Atoi(bounds[2])
		if err != nil || n < 1 {
			return nil, fmt.Errorf("the step %q of the range is not a whole number above zero", bounds[2])
		}
		step = n
	}
	if i, j := letterIndex(first), letterIndex(last); i >= 0 && j >= 0 {
		return letterRange(i, j, step, text)
	}
	return numberRange(first, last, step, text)
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func letterIndex(s string) int {
	if len(s) != 1 {
		return -1
	}
	return strings.IndexByte(letters, s[0])
}

func letterRange(i, j, step int, text string) ([]string, error) {
	if i > j {
		return nil, fmt.Errorf("the range [%s] ends before it begins", text)
	}
	var out []string
	for ; i <= j; i += step {
		out = append(out, letters[i:i+1])
	}
	return out, nil
}

func numberRange(first, last string, step int, text string) ([]string, error) {
	i, err := strconv.ParseUint(first, 10, 31)
	j, err2 := strconv.ParseUint(last, 10, 31)
	switch {
	case err != nil || err2 != nil:
		return nil, fmt.Errorf("the bounds of the range [%s] are neither two numbers nor two letters", text)
	case i > j:
		return nil, fmt.Errorf("the range [%s] ends before it begins", text)
	case (j-i)/uint64(step) >= maxRange:
		return nil, fmt.Errorf("the range [%s] stands for more than %d hosts", text, maxRange)
	}
	width := 0
	if first[0] == '0' && len(first) > 1 {
		width = len(first)
		if len(last) != width {
			return nil, fmt.Errorf("the bounds of the padded range [%s] differ in length", text)
		}
	}
	var out []string
	for ; i <= j; i += uint64(step) {
		out = append(out, fmt.Sprintf("%0*d", width, i))
	}
	return out, nil
}

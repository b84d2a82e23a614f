package value

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// The implicit types of YAML 1.1 as PyYAML resolves them (its resolver's expressions, carried over in meaning): the
// first that matches a plain scalar gives its type; everything else is a string. 0o17 and 1e5 are strings there.
var (
	floatText = regexp.MustCompile(`^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?` +
		`|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?` +
		`|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*` +
		`|[-+]?\.(?:inf|Inf|INF)` +
		`|\.(?:nan|NaN|NAN))$`)
	intText = regexp.MustCompile(`^(?:[-+]?0b[0-1_]+` +
		`|[-+]?0[0-7_]+` +
		`|[-+]?(?:0|[1-9][0-9_]*)` +
		`|[-+]?0x[0-9a-fA-F_]+` +
		`|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+)$`)
	timeText = regexp.MustCompile(`^(?:[0-9]{4}-[0-9]{2}-[0-9]{2}` +
		`|[0-9]{4}-[0-9][0-9]?-[0-9][0-9]?(?:[Tt]|[ \t]+)[0-9][0-9]?:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?` +
		`(?:[ \t]*(?:Z|[-+][0-9][0-9]?(?::[0-9]{2})?))?)$`)
	timeParts = regexp.MustCompile(`^([0-9]{4})-([0-9][0-9]?)-([0-9][0-9]?)` +
		`(?:(?:[Tt]|[ \t]+)([0-9][0-9]?):([0-9]{2}):([0-9]{2})(?:\.([0-9]*))?` +
		`(?:[ \t]*(?:(Z)|([-+])([0-9][0-9]?)(?::([0-9]{2}))?))?)?$`)
)

// plainTag is the type that PyYAML gives an untagged plain scalar.
func plainTag(text string) string {
	switch text {
	case "", "~", "null", "Null", "NULL":
		return "!!null"
	case "yes", "Yes", "YES", "no", "No", "NO", "true", "True", "TRUE", "false", "False", "FALSE", "on", "On", "ON", "off", "Off", "OFF":
		return "!!bool"
	case "=":
		return "!!value"
	case "<<":
		return "!!merge"
	}
	// Every other type begins with one of these; most scalars are words, and expressions take their time.
	if !strings.ContainsRune("+-.0123456789", rune(text[0])) {
		return "!!str"
	}
	switch {
	case intText.MatchString(text):
		return "!!int"
	case floatText.MatchString(text):
		return "!!float"
	case timeText.MatchString(text):
		return "!!timestamp"
	}
	return "!!str"
}

// scalar is the value of text read as tag.
func scalar(tag, text string) (any, error) {
	switch tag {
	case "!!str":
		return text, nil
	case "!!null":
		return nil, nil
	case "!!bool":
		return boolOf(text)
	case "!!int":
		return intOf(text)
	case "!!float":
		return floatOf(text)
	case "!!timestamp":
		return timeOf(text)
	case "!!binary":
		raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
		if err != nil {
			return nil, fmt.Errorf("it is not base64: %w", err)
		}
		return string(raw), nil
	case "!!value", "!!merge":
		return nil, fmt.Errorf("a lone %s has a meaning of its own in YAML: quote it", text)
	}
	return nil, fmt.Errorf("nothing is known about the tag %s", tag)
}

func boolOf(text string) (any, error) {
	switch strings.ToLower(text) {
	case "yes", "true", "on":
		return true, nil
	case "no", "false", "off":
		return false, nil
	}
	return nil, fmt.Errorf("%q is not a boolean", text)
}

// intOf reads an integer: int where it fits, else json.Number with its decimal digits.
func intOf(text string) (any, error) {
	digits := strings.ReplaceAll(text, "_", "")
	sign := ""
	if digits != "" && strings.Contains("+-", digits[:1]) {
		sign, digits = strings.TrimPrefix(digits[:1], "+"), digits[1:]
	}
	base := 10
	switch {
	case strings.HasPrefix(digits, "0b"):
		base, digits = 2, digits[2:]
	case strings.HasPrefix(digits, "0x"):
		base, digits = 16, digits[2:]
	case len(digits) > 1 && digits[0] == '0':
		base, digits = 8, digits[1:]
	case strings.Contains(digits, ":"):
		return sexagesimal(sign, digits)
	}
	n, ok := new(big.Int).SetString(sign+digits, base)
	if !ok {
		return nil, fmt.Errorf("%q is not a whole number", text)
	}
	return intOrNumber(n), nil
}

func intOrNumber(n *big.Int) any {
	if n.IsInt64() {
		return int(n.Int64())
	}
	return json.Number(n.String())
}

// sexagesimal reads YAML 1.1's base 60, so that 1:30 is 90 (and a port mapping such as 22:22 is 1342, as under Ansible).
func sexagesimal(sign, digits string) (any, error) {
	total := new(big.Int)
	for part := range strings.SplitSeq(digits, ":") {
		n, ok := new(big.Int).SetString(part, 10)
		if !ok {
			return nil, fmt.Errorf("%q is not a number in base 60", digits)
		}
		total.Add(total.Mul(total, big.NewInt(60)), n)
	}
	if sign == "-" {
		total.Neg(total)
	}
	return intOrNumber(total), nil
}

func floatOf(text string) (any, error) {
	s := strings.ToLower(strings.ReplaceAll(text, "_", ""))
	sign := 1.0
	if s != "" && strings.Contains("+-", s[:1]) {
		if s[0] == '-' {
			sign = -1
		}
		s = s[1:]
	}
	switch {
	case s == ".inf":
		return math.Inf(int(sign)), nil
	case s == ".nan":
		return math.NaN(), nil
	case strings.Contains(s, ":"):
		return sexagesimalFloat(sign, s)
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) {
		return nil, fmt.Errorf("%q is not a number", text)
	}
	return sign * f, nil
}

func sexagesimalFloat(sign float64, digits string) (any, error) {
	total := 0.0
	for part := range strings.SplitSeq(digits, ":") {
		f, err := strconv.ParseFloat(part, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is not a number in base 60", digits)
		}
		total = total*60 + f
	}
	return sign * total, nil
}

// What a YAML timestamp did not say is kept in the time's location, because Python prints a date, a time without a zone
// and a time with one differently.
var (
	dateOnly = time.FixedZone("date", 0)
	noZone   = time.FixedZone("none", 0)
)

// timeOf reads a timestamp; a date or time that does not exist is an error, as in Python.
func timeOf(text string) (any, error) {
	p := timeParts.FindStringSubmatch(text)
	if p == nil {
		return nil, fmt.Errorf("%q is not a timestamp", text)
	}
	n := make([]int, len(p))
	for i := range p {
		n[i], _ = strconv.Atoi(p[i]) // absent parts are 0; the expression lets only digits through
	}
	zone := noZone
	switch {
	case p[4] == "":
		zone = dateOnly
	case p[8] != "":
		zone = time.UTC
	case p[9] != "":
		offset := n[10]*3600 + n[11]*60
		if p[9] == "-" {
			offset = -offset
		}
		zone = time.FixedZone("", offset)
	}
	nanos, _ := strconv.Atoi((p[7] + "000000")[:6])
	t := time.Date(n[1], time.Month(n[2]), n[3], n[4], n[5], n[6], nanos*1000, zone)
	if n[1] == 0 || t.Month() != time.Month(n[2]) || t.Day() != n[3] || t.Hour() != n[4] || t.Minute() != n[5] || t.Second() != n[6] {
		return nil, fmt.Errorf("there is no such time as %q", text)
	}
	return t, nil
}

// TimeString is a time as Python's str() writes it: 2001-12-14, 2001-12-14 21:59:43.100000-05:00.
func TimeString(t time.Time) string { return timeFormat(t, " ") }

// TimeISO is a time as Python's isoformat() writes it, which is how it stands in JSON.
func TimeISO(t time.Time) string { return timeFormat(t, "T") }

func timeFormat(t time.Time, between string) string {
	if t.Location() == dateOnly {
		return t.Format("2006-01-02")
	}
	layout := "2006-01-02" + between + "15:04:05"
	if t.Nanosecond() != 0 {
		layout += ".000000"
	}
	if t.Location() != noZone {
		layout += "-07:00"
	}
	return t.Format(layout)
}

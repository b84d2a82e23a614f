package expr

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

func addNumberFilters(r *registry) {
	r.addFilter("int", "value, default=0, base=10", func(a args) any { return toInt(a.v[0], a.v[1], a.int(2)) })
	r.addFilter("float", "value, default=0.0", func(a args) any { return toFloat(a.v[0], a.v[1]) })
	r.addFilter("bool", "value", func(a args) any { return toBool(a.v[0]) })
	r.addFilter("abs", "value", func(a args) any {
		i, f, isFloat, ok := numeric(a.v[0])
		if !ok {
			fail("bad operand type for abs(): '%s'", typeName(a.v[0]))
		}
		if isFloat {
			return math.Abs(f)
		}
		return max(i, -i)
	})
	r.addFilter("round", "value, precision=0, method='common'", roundFilter)
	r.addFilter("log", "x, base=None", func(a args) any {
		if a.number(0) <= 0 {
			fail("math domain error")
		}
		if a.nil(1) {
			return math.Log(a.number(0))
		}
		if a.number(1) == 10 {
			return math.Log10(a.number(0))
		}
		return math.Log(a.number(0)) / math.Log(a.number(1))
	})
	r.addFilter("pow", "x, y", func(a args) any { return math.Pow(a.number(0), a.number(1)) })
	r.addFilter("root", "x, base=2", func(a args) any {
		return root(a.number(0), a.number(1))
	})
	r.addFilter("filesizeformat", "value, binary=false", fileSizeFilter)
	r.addFilter("human_readable", "size, isbits=false, unit=None", humanReadable)
	r.addFilter("human_to_bytes", "size, default_unit=None, isbits=false", humanToBytes)
}

// root is exact where the root is a whole number, as C's pow is.
func root(x, base float64) float64 {
	r := math.Pow(x, 1/base)
	if math.IsNaN(r) {
		fail("root() can only be used on numbers: math domain error")
	}
	if whole := math.Round(r); math.Pow(whole, base) == x {
		return whole
	}
	return r
}

// number is argument i as a float.
func (a args) number(i int) float64 {
	undefinedFails(a.v[i])
	_, f, _, ok := numeric(a.v[i])
	if !ok {
		fail("must be real number, not %s", typeName(a.v[i]))
	}
	return f
}

// toInt is v as a whole number: numbers are cut off, text is read as an integer or as a float; other is for the rest.
func toInt(v, other any, base int) any {
	switch v := v.(type) {
	case bool, int:
		i, _, _, _ := numeric(v)
		return i
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return other
		}
		return int(v)
	case string:
		if n, ok := parsePyInt(v, base); ok {
			return n
		}
		if f, ok := parsePyFloat(v); ok && !math.IsNaN(f) && !math.IsInf(f, 0) {
			return int(f)
		}
	}
	return other
}

// parsePyInt is Python's int(s, base).
func parsePyInt(s string, base int) (int, bool) {
	s = strings.TrimSpace(s)
	sign := ""
	if s != "" && (s[0] == '-' || s[0] == '+') {
		sign, s = s[:1], s[1:]
	}
	if prefix := map[int]string{2: "0b", 8: "0o", 16: "0x"}[base]; prefix != "" && len(s) > 2 && strings.EqualFold(s[:2], prefix) {
		s = s[2:]
	}
	if s == "" || s[0] == '_' || s[len(s)-1] == '_' || strings.Contains(s, "__") || s[0] == '-' || s[0] == '+' {
		return 0, false
	}
	if base == 0 {
		n, err := strconv.ParseInt(sign+s, 0, 64)
		return int(n), err == nil
	}
	n, err := strconv.ParseInt(sign+strings.ReplaceAll(s, "_", ""), base, 64)
	return int(n), err == nil
}

// parsePyFloat is Python's float(s).
func parsePyFloat(s string) (float64, bool) {
	s = strings.TrimSpace(s)
	if strings.ContainsAny(s, "xXpP") {
		return 0, false
	}
	f, err := strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64)
	return f, err == nil || math.IsInf(f, 0) && s != ""
}

func toFloat(v, other any) any {
	if s, ok := v.(string); ok {
		if f, ok := parsePyFloat(s); ok {
			return f
		}
		return other
	}
	if _, f, _, ok := numeric(v); ok {
		return f
	}
	return other
}

// toBool is Ansible's idea of truth in text: yes, on, 1, true; None stays None.
func toBool(v any) any {
	switch v := v.(type) {
	case nil, bool:
		return v
	case string:
		switch strings.ToLower(v) {
		case "yes", "on", "1", "true":
			return true
		}
		return false
	}
	_, f, _, ok := numeric(v)
	return ok && f == 1
}

func roundFilter(a args) any {
	method := a.str(2)
	if method != "common" && method != "ceil" && method != "floor" {
		fail("method must be common, ceil or floor")
	}
	i, f, isFloat, ok := numeric(a.v[0])
	if !ok {
		fail("type %s doesn't define __round__ method", typeName(a.v[0]))
	}
	precision := a.int(1)
	scale := math.Pow(10, float64(precision))
	switch method {
	case "ceil":
		return math.Ceil(f*scale) / scale
	case "floor":
		return math.Floor(f*scale) / scale
	}
	if !isFloat {
		return roundInt(i, precision)
	}
	if precision < 0 {
		return math.RoundToEven(f*scale) / scale
	}
	out, err := strconv.ParseFloat(strconv.FormatFloat(f, 'f', precision, 64), 64)
	if err != nil {
		return f
	}
	return out
}

func roundInt(i, precision int) int {
	if precision >= 0 {
		return i
	}
	scale := math.Pow(10, float64(-precision))
	return int(math.RoundToEven(float64(i)/scale) * scale)
}

func fileSizeFilter(a args) any {
	bytes, ok := toFloat(a.v[0], nil).(float64)
	if !ok {
		fail("could not convert %s to a number", pyRepr(a.v[0]))
	}
	base, units := 1000.0, []string{"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"}
	if a.bool(1) {
		base, units = 1024, []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"}
	}
	switch {
	case bytes == 1:
		return "1 Byte"
	case bytes < base:
		return fmt.Sprintf("%d Bytes", int(bytes))
	}
	for i, name := range units {
		unit := math.Pow(base, float64(i+2))
		if bytes < unit || i == len(units)-1 {
			return fmt.Sprintf("%.1f %s", base*bytes/unit, name)
		}
	}
	return ""
}

// sizeUnits are the letters of Ansible's sizes, largest first.
var sizeUnits = []struct {
	letter string
	bytes  float64
}{
	{"Y", 1 << 80}, {"Z", 1 << 70}, {"E", 1 << 60}, {"P", 1 << 50}, {"T", 1 << 40}, {"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}, {"B", 1},
}

func humanReadable(a args) any {
	_, size, _, ok := numeric(a.v[0])
	if !ok {
		fail("human_readable() can't interpret following string: %s", pyStr(a.v[0]))
	}
	base := "B"
	if a.bool(1) {
		base = "b"
	}
	want := ""
	if !a.nil(2) {
		want = strings.ToUpper(a.str(2))[:min(1, len(a.str(2)))]
	}
	for _, u := range sizeUnits {
		if want == "" && size >= u.bytes || want == u.letter || u.letter == "B" {
			suffix := u.letter + base
			if u.letter == "B" {
				suffix = map[string]string{"B": "Bytes", "b": "bits"}[base]
			}
			return fmt.Sprintf("%.2f %s", size/u.bytes, suffix)
		}
	}
	return ""
}

func humanToBytes(a args) any {
	text := a.str(0)
	bad := func() { fail("human_to_bytes() can't interpret following string: %s", text) }
	s := strings.TrimSpace(text)
	end := strings.IndexFunc(s, func(r rune) bool { return !strings.ContainsRune("0123456789.", r) })
	if end < 0 {
		end = len(s)
	}
	n, err := strconv.ParseFloat(s[:end], 64)
	if err != nil {
		bad()
	}
	unit := strings.TrimSpace(s[end:])
	if unit == "" && !a.nil(1) {
		unit = a.str(1)
	}
	if unit == "" {
		return int(math.RoundToEven(n))
	}
	for _, u := range sizeUnits {
		if strings.EqualFold(unit[:1], u.letter) {
			checkUnit(text, unit, a.bool(2))
			return int(math.RoundToEven(n * u.bytes))
		}
	}
	fail("human_to_bytes() failed to convert %s (unit = %s). The suffix must be one of Y, Z, E, P, T, G, M, K, B", text, unit)
	return nil
}

// checkUnit makes sure that bits are not taken for bytes.
func checkUnit(text, unit string, bits bool) {
	second := map[bool]byte{false: 'B', true: 'b'}[bits]
	word := map[bool]string{false: "byte", true: "bit"}[bits]
	switch {
	case len(unit) == 1, len(unit) == 2 && unit[1] == second, strings.Contains(strings.ToLower(unit), word):
		return
	}
	fail("human_to_bytes() failed to convert %s. Value is not a valid string (expect %sb)", text, unit[:1])
}

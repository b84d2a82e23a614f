package expr

import (
	"math"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// typeTest is a test of nothing but the value.
func (r *registry) typeTest(names string, fn func(v any) bool) {
	r.addTest(names, "value", func(a args) bool { return fn(a.v[0]) })
}

// kindTest is a test of what the value is; an undefined one is nothing of the kind.
func (r *registry) kindTest(names string, fn func(v any) bool) {
	r.addLenientTest(names, "value", func(a args) bool { return !isUndef(a.v[0]) && fn(a.v[0]) })
}

func addTests(r *registry) {
	r.addLenientTest("defined", "value", func(a args) bool { return !isUndef(a.v[0]) })
	r.addLenientTest("undefined", "value", func(a args) bool { return isUndef(a.v[0]) })
	r.addTest("filter", "value", func(a args) bool { return a.f.r.env.reg.filter(a.str(0)) != nil })
	r.addTest("test", "value", func(a args) bool { return a.f.r.env.reg.test(a.str(0)) != nil })
	r.kindTest("callable", func(v any) bool { _, ok := v.(callable); return ok })
	addTypeTests(r)
	addCompareTests(r)
	addTextTests(r)
	addPathTests(r)
	addNetTests(r)
}

func isUndef(v any) bool {
	_, ok := v.(*Undefined)
	return ok
}

func addTypeTests(r *registry) {
	is := func(names ...string) func(v any) bool {
		return func(v any) bool { return slices.Contains(names, typeName(v)) }
	}
	r.kindTest("none", is("NoneType"))
	r.kindTest("boolean", is("bool"))
	r.kindTest("integer", is("int"))
	r.kindTest("float", is("float"))
	r.kindTest("number", is("int", "float", "bool"))
	r.kindTest("string", is("str"))
	r.kindTest("mapping", is("dict"))
	r.kindTest("sequence", is("str", "list", "tuple", "dict"))
	r.typeTest("iterable", isIterable)
	r.kindTest("true", func(v any) bool { return v == true })
	r.kindTest("false", func(v any) bool { return v == false })
	r.typeTest("escaped", func(any) bool { return false })
	r.typeTest("nan isnan", func(v any) bool { f, ok := v.(float64); return ok && math.IsNaN(f) })
	r.kindTest("vault_encrypted", func(any) bool { return false })
	r.addTest("truthy", "value, convert_bool=false", converted)
	r.addTest("falsy", "value, convert_bool=false", func(a args) bool { return !converted(a) })
}

func converted(a args) bool {
	if b, ok := toBool(a.v[0]).(bool); ok && a.bool(1) {
		return b
	}
	return a.bool(0)
}

func addCompareTests(r *registry) {
	for names, op := range map[string]string{
		"eq equalto ==": "==", "ne !=": "!=", "lt lessthan <": "<", "le <=": "<=", "gt greaterthan >": ">", "ge >=": ">=",
	} {
		r.addTest(names, "value, other", func(a args) bool { return compareOp(op, a.v[0], norm(a.v[1])) })
	}
	r.addTest("in", "value, seq", func(a args) bool { return contains(a.v[1], a.v[0]) })
	r.addTest("contains", "seq, value", func(a args) bool { return contains(a.v[0], a.v[1]) })
	r.addLenientTest("sameas", "value, other", func(a args) bool { return same(a.v[0], norm(a.v[1])) })
	r.addTest("divisibleby", "value, num", func(a args) bool {
		return equal(binary("%", a.v[0], norm(a.v[1])), 0)
	})
	r.addTest("even", "value", func(a args) bool { return equal(binary("%", a.v[0], 2), 0) })
	r.addTest("odd", "value", func(a args) bool { return equal(binary("%", a.v[0], 2), 1) })
	r.addTest("any", "value", func(a args) bool { return slices.ContainsFunc(iterate(a.v[0]), truthy) })
	r.addTest("all", "value", func(a args) bool {
		return !slices.ContainsFunc(iterate(a.v[0]), func(v any) bool { return !truthy(v) })
	})
	r.addTest("subset issubset", "a, b", func(a args) bool {
		return within(a.items(0), a.items(1))
	})
	r.addTest("superset issuperset", "a, b", func(a args) bool {
		return within(a.items(1), a.items(0))
	})
	r.addTest("version version_compare", "value, version, operator='eq', strict=None, version_type=None", versionTest)
}

// within tells whether every item is in all. Lists and mappings cannot be members of a set.
func within(items, all []any) bool {
	for _, v := range slices.Concat(items, all) {
		keyOf(v)
	}
	in := memberOf(all)
	return !slices.ContainsFunc(items, func(v any) bool { return !in(norm(v)) })
}

// same is Python's "is": the same number, text, None or truth value, or the very same list or mapping.
func same(a, b any) bool {
	if reflect.TypeOf(a) != reflect.TypeOf(b) {
		return false
	}
	switch x := a.(type) {
	case []any:
		y := b.([]any)
		return len(x) > 0 && len(x) == len(y) && &x[0] == &y[0]
	case Tuple:
		return false
	}
	return a == b
}

func addTextTests(r *registry) {
	r.typeTest("lower", func(v any) bool { s := pyStr(v); return hasCase(s) && s == strings.ToLower(s) })
	r.typeTest("upper", func(v any) bool { s := pyStr(v); return hasCase(s) && s == strings.ToUpper(s) })
	matches := func(kind string) func(a args) bool {
		return func(a args) bool {
			re := compileRegex(a.str(1), a.bool(2), a.bool(3))
			m := findFrom(re, []rune(a.str(0)), 0)
			how := kind
			if len(a.v) > 4 {
				how = a.str(4)
			}
			return m != nil && regexHolds(a, how)
		}
	}
	r.addTest("match", "value, pattern, ignorecase=false, multiline=false", matches("match"))
	r.addTest("search", "value, pattern, ignorecase=false, multiline=false", matches("search"))
	r.addTest("regex", "value, pattern, ignorecase=false, multiline=false, match_type='search'", matches("search"))
	r.typeTest("url uri", func(v any) bool {
		u, err := url.Parse(pyStr(v))
		return err == nil && u.Scheme != "" && u.Host != ""
	})
	r.typeTest("urn", func(v any) bool { return strings.HasPrefix(strings.ToLower(pyStr(v)), "urn:") })
}

// regexHolds anchors the expression as Python's match and fullmatch do.
func regexHolds(a args, how string) bool {
	pattern := a.str(1)
	switch how {
	case "match":
		pattern = `\A(?:` + pattern + ")"
	case "fullmatch":
		pattern = `\A(?:` + pattern + `)\Z`
	case "search":
		return true
	default:
		fail("Invalid match_type '%s' given, only regex, search, match and fullmatch are accepted", how)
	}
	return findFrom(compileRegex(pattern, a.bool(2), a.bool(3)), []rune(a.str(0)), 0) != nil
}

func addPathTests(r *registry) {
	mode := func(names string, stat func(string) (os.FileInfo, error), ok func(os.FileMode) bool) {
		r.addTest(names, "path", func(a args) bool {
			info, err := stat(a.text(0, "a path"))
			return err == nil && ok(info.Mode())
		})
	}
	mode("file is_file", os.Stat, os.FileMode.IsRegular)
	mode("directory is_dir", os.Stat, os.FileMode.IsDir)
	mode("exists", os.Stat, func(os.FileMode) bool { return true })
	mode("link is_link", os.Lstat, func(m os.FileMode) bool { return m&os.ModeSymlink != 0 })
	mode("link_exists", os.Lstat, func(os.FileMode) bool { return true })
	r.addTest("abs is_abs", "path", func(a args) bool { return filepath.IsAbs(a.text(0, "a path")) })
	r.typeTest("mount is_mount", func(v any) bool { return isMount(pyStr(v)) })
	r.addTest("same_file is_same_file", "path, other", func(a args) bool {
		x, errX := os.Stat(a.str(0))
		y, errY := os.Stat(a.str(1))
		if errX != nil || errY != nil {
			fail("cannot compare the files %s and %s", a.str(0), a.str(1))
		}
		return os.SameFile(x, y)
	})
}

func addNetTests(r *registry) {
	addr := func(names string, ok func(netip.Addr) bool) {
		r.typeTest(names, func(v any) bool {
			a, err := netip.ParseAddr(pyStr(v))
			return err == nil && ok(a)
		})
	}
	addr("ip_address", func(netip.Addr) bool { return true })
	addr("ipv4_address", netip.Addr.Is4)
	addr("ipv6_address", netip.Addr.Is6)
	addr("loopback", netip.Addr.IsLoopback)
	addr("multicast", netip.Addr.IsMulticast)
	addr("private", netip.Addr.IsPrivate)
	addr("public", isPublic)
	r.typeTest("ip", func(v any) bool { return parseIP(v).ok })
	r.typeTest("ipv4", func(v any) bool { n := parseIP(v); return n.ok && n.version() == 4 })
	r.typeTest("ipv6", func(v any) bool { n := parseIP(v); return n.ok && n.version() == 6 })
	r.addTest("in_network", "value, network", func(a args) bool {
		n, t := parseIP(a.v[0]), parseIP(a.v[1])
		return n.ok && t.ok && t.has(n)
	})
	r.typeTest("mac", func(v any) bool {
		hex := strings.NewReplacer(":", "", "-", "", ".", "").Replace(pyStr(v))
		return len(hex) == 12 && strings.IndexFunc(hex, func(r rune) bool { return !unicode.Is(unicode.ASCII_Hex_Digit, r) }) < 0
	})
}

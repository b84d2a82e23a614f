package expr

import (
	"net/url"
	"strings"
)

func addURLFilters(r *registry) {
	r.addFilter("urlencode", "value", func(a args) any {
		if s, ok := a.v[0].(string); ok {
			return pctEncode(s, "/")
		}
		var rows []any
		if d, ok := asDict(a.v[0]); ok {
			rows = pairs(d)
		} else if rows, ok = asList(a.v[0]); !ok {
			return pctEncode(a.str(0), "/")
		}
		parts := make([]string, len(rows))
		for i, row := range rows {
			kv := iterate(row)
			if len(kv) != 2 {
				fail("urlencode takes pairs")
			}
			parts[i] = formEncode(pyStr(kv[0])) + "=" + formEncode(pyStr(kv[1]))
		}
		return strings.Join(parts, "&")
	})
	r.textFilter("urldecode", func(s string) string {
		out, err := url.QueryUnescape(s)
		if err != nil {
			return s
		}
		return out
	})
	r.addFilter("urlsplit", "value, query=''", urlsplit)
}

// pctEncode escapes every byte but letters, digits, _.-~ and the safe ones.
func pctEncode(s, safe string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c) || strings.IndexByte("_.-~"+safe, c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteString("%" + string(hexDigits[c>>4]) + string(hexDigits[c&15]))
	}
	return b.String()
}

func formEncode(s string) string { return strings.ReplaceAll(pctEncode(s, ""), "%20", "+") }

func urlsplit(a args) any {
	text := strings.NewReplacer("\n", "", "\r", "", "\t", "").Replace(a.text(0, "a URL"))
	parts := splitURL(strings.TrimLeft(text, " \x00"))
	if a.str(1) == "" {
		return parts
	}
	v, ok := parts.Get(a.str(1))
	if !ok {
		fail("urlsplit: unknown URL component: %s", a.str(1))
	}
	return v
}

func splitURL(s string) *Dict {
	rest, fragment, _ := strings.Cut(s, "#")
	rest, query, _ := strings.Cut(rest, "?")
	scheme := ""
	if i := strings.IndexByte(rest, ':'); i > 0 && isScheme(rest[:i]) {
		scheme, rest = strings.ToLower(rest[:i]), rest[i+1:]
	}
	netloc := ""
	if after, ok := strings.CutPrefix(rest, "//"); ok {
		netloc, rest = after, ""
		if i := strings.IndexByte(after, '/'); i >= 0 {
			netloc, rest = after[:i], after[i:]
		}
	}
	user, password, host, port := splitNetloc(netloc)
	return NewDict("fragment", fragment, "hostname", host, "netloc", netloc, "password", password, "path", rest,
		"port", port, "query", query, "scheme", scheme, "username", user)
}

func isScheme(s string) bool {
	for i, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (i == 0 || !strings.ContainsRune("+-.0123456789", r)) {
			return false
		}
	}
	return true
}

// splitNetloc gives the parts of user:password@host:port; None for those that are missing.
func splitNetloc(s string) (user, password, host, port any) {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		name, pass, ok := strings.Cut(s[:i], ":")
		user = name
		if ok {
			password = pass
		}
		s = s[i+1:]
	}
	name, portText := s, ""
	if strings.HasPrefix(s, "[") {
		inside, after, _ := strings.Cut(s[1:], "]")
		name, portText = inside, strings.TrimPrefix(after, ":")
	} else if before, after, ok := strings.Cut(s, ":"); ok {
		name, portText = before, after
	}
	if name != "" {
		host = strings.ToLower(name)
	}
	if portText != "" {
		n, ok := parsePyInt(portText, 10)
		if !ok {
			fail("Port could not be cast to integer value as '%s'", portText)
		}
		port = n
	}
	return user, password, host, port
}

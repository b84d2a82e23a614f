package expr

import (
	"encoding/hex"
	"math/big"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

func addNetFilters(r *registry) {
	r.addFilter("ipaddr", "value, query='', version=None, alias='ipaddr'", func(a args) any {
		version := 0
		if !a.nil(2) && a.v[2] != false {
			version = a.int(2)
		}
		return ipaddr(a.v[0], pyStr(a.v[1]), version)
	})
	r.addFilter("ipv4", "value, query=''", func(a args) any { return ipaddr(a.v[0], a.str(1), 4) })
	r.addFilter("ipv6", "value, query=''", func(a args) any { return ipaddr(a.v[0], a.str(1), 6) })
	r.addFilter("ipwrap", "value, query=''", func(a args) any { return ipwrap(a.v[0]) })
	r.addFilter("ipsubnet", "value, query='', index='x'", ipsubnet)
	r.addFilter("nthhost", "value, query=''", func(a args) any {
		n, ok := toInt(a.v[1], nil, 10).(int)
		return stringOrFalse(parseIP(a.v[0]).nth(n, ok))
	})
	r.addFilter("network_in_usable", "value, test", func(a args) any {
		n, t := parseIP(a.v[0]), parseIP(a.v[1])
		return n.ok && t.ok && n.has(t) && n.usable(t.first()) && n.usable(t.last())
	})
	r.addFilter("network_in_network", "value, test", func(a args) any {
		n, t := parseIP(a.v[0]), parseIP(a.v[1])
		return n.ok && t.ok && n.has(t)
	})
	r.addFilter("ipmath", "value, amount", func(a args) any {
		n := parseIP(a.v[0])
		if !n.ok {
			fail("You must pass a valid IP address; %s is invalid", pyStr(a.v[0]))
		}
		return n.shift(n.addr, a.int(1)).String()
	})
	r.addFilter("next_nth_usable", "value, offset", func(a args) any { return neighbour(a, 1) })
	r.addFilter("previous_nth_usable", "value, offset", func(a args) any { return neighbour(a, -1) })
	r.addFilter("ip4_hex", "arg, delimiter=''", func(a args) any {
		addr, err := netip.ParseAddr(a.str(0))
		if err != nil || !addr.Is4() {
			fail("%s is not an IPv4 address", pyQuote(a.str(0)))
		}
		var parts []string
		for _, b := range addr.AsSlice() {
			parts = append(parts, hex.EncodeToString([]byte{b}))
		}
		return strings.Join(parts, a.str(1))
	})
	r.addFilter("hwaddr", "value, query=''", hwaddr)
	r.addFilter("macaddr", "value, query=''", hwaddr)
}

// ipaddr is the filter on one value or on each of a list, of which it keeps those that are what the query asks for.
func ipaddr(v any, query string, version int) any {
	if items, ok := asList(v); ok {
		out := []any{}
		for _, item := range items {
			if got := ipaddr(norm(item), query, version); got != nil && got != false {
				out = append(out, got)
			}
		}
		return out
	}
	if v == true || v == false {
		return false
	}
	n := parseIP(v)
	if !n.ok {
		if _, isText := v.(string); !isText {
			fail("Unrecognized type <%s> for ipaddr filter <value>", typeName(v))
		}
		return false
	}
	if version != 0 && n.version() != version {
		return false
	}
	return n.query(pyStr(v), query)
}

var specialRanges = map[string]func(netip.Addr) bool{
	"link-local": netip.Addr.IsLinkLocalUnicast, "lla": netip.Addr.IsLinkLocalUnicast,
	"loopback": netip.Addr.IsLoopback, "lo": netip.Addr.IsLoopback,
	"multicast": netip.Addr.IsMulticast,
	"unicast":   func(a netip.Addr) bool { return !a.IsMulticast() },
	"private":   netip.Addr.IsPrivate,
	"public":    isPublic,
}

func isPublic(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !a.IsLoopback() && !a.IsLinkLocalUnicast()
}

// query answers one query; nil is "not that", false is "no".
func (n ipNet) query(text, query string) any {
	if is, ok := specialRanges[query]; ok {
		if is(n.addr) {
			return text
		}
		return nil
	}
	if i, err := strconv.Atoi(query); err == nil {
		return n.atIndex(i)
	}
	if fn, ok := ipQueries[query]; ok {
		return fn(n, text)
	}
	if t := parseIP(query); t.ok && query != "" {
		if t.has(n) {
			return text
		}
		return nil
	}
	fail("unknown filter type: %s", query)
	return nil
}

func (n ipNet) atIndex(i int) any {
	if n.full() {
		return n.plainText()
	}
	got, ok := n.nth(i, true)
	if !ok {
		return false
	}
	return got + n.prefix()
}

func (n ipNet) plainText() string {
	if n.cidr {
		return n.String()
	}
	return n.addr.String()
}

var ipQueries map[string]func(n ipNet, text string) any

func init() {
	when := func(ok func(n ipNet) bool, not any, fn func(n ipNet) any) func(ipNet, string) any {
		return func(n ipNet, _ string) any {
			if !ok(n) {
				return not
			}
			return fn(n)
		}
	}
	always := func(ipNet) bool { return true }
	hostish := func(n ipNet) bool { return !n.isNetwork() || n.bits >= n.addr.BitLen()-1 }
	inNet := func(n ipNet) bool { return !n.full() && hostish(n) }
	str := func(n ipNet) any { return n.String() }
	ip := func(n ipNet) any { return n.addr.String() }
	q := map[string]func(n ipNet, text string) any{
		"":                 when(always, nil, func(n ipNet) any { return n.plainText() }),
		"bool":             when(always, nil, func(n ipNet) any { return true }),
		"address":          when(func(n ipNet) bool { return n.version() == 6 || hostish(n) }, nil, ip),
		"broadcast":        when(func(n ipNet) bool { return n.bits < n.addr.BitLen()-1 }, nil, func(n ipNet) any { return n.last().String() }),
		"cidr":             when(always, nil, str),
		"host":             when(hostish, nil, str),
		"host/prefix":      when(hostish, false, str),
		"ip/prefix":        when(inNet, nil, str),
		"ip_netmask":       when(inNet, nil, func(n ipNet) any { return n.addr.String() + " " + n.mask(false).String() }),
		"ip_wildcard":      when(inNet, nil, func(n ipNet) any { return n.addr.String() + " " + n.mask(true).String() }),
		"hostmask":         when(always, nil, func(n ipNet) any { return n.mask(true).String() }),
		"netmask":          when(always, nil, func(n ipNet) any { return n.mask(false).String() }),
		"net":              when(ipNet.isNetwork, nil, str),
		"network":          when(always, nil, func(n ipNet) any { return n.first().String() }),
		"network/prefix":   when(always, nil, func(n ipNet) any { return n.subnet() }),
		"network_netmask":  when(always, nil, func(n ipNet) any { return n.first().String() + " " + n.mask(false).String() }),
		"network_wildcard": when(always, nil, func(n ipNet) any { return n.first().String() + " " + n.mask(true).String() }),
		"prefix":           when(always, nil, func(n ipNet) any { return n.bits }),
		"revdns":           when(always, nil, func(n ipNet) any { return reverseName(n.addr) }),
		"size":             when(always, nil, func(n ipNet) any { return bigInt(n.size()) }),
		"size_usable":      when(always, nil, sizeUsable),
		"type":             when(always, nil, func(n ipNet) any { return map[bool]string{true: "network", false: "address"}[n.isNetwork()] }),
		"version":          when(always, nil, func(n ipNet) any { return n.version() }),
		"int":              when(always, nil, func(n ipNet) any { return n.asInt() }),
		"ipv4":             when(func(n ipNet) bool { return n.version() == 4 }, false, nil),
		"ipv6":             when(always, nil, func(n ipNet) any { return n.toV6() }),
		"wrap":             nil,
	}
	q["ipv4"] = func(n ipNet, text string) any {
		if n.version() != 4 {
			return false
		}
		return text
	}
	q["wrap"] = func(n ipNet, text string) any { return ipwrap(text) }
	addUsableQueries(q)
	for alias, name := range map[string]string{
		"ip": "address", "hostnet": "host/prefix", "gateway": "host/prefix", "gw": "host/prefix", "router": "host/prefix", "wildcard": "hostmask",
		"network_id": "network", "subnet": "network/prefix", "v4": "ipv4", "v6": "ipv6", "host_cidr": "cidr",
	} {
		q[alias] = q[name]
	}
	ipQueries = q
}

// addUsableQueries adds those that make no sense for an address without its network.
func addUsableQueries(q map[string]func(n ipNet, text string) any) {
	inRange := func(fn func(n ipNet, lo, hi netip.Addr) any) func(n ipNet, _ string) any {
		return func(n ipNet, _ string) any {
			if !n.cidr {
				fail("Not a network address")
			}
			lo, hi, ok := n.usableRange()
			if !ok {
				return nil
			}
			return fn(n, lo, hi)
		}
	}
	q["first_usable"] = inRange(func(n ipNet, lo, _ netip.Addr) any { return lo.String() })
	q["last_usable"] = inRange(func(n ipNet, _, hi netip.Addr) any { return hi.String() })
	q["range_usable"] = inRange(func(n ipNet, lo, hi netip.Addr) any { return lo.String() + "-" + hi.String() })
	q["next_usable"] = inRange(func(n ipNet, lo, hi netip.Addr) any { return n.near(1) })
	q["previous_usable"] = inRange(func(n ipNet, lo, hi netip.Addr) any { return n.near(-1) })
	q["peer"] = func(n ipNet, _ string) any {
		switch {
		case !n.cidr:
			fail("Not a network address")
		case n.bits == n.addr.BitLen()-1 && n.addr == n.first():
			return n.last().String()
		case n.bits == n.addr.BitLen()-1:
			return n.first().String()
		case n.bits == n.addr.BitLen()-2 && n.usable(n.addr):
			return n.shift(n.first(), 3-int(n.addr.AsSlice()[n.addr.BitLen()/8-1]&3)).String()
		}
		fail("Not a point-to-point network")
		return nil
	}
}

// near is the address by steps away when a host may have it.
func (n ipNet) near(by int) any {
	var addr netip.Addr
	if attempt(func() { addr = n.shift(n.addr, by) }) != nil || !n.usable(addr) {
		return nil
	}
	return addr.String()
}

func neighbour(a args, sign int) any {
	n := parseIP(a.v[0])
	if !n.ok || !n.cidr {
		fail("Not a network address")
	}
	return n.near(sign * a.int(1))
}

func sizeUsable(n ipNet) any {
	switch n.bits {
	case n.addr.BitLen():
		return 0
	case n.addr.BitLen() - 1:
		return 2
	}
	return bigInt(new(big.Int).Sub(n.size(), big.NewInt(2)))
}

// bigInt is n as an int, or as text when it does not fit.
func bigInt(n *big.Int) any {
	if n.IsInt64() {
		return int(n.Int64())
	}
	return n.String()
}

func (n ipNet) asInt() any {
	v := bigInt(new(big.Int).SetBytes(n.addr.AsSlice()))
	if n.cidr {
		return pyStr(v) + n.prefix()
	}
	return v
}

func (n ipNet) toV6() string {
	if n.version() == 6 {
		return n.plainText()
	}
	return "::ffff:" + n.addr.String() + "/" + strconv.Itoa(n.bits+96)
}

func reverseName(a netip.Addr) string {
	raw := a.AsSlice()
	var parts []string
	for i := len(raw) - 1; i >= 0; i-- {
		if a.Is4() {
			parts = append(parts, strconv.Itoa(int(raw[i])))
			continue
		}
		parts = append(parts, strconv.FormatInt(int64(raw[i]&15), 16), strconv.FormatInt(int64(raw[i]>>4), 16))
	}
	if a.Is4() {
		return strings.Join(parts, ".") + ".in-addr.arpa."
	}
	return strings.Join(parts, ".") + ".ip6.arpa."
}

// ipwrap puts IPv6 addresses in brackets and leaves everything else as it is.
func ipwrap(v any) any {
	if items, ok := asList(v); ok {
		out := make([]any, len(items))
		for i, item := range items {
			out[i] = ipwrap(norm(item))
		}
		return out
	}
	n := parseIP(v)
	if _, isText := v.(string); !isText || !n.ok || n.version() != 6 {
		return v
	}
	if n.cidr {
		return "[" + n.addr.String() + "]" + n.prefix()
	}
	return "[" + n.addr.String() + "]"
}

// ipsubnet divides a network into smaller ones or finds the network around an address.
func ipsubnet(a args) any {
	n := parseIP(a.v[0])
	if !n.ok {
		return false
	}
	if a.str(1) == "" {
		return n.subnet()
	}
	size, ok := toInt(a.v[1], nil, 10).(int)
	if !ok {
		fail("ipsubnet takes the length of a prefix, not %s", pyRepr(a.v[1]))
	}
	if size < 0 || size > n.addr.BitLen() {
		return false
	}
	index, indexed := toInt(a.v[2], nil, 10).(int)
	if n.full() {
		n.bits = size
		return n.subnet()
	}
	if size < n.bits {
		return false
	}
	count := new(big.Int).Lsh(big.NewInt(1), uint(size-n.bits))
	if !indexed {
		return pyStr(bigInt(count))
	}
	return n.part(size, index, count)
}

func (n ipNet) part(size, index int, count *big.Int) any {
	at := big.NewInt(int64(index))
	if index < 0 {
		at.Add(at, count)
	}
	if at.Sign() < 0 || at.Cmp(count) >= 0 {
		return false
	}
	at.Lsh(at, uint(n.addr.BitLen()-size))
	at.Add(at, new(big.Int).SetBytes(n.first().AsSlice()))
	addr, _ := netip.AddrFromSlice(at.FillBytes(make([]byte, n.addr.BitLen()/8))) // as long as an address
	return addr.String() + "/" + strconv.Itoa(size)
}

func hwaddr(a args) any {
	digits := strings.NewReplacer(":", "", "-", "", ".", "").Replace(strings.ToLower(a.str(0)))
	raw, err := hex.DecodeString(digits)
	if err != nil || len(raw) != 6 {
		return false
	}
	hw := net.HardwareAddr(raw).String()
	switch a.str(1) {
	case "", "linux", "unix":
		return hw
	case "bool":
		return true
	case "bare":
		return strings.ToUpper(digits)
	case "cisco":
		return digits[:4] + "." + digits[4:8] + "." + digits[8:]
	case "win", "eui48":
		return strings.ToUpper(strings.ReplaceAll(hw, ":", "-"))
	}
	fail("unknown filter type: %s", a.str(1))
	return nil
}

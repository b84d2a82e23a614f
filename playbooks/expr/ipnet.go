package expr

import (
	"math/big"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// ipNet is an address with the network it stands in; cidr says that a prefix or mask was written.
type ipNet struct {
	addr netip.Addr
	bits int
	cidr bool
	ok   bool
}

func parseIP(v any) ipNet {
	if n, ok := v.(int); ok && n >= 0 && n <= 0xffffffff {
		return ipNet{addr: netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), bits: 32, ok: true}
	}
	s, ok := v.(string)
	if !ok {
		return ipNet{}
	}
	host, mask, cidr := strings.Cut(strings.TrimSpace(s), "/")
	addr, ok := parseAddr(host, cidr)
	if !ok {
		return ipNet{}
	}
	n := ipNet{addr: addr, bits: addr.BitLen(), cidr: cidr, ok: true}
	if cidr {
		n.bits, n.ok = maskBits(mask, addr.BitLen())
	}
	return n
}

// parseAddr also takes IPv4 addresses with leading zeros, and all digits as one number.
func parseAddr(s string, cidr bool) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return addr, true
	}
	if n, ok := parsePyInt(s, 10); ok && !cidr {
		v := parseIP(n)
		return v.addr, v.ok
	}
	parts := strings.Split(s, ".")
	var b [4]byte
	if len(parts) > 4 || len(parts) < 2 {
		return netip.Addr{}, false
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 8)
		if err != nil {
			return netip.Addr{}, false
		}
		b[i] = byte(n)
	}
	return netip.AddrFrom4(b), true
}

// maskBits is the length of a prefix, which may be written as a netmask.
func maskBits(s string, size int) (int, bool) {
	if n, err := strconv.Atoi(s); err == nil {
		return n, n >= 0 && n <= size
	}
	mask, err := netip.ParseAddr(s)
	if err != nil || mask.BitLen() != size {
		return 0, false
	}
	ones, total := net.IPMask(mask.AsSlice()).Size()
	return ones, total != 0
}

func (n ipNet) version() int {
	if n.addr.Is4() {
		return 4
	}
	return 6
}

func (n ipNet) full() bool        { return n.bits == n.addr.BitLen() }
func (n ipNet) prefix() string    { return "/" + strconv.Itoa(n.bits) }
func (n ipNet) first() netip.Addr { return netip.PrefixFrom(n.addr, n.bits).Masked().Addr() }
func (n ipNet) isNetwork() bool   { return n.cidr && !n.full() && n.addr == n.first() }
func (n ipNet) String() string    { return n.addr.String() + n.prefix() }
func (n ipNet) subnet() string    { return n.first().String() + n.prefix() }
func (n ipNet) has(t ipNet) bool {
	p := netip.PrefixFrom(n.addr, n.bits).Masked()
	return n.version() == t.version() && p.Contains(t.first()) && p.Contains(t.last())
}

func (n ipNet) mask(host bool) netip.Addr {
	raw := net.CIDRMask(n.bits, n.addr.BitLen())
	if host {
		for i := range raw {
			raw[i] = ^raw[i]
		}
	}
	out, _ := netip.AddrFromSlice(raw) // a mask has the length of an address
	return out
}

func (n ipNet) last() netip.Addr {
	raw, host := n.first().AsSlice(), n.mask(true).AsSlice()
	for i := range raw {
		raw[i] |= host[i]
	}
	out, _ := netip.AddrFromSlice(raw) // as long as an address
	return out
}

// shift is the address by steps after addr; one outside all addresses fails.
func (n ipNet) shift(addr netip.Addr, by int) netip.Addr {
	v := new(big.Int).SetBytes(addr.AsSlice())
	v.Add(v, big.NewInt(int64(by)))
	size := addr.BitLen() / 8
	if v.Sign() < 0 || v.BitLen() > size*8 {
		fail("there is no address %d after %s", by, addr)
	}
	out, _ := netip.AddrFromSlice(v.FillBytes(make([]byte, size))) // as long as an address
	return out
}

// nth is address number i of the network, from its end when i is negative.
func (n ipNet) nth(i int, given bool) (string, bool) {
	if !n.ok || !given {
		return "", false
	}
	start, off := n.first(), i
	if i < 0 {
		start, off = n.last(), i+1
	}
	var addr netip.Addr
	if attempt(func() { addr = n.shift(start, off) }) != nil || !netip.PrefixFrom(n.addr, n.bits).Masked().Contains(addr) {
		return "", false
	}
	return addr.String(), true
}

func stringOrFalse(s string, ok bool) any {
	if !ok {
		return false
	}
	return s
}

func (n ipNet) size() *big.Int {
	return new(big.Int).Lsh(big.NewInt(1), uint(n.addr.BitLen()-n.bits))
}

// usableRange are the first and last addresses a host may have; none in a network of one.
func (n ipNet) usableRange() (lo, hi netip.Addr, ok bool) {
	switch {
	case n.full():
		return lo, hi, false
	case n.bits == n.addr.BitLen()-1:
		return n.first(), n.last(), true
	}
	return n.shift(n.first(), 1), n.shift(n.last(), -1), true
}

func (n ipNet) usable(addr netip.Addr) bool {
	lo, hi, ok := n.usableRange()
	return ok && addr.Compare(lo) >= 0 && addr.Compare(hi) <= 0
}

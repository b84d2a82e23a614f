package node

import (
	"bufio"
	"context"
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// tcpStates are the names of the states that /proc/net/tcp numbers, from 1 on.
var tcpStates = [...]string{"ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING"}

// connections counts the machine's connections at the port that are in one of the states.
func (m *WaitFor) connections(ctx context.Context) (int, error) {
	here, err := addresses(ctx, m.Host)
	if err != nil {
		return 0, err
	}
	var excluded []netip.Addr
	for _, h := range m.ExcludeHosts {
		a, err := addresses(ctx, h)
		if err != nil {
			return 0, err
		}
		excluded = append(excluded, a...)
	}
	any := slices.ContainsFunc(here, netip.Addr.IsUnspecified)
	n := 0
	for _, c := range tcpConnections() {
		counts := slices.ContainsFunc(m.ActiveStates, func(s string) bool { return strings.EqualFold(s, c.state) })
		if counts && int(c.local.Port()) == m.port() && (any || slices.Contains(here, c.local.Addr())) && !slices.Contains(excluded, c.peer.Addr()) {
			n++
		}
	}
	return n, nil
}

func addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fail("cannot find the address of %s: %v", host, err)
	}
	for i := range found {
		found[i] = found[i].Unmap()
	}
	return found, nil
}

type tcpConnection struct {
	local, peer netip.AddrPort
	state       string
}

// tcpConnections are those of the machine, IPv4 and IPv6.
func tcpConnections() []tcpConnection {
	var all []tcpConnection
	for _, path := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(path)
		if err != nil {
			continue // no IPv6
		}
		lines := bufio.NewScanner(f)
		lines.Scan() // the heading
		for lines.Scan() {
			if c, ok := parseConnection(strings.Fields(lines.Text())); ok {
				all = append(all, c)
			}
		}
		_ = f.Close()
	}
	return all
}

func parseConnection(fields []string) (c tcpConnection, ok bool) {
	if len(fields) < 4 {
		return c, false
	}
	state, err := strconv.ParseUint(fields[3], 16, 8)
	if err != nil || state < 1 || int(state) > len(tcpStates) {
		return c, false
	}
	c.state = tcpStates[state-1]
	var okLocal, okPeer bool
	c.local, okLocal = parseKernelAddr(fields[1])
	c.peer, okPeer = parseKernelAddr(fields[2])
	return c, okLocal && okPeer
}

// parseKernelAddr reads 0100007F:1F90: an address in words of the machine's byte order, which is little-endian wherever calroll
// runs, and a port.
func parseKernelAddr(text string) (netip.AddrPort, bool) {
	addr, port, ok := strings.Cut(text, ":")
	raw, err := hex.DecodeString(addr)
	n, perr := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || perr != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		slices.Reverse(raw[i : i+4])
	}
	ip, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)), ok
}

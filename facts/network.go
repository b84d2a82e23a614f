package facts

import (
	"context"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// network lists the interfaces with their addresses, and those through which the rest of the world is reached.
func network(_ context.Context, h *host) map[string]any {
	n := &interfaces{byName: map[string]map[string]any{}, v4: []string{}, v6: []string{}}
	names := h.list("/sys/class/net")
	names = slices.DeleteFunc(names, func(name string) bool { return !h.exists("/sys/class/net/" + name + "/mtu") }) // bonding_masters is a file
	for _, name := range names {
		n.byName[name] = h.netInterface(name)
	}
	n.addresses()
	facts := map[string]any{
		"interfaces": slices.Sorted(maps.Keys(n.byName)), "all_ipv4_addresses": n.v4, "all_ipv6_addresses": n.v6,
		"default_ipv4": n.way(net.IPv4(8, 8, 8, 8), "ipv4"), "default_ipv6": n.way(net.ParseIP("2404:6800:400a:800::1012"), "ipv6"),
	}
	for name, i := range n.byName {
		facts[factName(name)] = i
	}
	return facts
}

var noFactName = regexp.MustCompile(`[-:.]`)

func factName(device string) string { return noFactName.ReplaceAllString(device, "_") }

// linkTypes are names of the numbers in /sys/class/net/*/type.
var linkTypes = map[string]string{"1": "ether", "32": "infiniband", "512": "ppp", "772": "loopback", "65534": "tunnel"}

// netInterface is an interface without its addresses.
func (h *host) netInterface(name string) map[string]any {
	at := "/sys/class/net/" + name + "/"
	i := map[string]any{"device": name, "active": h.read(at+"operstate") != "down", "type": "unknown"}
	if mac := h.read(at + "address"); mac != "" && mac != "00:00:00:00:00:00" {
		i["macaddress"] = mac
	}
	if n, err := strconv.Atoi(h.read(at + "mtu")); err == nil {
		i["mtu"] = n
	}
	if n, err := strconv.Atoi(h.read(at + "speed")); err == nil {
		i["speed"] = n
	}
	if t, ok := linkTypes[h.read(at+"type")]; ok {
		i["type"] = t
	}
	if flags, err := strconv.ParseUint(h.read(at+"flags"), 0, 32); err == nil {
		i["promisc"] = flags&unix.IFF_PROMISC != 0
	}
	if m := h.link(at + "device/driver/module"); m != "" {
		i["module"] = m
	}
	if id := h.link(at + "device"); id != "" {
		i["pciid"] = id
	}
	h.bridge(at, i)
	h.bond(at, i)
	return i
}

func (h *host) bridge(at string, i map[string]any) {
	if !h.exists(at + "bridge") {
		return
	}
	i["type"], i["interfaces"] = "bridge", orEmpty(h.list(at+"brif"))
	if id := h.read(at + "bridge/bridge_id"); id != "" {
		i["id"] = id
	}
	if stp := h.read(at + "bridge/stp_state"); stp != "" {
		i["stp"] = stp == "1"
	}
}

func (h *host) bond(at string, i map[string]any) {
	if !h.exists(at + "bonding") {
		return
	}
	mode, _, _ := strings.Cut(h.read(at+"bonding/mode"), " ")
	lacp, _, _ := strings.Cut(h.read(at+"bonding/lacp_rate"), " ")
	i["type"], i["mode"], i["lacp_rate"], i["miimon"] = "bonding", mode, lacp, h.read(at+"bonding/miimon")
	i["slaves"] = strings.Fields(h.read(at + "bonding/slaves"))
	i["all_slaves_active"] = h.read(at+"bonding/all_slaves_active") == "1"
	if p := h.read(at + "bonding/primary"); p != "" {
		i["primary"] = p
	}
}

// interfaces are the interfaces with their addresses.
type interfaces struct {
	byName map[string]map[string]any
	v4, v6 []string // addresses that others may know us by
	labels map[string]string
}

func (n *interfaces) addresses() {
	n.labels = map[string]string{}
	all, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return // without netlink there are interfaces without addresses
	}
	for _, a := range all {
		link, err := net.InterfaceByIndex(a.LinkIndex)
		if err != nil || n.byName[link.Name] == nil {
			continue // gone meanwhile
		}
		if a.IP.To4() != nil {
			n.addIPv4(link.Name, a)
		} else {
			n.addIPv6(link.Name, a)
		}
	}
}

func (n *interfaces) addIPv4(name string, a netlink.Addr) {
	prefix, _ := a.Mask.Size()
	value := map[string]any{"address": a.IP.String(), "netmask": net.IP(a.Mask).String(), "network": a.IP.Mask(a.Mask).String(), "prefix": strconv.Itoa(prefix), "broadcast": ""}
	if a.Broadcast != nil {
		value["broadcast"] = a.Broadcast.String()
	}
	i := n.byName[name]
	switch {
	case a.Label != "" && a.Label != name: // eth0:1 counts as an interface of its own
		n.byName[strings.ReplaceAll(a.Label, ":", "_")] = map[string]any{"ipv4": value}
	case i["ipv4"] == nil:
		i["ipv4"] = value
	default:
		more, _ := i["ipv4_secondaries"].([]any)
		i["ipv4_secondaries"] = append(more, value)
	}
	n.labels[a.IP.String()] = first(a.Label, name)
	if a.IP[len(a.IP)-4] != 127 {
		n.v4 = append(n.v4, a.IP.String())
	}
}

// scopes are names of rtnetlink's scopes.
var scopes = map[int]string{unix.RT_SCOPE_UNIVERSE: "global", unix.RT_SCOPE_SITE: "site", unix.RT_SCOPE_LINK: "link", unix.RT_SCOPE_HOST: "host"}

func (n *interfaces) addIPv6(name string, a netlink.Addr) {
	prefix, _ := a.Mask.Size()
	more, _ := n.byName[name]["ipv6"].([]any)
	n.byName[name]["ipv6"] = append(more, map[string]any{"address": a.IP.String(), "prefix": strconv.Itoa(prefix), "scope": scopes[a.Scope]})
	if !a.IP.IsLoopback() {
		n.v6 = append(n.v6, a.IP.String())
	}
}

// way is the interface and address from which a far address would be reached. Nothing is sent.
func (n *interfaces) way(to net.IP, family string) map[string]any {
	d := map[string]any{}
	routes, err := netlink.RouteGet(to)
	if err != nil || len(routes) == 0 || routes[0].Src == nil {
		return d
	}
	r := routes[0]
	link, err := net.InterfaceByIndex(r.LinkIndex)
	if err != nil || n.byName[link.Name] == nil {
		return d
	}
	i := n.byName[link.Name]
	d["interface"], d["address"] = link.Name, r.Src.String()
	if r.Gw != nil {
		d["gateway"] = r.Gw.String()
	}
	for _, name := range []string{"macaddress", "mtu", "type"} {
		if i[name] != nil {
			d[name] = i[name]
		}
	}
	if family == "ipv4" {
		d["alias"] = first(n.labels[r.Src.String()], link.Name)
	}
	for name, value := range addressOf(i, family, r.Src.String()) {
		d[name] = value
	}
	return d
}

// addressOf is what an interface says of one of its addresses.
func addressOf(i map[string]any, family, address string) map[string]any {
	list, _ := i["ipv6"].([]any)
	if family == "ipv4" {
		list, _ = i["ipv4_secondaries"].([]any)
		list = append([]any{i["ipv4"]}, list...)
	}
	for _, v := range list {
		if m, ok := v.(map[string]any); ok && m["address"] == address {
			return m
		}
	}
	return nil
}

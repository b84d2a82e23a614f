package facts

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
)

func network(context.Context, *Setup) found {
	f := found{}
	links, err := netlink.LinkList()
	if err != nil {
		return f
	}
	var names, v4, v6 []any
	byIndex := map[int]map[string]any{}
	for _, l := range links {
		a := l.Attrs()
		names = append(names, a.Name)
		facts := interfaceFacts(l)
		own4, own6 := addresses(l, facts)
		if a.Flags&net.FlagLoopback == 0 {
			v4, v6 = append(v4, own4...), append(v6, own6...)
		}
		byIndex[a.Index] = facts
		f[factName(a.Name)] = facts
	}
	f["interfaces"], f["all_ipv4_addresses"], f["all_ipv6_addresses"] = names, orEmpty(v4), orEmpty(v6)
	f["default_ipv4"] = defaultRoute(netlink.FAMILY_V4, net.IPv4(8, 8, 8, 8), byIndex)
	f["default_ipv6"] = defaultRoute(netlink.FAMILY_V6, net.ParseIP("2404:6800:400a:800::1012"), byIndex)
	return f
}

func orEmpty(list []any) []any {
	if list == nil {
		return []any{}
	}
	return list
}

// factName is an interface's name as a variable can have it.
func factName(name string) string {
	return strings.NewReplacer("-", "_", ":", "_", ".", "_").Replace(name)
}

func interfaceFacts(l netlink.Link) map[string]any {
	a := l.Attrs()
	up := a.Flags&net.FlagUp != 0
	dir := "/sys/class/net/" + a.Name
	facts := map[string]any{"device": a.Name, "mtu": a.MTU, "active": up, "promisc": a.Promisc != 0, "type": "ether"}
	switch {
	case a.Flags&net.FlagLoopback != 0:
		facts["type"] = "loopback"
	case exists(dir + "/bridge"):
		facts["type"] = "bridge"
		facts["id"], facts["stp"] = read(dir+"/bridge/bridge_id"), read(dir+"/bridge/stp_state") == "1"
		facts["interfaces"] = below(dir + "/brif")
	case exists(dir + "/bonding"):
		facts["type"] = "bonding"
	}
	if state := read(dir + "/operstate"); state == "down" {
		facts["active"] = false
	}
	if len(a.HardwareAddr) > 0 && facts["type"] != "loopback" {
		facts["macaddress"] = a.HardwareAddr.String()
	}
	if speed, err := strconv.Atoi(read(dir + "/speed")); err == nil {
		facts["speed"] = speed
	}
	if driver, err := os.Readlink(dir + "/device/driver/module"); err == nil {
		facts["module"] = filepath.Base(driver)
	}
	return facts
}

func below(dir string) []any {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return []any{}
	}
	names := make([]any, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

// addresses adds an interface's addresses to its facts: the first of IPv4 under ipv4, the others as secondaries.
func addresses(l netlink.Link, facts map[string]any) (v4, v6 []any) {
	list, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return nil, nil
	}
	var six, second []any
	for _, a := range list {
		ones, _ := a.Mask.Size()
		if ip := a.IP.To4(); ip == nil {
			six = append(six, map[string]any{"address": a.IP.String(), "prefix": strconv.Itoa(ones), "scope": scope(a.Scope)})
			v6 = append(v6, a.IP.String())
			continue
		}
		entry := ipv4Facts(a, ones)
		if facts["ipv4"] == nil {
			facts["ipv4"] = entry
		} else {
			second = append(second, entry)
		}
		v4 = append(v4, a.IP.String())
	}
	if six != nil {
		facts["ipv6"] = six
	}
	if second != nil {
		facts["ipv4_secondaries"] = second
	}
	return v4, v6
}

func ipv4Facts(a netlink.Addr, ones int) map[string]any {
	entry := map[string]any{"address": a.IP.String(), "netmask": net.IP(a.Mask).String(), "network": a.IP.Mask(a.Mask).String(),
		"prefix": strconv.Itoa(ones), "broadcast": ""}
	if a.Broadcast != nil && !a.Broadcast.Equal(a.IP) {
		entry["broadcast"] = a.Broadcast.String()
	}
	return entry
}

func scope(s int) string {
	switch s {
	case int(netlink.SCOPE_LINK):
		return "link"
	case int(netlink.SCOPE_HOST):
		return "host"
	case int(netlink.SCOPE_SITE):
		return "site"
	}
	return "global"
}

// defaultRoute is how the host reaches a far address: the interface, its address, and the gateway.
func defaultRoute(family int, far net.IP, byIndex map[int]map[string]any) map[string]any {
	routes, err := netlink.RouteGet(far)
	if err != nil || len(routes) == 0 || routes[0].Src == nil {
		return map[string]any{}
	}
	r := routes[0]
	link := byIndex[r.LinkIndex]
	if link == nil {
		return map[string]any{}
	}
	f := map[string]any{"interface": link["device"], "address": r.Src.String()}
	if r.Gw != nil {
		f["gateway"] = r.Gw.String()
	}
	for _, name := range []string{"macaddress", "mtu", "type"} {
		if v, ok := link[name]; ok {
			f[name] = v
		}
	}
	f["alias"] = link["device"]
	if family == netlink.FAMILY_V6 {
		delete(f, "alias")
		return withPrefix(f, link)
	}
	if v4, ok := link["ipv4"].(map[string]any); ok {
		for _, name := range []string{"netmask", "network", "broadcast", "prefix"} {
			f[name] = v4[name]
		}
	}
	return f
}

func withPrefix(f, link map[string]any) map[string]any {
	six, _ := link["ipv6"].([]any)
	for _, e := range six {
		if entry, ok := e.(map[string]any); ok && entry["address"] == f["address"] {
			f["prefix"], f["scope"] = entry["prefix"], entry["scope"]
		}
	}
	return f
}

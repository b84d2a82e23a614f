package testenv

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"
)

// Each lab has a /24 of this block. It is outside what Calico, Kubernetes, DC/OS and Docker
// use by default, so that a host can have those inside.
var labBlock = netip.MustParsePrefix("10.213.0.0/16")

const (
	firstHost = 11 // node1's last number; below it are the gateway and room for services
	maxHosts  = 240
)

// createNetwork makes the lab's network on a subnet that neither the engine's networks nor
// the routes of the machine know.
func (l *Lab) createNetwork(ctx context.Context) error {
	used, err := l.engine.usedPrefixes(ctx)
	if err != nil {
		return fmt.Errorf("cannot make a network for lab %s: %w", l.Name, err)
	}
	for _, subnet := range candidates(l.Name) {
		if overlapsAny(subnet, used) {
			continue
		}
		err := l.createNetworkOn(ctx, subnet)
		if err == nil {
			return nil
		}
		// Another lab may have taken the subnet in between; the engine refuses overlaps.
		if !strings.Contains(err.Error(), "overlap") {
			return fmt.Errorf("cannot make a network for lab %s: %w", l.Name, err)
		}
	}
	return fmt.Errorf("cannot make a network for lab %s: every subnet of %s is in use", l.Name, labBlock)
}

func (l *Lab) createNetworkOn(ctx context.Context, subnet netip.Prefix) error {
	gateway := addressIn(subnet, 1)
	l.network = "calroll-" + l.Name
	_, err := l.engine.NetworkCreate(ctx, l.network, network.CreateOptions{
		Driver: "bridge",
		IPAM: &network.IPAM{
			Config: []network.IPAMConfig{{Subnet: subnet.String(), Gateway: gateway.String()}},
		},
		Labels: l.labels(),
	})
	if err == nil {
		l.Subnet, l.Gateway = subnet, gateway
	}
	return err
}

// candidates are the subnets of the block. Names start at different ones, so that labs that
// start at the same time seldom want the same.
func candidates(name string) []netip.Prefix {
	sum := fnv.New32a()
	sum.Write([]byte(name))
	start := sum.Sum32()
	block := labBlock.Addr().As4()
	var subnets []netip.Prefix
	for i := range uint32(256) {
		block[2] = byte(start + i)
		subnets = append(subnets, netip.PrefixFrom(netip.AddrFrom4(block), 24))
	}
	return subnets
}

func addressIn(subnet netip.Prefix, last int) netip.Addr {
	a := subnet.Addr().As4()
	a[3] = byte(last)
	return netip.AddrFrom4(a)
}

func overlapsAny(p netip.Prefix, others []netip.Prefix) bool {
	for _, o := range others {
		if p.Overlaps(o) {
			return true
		}
	}
	return false
}

// usedPrefixes are the IPv4 networks of the engine, the addresses of the machine and the
// destinations of its routes, except the default route.
func (e *engine) usedPrefixes(ctx context.Context) ([]netip.Prefix, error) {
	var used []netip.Prefix
	networks, err := e.NetworkList(ctx, network.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, n := range networks {
		for _, c := range n.IPAM.Config {
			if p, err := netip.ParsePrefix(c.Subnet); err == nil && p.Addr().Is4() {
				used = append(used, p)
			}
		}
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			used = append(used, p)
		}
	}
	routes, err := routedPrefixes()
	return append(used, routes...), err
}

// routedPrefixes reads /proc/net/route: a heading, then lines of interface, destination,
// gateway, flags, reference count, uses, metric, mask and more. The numbers are hexadecimal
// and in the byte order of the machine.
func routedPrefixes() ([]netip.Prefix, error) {
	f, err := os.Open("/proc/net/route")
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	var routes []netip.Prefix
	for s := bufio.NewScanner(f); s.Scan(); {
		words := strings.Fields(s.Text())
		if len(words) < 8 {
			continue
		}
		destination, err1 := strconv.ParseUint(words[1], 16, 32)
		mask, err2 := strconv.ParseUint(words[7], 16, 32)
		if err1 != nil || err2 != nil || mask == 0 {
			continue
		}
		var a, m [4]byte
		binary.NativeEndian.PutUint32(a[:], uint32(destination))
		binary.NativeEndian.PutUint32(m[:], uint32(mask))
		bits, _ := net.IPMask(m[:]).Size()
		routes = append(routes, netip.PrefixFrom(netip.AddrFrom4(a), bits))
	}
	return routes, nil
}

func (e *engine) removeNetworks(ctx context.Context, lab string) error {
	networks, err := e.NetworkList(ctx, network.ListOptions{Filters: labFilter(lab)})
	if err != nil {
		return err
	}
	for _, n := range networks {
		if err := e.NetworkRemove(ctx, n.ID); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	}
	return nil
}

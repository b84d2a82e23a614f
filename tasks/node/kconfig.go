package node

import (
	"bufio"
	"compress/gzip"
	"io"
	"os"
	"strings"
)

// options are the kernel configuration options of modules that a host's networking may ask for and that show nowhere else.
var options = map[string]string{
	"br_netfilter": "BRIDGE_NETFILTER", "bridge": "BRIDGE", "dummy": "DUMMY", "ip_set": "IP_SET", "ip_tables": "IP_NF_IPTABLES",
	"ip6_tables": "IP6_NF_IPTABLES", "ip_vs": "IP_VS", "ip_vs_rr": "IP_VS_RR", "ip_vs_wrr": "IP_VS_WRR", "ip_vs_sh": "IP_VS_SH", "ipip": "NET_IPIP",
	"iptable_filter": "IP_NF_FILTER", "iptable_mangle": "IP_NF_MANGLE", "iptable_nat": "IP_NF_NAT", "iptable_raw": "IP_NF_RAW",
	"ip6table_filter": "IP6_NF_FILTER", "ip6table_mangle": "IP6_NF_MANGLE", "ip6table_nat": "IP6_NF_NAT", "ip6table_raw": "IP6_NF_RAW",
	"nf_conntrack": "NF_CONNTRACK", "nf_nat": "NF_NAT", "nf_tables": "NF_TABLES", "nfnetlink": "NETFILTER_NETLINK", "nf_conntrack_netlink": "NF_CT_NETLINK",
	"overlay": "OVERLAY_FS", "sctp": "IP_SCTP", "tun": "TUN", "veth": "VETH", "vxlan": "VXLAN", "wireguard": "WIREGUARD", "x_tables": "NETFILTER_XTABLES",
	"ip_set_hash_ip": "IP_SET_HASH_IP", "ip_set_hash_net": "IP_SET_HASH_NET", "ip_set_hash_ipport": "IP_SET_HASH_IPPORT", "8021q": "VLAN_8021Q", "ipvlan": "IPVLAN",
	"macvlan": "MACVLAN", "sch_htb": "NET_SCH_HTB", "sch_tbf": "NET_SCH_TBF", "sch_ingress": "NET_SCH_INGRESS", "cls_bpf": "NET_CLS_BPF", "fou": "NET_FOU", "ip_gre": "NET_IPGRE",
}

// configured tells whether the kernel has the module built in; known is false when it does not show its configuration.
func configured(module string) (has, known bool) {
	option, ok := options[module]
	if !ok {
		return false, false
	}
	for _, path := range []string{"/proc/config.gz", "/boot/config-" + kernelRelease()} {
		if f, err := os.Open(path); err == nil {
			defer f.Close()
			return configHas(f, strings.HasSuffix(path, ".gz"), "CONFIG_"+option+"=y"), true
		}
	}
	return false, false
}

func configHas(r io.Reader, zipped bool, line string) bool {
	if zipped {
		z, err := gzip.NewReader(r)
		if err != nil {
			return false
		}
		r = z
	}
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if lines.Text() == line {
			return true
		}
	}
	return false
}

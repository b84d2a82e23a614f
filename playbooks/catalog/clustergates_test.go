package catalog_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// kddVars is a host whose Calico shall keep its data in Kubernetes.
const kddVars = `
datastore: kdd
mode: hosted
pool_cidr: 192.168.0.0/16
pool_encap: vxlan-always
kubeconfig: /k
`

// clusterFacts are what kube_facts and host_facts find in a cluster of two nodes without a network, as kubeadm leaves it.
const clusterFacts = `
kube_error: ""
kube_version: 1.29.15
kube_served: [v1, apps/v1]
kube_nodes:
- {metadata: {name: node1}, spec: {podCIDR: 192.168.0.0/24, podCIDRs: [192.168.0.0/24]}, status: {nodeInfo: {operatingSystem: linux}}}
- {metadata: {name: node2}, spec: {podCIDR: 192.168.1.0/24, podCIDRs: [192.168.1.0/24]}, status: {nodeInfo: {operatingSystem: linux}}}
kube_node_count: 2
kube_pod_cidrs: [192.168.0.0/24, 192.168.1.0/24]
kube_flags_of: &flags_of
  node1: &flags
    kube-apiserver: {secure-port: "6443", service-cluster-ip-range: 10.96.0.0/16, client-ca-file: /pki/ca.crt, requestheader-client-ca-file: /pki/front-proxy-ca.crt,
      requestheader-username-headers: X-Remote-User, requestheader-group-headers: X-Remote-Group, requestheader-extra-headers-prefix: X-Remote-Extra-,
      proxy-client-cert-file: /pki/p.crt, proxy-client-key-file: /pki/p.key, service-account-key-file: /pki/sa.pub}
    kube-controller-manager: {allocate-node-cidrs: "true", cluster-cidr: 192.168.0.0/16}
kube_flags: *flags
kube_cluster_cidr: 192.168.0.0/16
kube_cluster_cidr_source: the flag --cluster-cidr of kube-controller-manager on node1
kube_service_cidr: 10.96.0.0/16
kube_configmaps: {extension-apiserver-authentication: {requestheader-client-ca-file: pem}, calico-config: {}}
kube_installed: {mode: "", datastore: "", option: "", product: "", version: ""}
kube_pools: []
kube_typha: {}
kube_flannels: []
kube_host_endpoints: []
host_has_kubelet: true
node2: {calico_nodename: node2}
`

// soundCluster is a cluster on which no gate closes, with other things found on its first host.
func soundCluster(pairs ...string) string {
	return found(append([]string{"kubeproxy_argv", "kube-proxy --config=/c", "containerd_dirs", "/opt/cni/bin /etc/cni/net.d ", "routes", "192.168.1.0/24"}, pairs...)...) + clusterFacts
}

// flags are those of the only control plane host, in place of those of clusterFacts.
func flags(apiserver, manager string) string {
	return fmt.Sprintf("kube_flags_of: {node1: &f {kube-apiserver: {%s}, kube-controller-manager: {%s}}}\nkube_flags: *f\n", apiserver, manager)
}

const (
	aggregation = "requestheader-client-ca-file: /a, requestheader-username-headers: u, requestheader-group-headers: g, requestheader-extra-headers-prefix: e, " +
		"proxy-client-cert-file: c, proxy-client-key-file: k"
	allocating = "allocate-node-cidrs: 'true', cluster-cidr: 192.168.0.0/16"
)

// nodeFact is a Node with one pod network; "" is none.
func nodeFact(name, cidr string) string {
	if cidr != "" {
		cidr = "podCIDR: " + cidr
	}
	return fmt.Sprintf("{metadata: {name: %s}, spec: {%s}, status: {nodeInfo: {operatingSystem: linux}}}", name, cidr)
}

func nodeFacts(cidrs ...string) string {
	var nodes, nets []string
	for i, cidr := range cidrs {
		nodes = append(nodes, nodeFact(fmt.Sprintf("node%d", i+1), cidr))
		if cidr != "" {
			nets = append(nets, cidr)
		}
	}
	return "kube_nodes: [" + strings.Join(nodes, ", ") + "]\nkube_pod_cidrs: [" + strings.Join(nets, ", ") + "]\n"
}

func pool(name, cidr, ipip, vxlan string) string {
	return fmt.Sprintf("{metadata: {name: %s}, spec: {cidr: %s, ipipMode: %s, vxlanMode: %s}}", name, cidr, ipip, vxlan)
}

// nodeCPUs is the cluster whose first node has so many CPUs, and so many for pods.
func nodeCPUs(capacity, allocatable string) string {
	first := fmt.Sprintf("{metadata: {name: node1}, status: {capacity: {cpu: %q}, allocatable: {cpu: %s}}}", capacity, allocatable)
	return "kube_nodes: [" + first + ", " + nodeFact("node2", "") + "]\n"
}

// proxyConfig is the ConfigMap that kubeadm gives kube-proxy.
func proxyConfig(mode string) string {
	return "kube_configmaps: {kube-proxy: {config.conf: 'mode: " + mode + "'}, extension-apiserver-authentication: {requestheader-client-ca-file: pem}, calico-config: {}}\n"
}

func installed(mode, datastore, option, product, version string) string {
	return fmt.Sprintf("kube_installed: {mode: %q, datastore: %q, option: %q, product: %q, version: %q}\n", mode, datastore, option, product, version)
}

// ipamIs is the ConfigMap of an installation that takes addresses from somewhere.
func ipamIs(ipam string) string {
	return "kube_configmaps: {calico-config: {cni_network_config: '{\"ipam\": {\"type\": \"" + ipam + "\"}}'}}\n"
}

// idlePolicies are NetworkPolicies that a release wakes.
func idlePolicies(turn string) string {
	return "kube_policy_turn: '" + turn + "'\nkube_idle_policies: [shop/web, shop/db]\n"
}

// typhaOn are pods of Typha on nodes, as node-remove finds them.
func typhaOn(nodes ...string) string {
	var pods []string
	for _, n := range nodes {
		pods = append(pods, "{spec: {nodeName: "+n+"}, status: {phase: Running}}")
	}
	return "node_remove_typha: {resources: [" + strings.Join(pods, ", ") + "]}\n"
}

// gateCase is a cluster on which one gate closes, and it alone among those of its topic.
type gateCase struct {
	topic, gate, vars, facts, found, remedy string
	open                                    [2]string // settings and facts near to these on which no gate of the topic closes; "" for the sound cluster
}

// Settings and facts of migrations on which no gate closes.
const (
	tprVars      = "purge_old: false\ncalico_version: v2.6.12\n"
	moveIPAM     = "ipam: calico-ipam\netcd_endpoints: [http://e:2379]\n"
	moveVars     = "migration_finish: false\n" + moveIPAM
	moveStart    = "datastore_stage: start\ndatastore_etcd_info: {spec: {clusterGUID: a}}\ndatastore_strange_nodes: []\n"
	convertVars  = "etcd_endpoints: [http://e:2379]\nmigration_finish: false\nv3_data: stop\ncalico_upgrade_path: /usr/local/bin/calico-upgrade\n"
	convertFacts = "etcd_look_v2: {failed: false}\netcd_look_program: {stat: {executable: true}}\n"
)

var (
	tprOpen     = [2]string{tprVars, installed("hosted", "kdd", "networking", "calico", "2.4.1") + "kube_version: 1.7.16\n"}
	moveOpen    = [2]string{moveVars, moveStart}
	convertOpen = [2]string{convertVars, convertFacts + "etcd_migration_stage: start\n"}
)

var clusterCases = []gateCase{
	{topic: "cluster", gate: "G-25 stop", facts: "kube_error: \"x509: unknown authority\"\nkube_nodes: []\nkube_flags_of: {}\nkube_flags: {}\n", found: "/etc/kubernetes/admin.conf on node1: x509: unknown authority", remedy: "set kubeconfig_admin"},
	{topic: "cluster", gate: "G-25 stop", facts: "kube_rights: false\n", found: "may not do everything", remedy: "cluster-admin"},
	{topic: "cluster", gate: "P-11 warn", facts: nodeCPUs("4", "200m"), found: "has 0.2 CPUs for pods", remedy: "may not be started", open: [2]string{"", nodeCPUs("1", "250m")}},
	{topic: "cluster", gate: "P-11 warn", vars: "mode: integrated\n", facts: nodeCPUs("2", "1800m"), found: "keeps back 0.2 CPUs", remedy: "--kube-reserved=cpu=250m",
		open: [2]string{"mode: integrated\n", nodeCPUs("2", "1750m")}},
	{topic: "cluster", gate: "G-07 stop", facts: "calico_nodename: node7\nnode2: {calico_nodename: node1}\n" + nodeFacts("192.168.0.0/24"), found: "no node node7; it has node1", remedy: "set nodename"},
	{topic: "cluster", gate: "G-07 stop", facts: nodeFacts("192.168.0.0/24", "192.168.1.0/24", "192.168.2.0/24"), found: "the nodes node3 are no hosts", remedy: "add them to the inventory",
		open: [2]string{"ansible_limit: node1\n", nodeFacts("192.168.0.0/24", "192.168.1.0/24", "192.168.2.0/24")}},
	{topic: "cluster", gate: "P-04 warn", facts: "kube_nodes: [" + nodeFact("node1", "") + ", " + nodeFact("node2", "") + ", {metadata: {name: win1}, spec: {}, status: {nodeInfo: {operatingSystem: windows}}}]\n", found: "win1 run Windows", remedy: "Linux nodes only"},
	{topic: "cluster", gate: "P-09 stop", facts: "kube_cluster_cidr: fd00::/48\n", found: "all IPv6: fd00::/48", remedy: "IPv4", open: [2]string{"", "kube_cluster_cidr: \"192.168.0.0/16,fd00::/48\"\n"}},
	{topic: "cluster", gate: "P-15 stop", facts: flags("secure-port: '0'", allocating), found: "--secure-port=0", remedy: "secure port", open: [2]string{"", flags("v: '2'", allocating)}},
	{topic: "cluster", gate: "P-16 stop", facts: soundCluster("kubeproxy_argv", "kube-proxy --proxy-mode=nftables"), found: "kube-proxy uses nftables", remedy: "Calico 3.29",
		open: [2]string{"calico_version: v3.29.1\n", soundCluster("kubeproxy_argv", "kube-proxy --proxy-mode=nftables")}},
	{topic: "cluster", gate: "P-16 stop", facts: proxyConfig("nftables"), found: "kube-proxy uses nftables", open: [2]string{"", proxyConfig("ipvs")}},
	{topic: "cluster", gate: "P-16 stop", facts: soundCluster("kubeproxy_mode", "nftables", "kubeproxy_argv", "kube-proxy --proxy-mode=iptables"), found: "kube-proxy uses nftables"},

	{topic: "installed", gate: "G-12 stop", facts: installed("hosted", "etcd", "networking", "calico", "3.28.5"), found: "keeps its data in etcd, and the Kubernetes API", remedy: "datastore-migrate",
		open: [2]string{"", installed("hosted", "kdd", "networking", "calico", "3.27.0")}},
	{topic: "installed", gate: "G-19 stop", facts: installed("operator", "kdd", "networking", "calico", "3.28.5"), found: "run by its operator", remedy: "Installation"},
	{topic: "installed", gate: "G-19 stop", facts: installed("hosted", "kdd", "policy-only", "calico", "3.28.5"), found: "hosted/policy-only, and hosted/networking", remedy: "set option to policy-only",
		open: [2]string{"option: policy-only\n", installed("hosted", "kdd", "policy-only", "calico", "3.28.5")}},
	{topic: "installed", gate: "G-19 stop", vars: "mode: integrated\n", facts: installed("hosted", "kdd", "networking", "calico", "3.28.5"), found: "integrated/networking was asked for", remedy: "not switched"},
	{topic: "installed", gate: "G-19 stop", vars: "product: cnx\n", facts: installed("hosted", "kdd", "networking", "calico", "3.28.5"), found: "Calico 3.28.5 is installed", remedy: "only Calico 3.0",
		open: [2]string{"product: cnx\n", installed("hosted", "kdd", "networking", "calico", "3.0.12")}},

	{topic: "kdd", gate: "P-10 stop", vars: "artifact_source: image\n", facts: soundCluster("runtimes", "") + "host_runtime: \"\"\nkdd_gets_calicoctl: true\n", found: "no container runtime is installed and running", remedy: "with_calicoctl",
		open: [2]string{"artifact_source: image\n", "host_runtime: docker\nkdd_gets_calicoctl: true\n"}},
	{topic: "kdd", gate: "G-11 stop", vars: "mode: integrated\ncalico_version: v2.4.1\n", found: "2.4.1 does not run as a unit", remedy: "Calico 2.5", open: [2]string{"mode: integrated\ncalico_version: v2.5.1\n", ""}},
	{topic: "kdd", gate: "G-15 stop", vars: "ipam: calico-ipam\ncalico_version: v3.5.8\n", found: "needs Calico 3.6", remedy: "host-local", open: [2]string{"ipam: calico-ipam\ncalico_version: v3.6.5\n", ""}},
	{topic: "kdd", gate: "G-16 stop", vars: "ipam: host-local\n", facts: flags("v: '2'", "allocate-node-cidrs: 'false', cluster-cidr: 192.168.0.0/16"), found: "on node1 runs without --allocate-node-cidrs=true", remedy: "--cluster-cidr",
		open: [2]string{"ipam: host-local\n", flags("v: '2'", allocating)}},
	{topic: "kdd", gate: "G-16 stop", vars: "ipam: host-local\n", facts: flags("v: '2'", "cluster-cidr: 192.168.0.0/16"), found: "on node1 runs without --allocate-node-cidrs=true"},
	{topic: "kdd", gate: "G-16 stop", vars: "ipam: host-local\n", facts: "kube_flags_of: {}\n" + nodeFacts("192.168.0.0/24", ""), found: "not seen on any control plane host",
		open: [2]string{"ipam: host-local\n", "kube_flags_of: {}\n"}},
	{topic: "kdd", gate: "G-17 stop", vars: "ipam: host-local\n", facts: flags("v: '2'", "allocate-node-cidrs: 'true'") + "kube_cluster_cidr: \"\"\n", found: "neither kube-controller-manager nor", remedy: "--cluster-cidr"},
	{topic: "kdd", gate: "G-17 stop", facts: "kube_flags_of: {node1: {kube-controller-manager: {" + allocating + "}}, node2: {kube-controller-manager: {allocate-node-cidrs: 'true', cluster-cidr: 10.0.0.0/8}}}\n", found: "192.168.0.0/16 and 10.0.0.0/8", remedy: "all of them the same"},
	{topic: "kdd", gate: "G-17 stop", vars: "ipam: host-local\npool_cidr: 192.168.0.0/17\n", found: "pool_cidr is 192.168.0.0/17, and the cluster CIDR is 192.168.0.0/16 (the flag --cluster-cidr of", remedy: "set pool_cidr to the cluster CIDR"},
	{topic: "kdd", gate: "G-17 stop", vars: "pool_cidr: 10.244.0.0/16\n", found: "not inside the cluster CIDR 192.168.0.0/16", remedy: "kube-proxy", open: [2]string{"pool_cidr: 10.244.0.0/16\n", "kube_cluster_cidr: 10.244.0.0/16\n"}},
	{topic: "kdd", gate: "G-17 warn", vars: "pool_cidr: 192.168.0.0/17\n", found: "only a part", remedy: "nothing"},
	{topic: "kdd", gate: "P-09 stop", vars: "ipam: host-local\n", facts: nodeFacts("192.168.0.0/24", ""), found: "node2 have no podCIDR", remedy: "wait"},
	{topic: "kdd", gate: "P-09 stop", vars: "ipam: host-local\n", facts: nodeFacts("192.168.0.0/24", "10.9.1.0/24"), found: "10.9.1.0/24 are outside", remedy: "delete those Node objects"},
	{topic: "kdd", gate: "P-09 stop", vars: "ipam: host-local\n", facts: nodeFacts("192.168.0.0/24", "192.168.0.0/24"), found: "nodes share a pod network", remedy: "register anew"},
	{topic: "kdd", gate: "G-24 ask", vars: "option: policy-only\n", facts: soundCluster("routes", "10.0.0.0/24"), found: "no route to the pod networks 192.168.1.0/24", remedy: "pod_routing", open: [2]string{"option: policy-only\n", ""}},
	{topic: "kdd", gate: "G-24 ask", vars: "option: policy-only\n", facts: soundCluster("routes", ""), found: "no route to the pod networks 192.168.1.0/24", remedy: "pod_routing",
		open: [2]string{"option: policy-only\n", soundCluster("routes", "") + "calico_nodename: control\n"}},
	{topic: "kdd", gate: "P-18 stop", vars: "option: flannel\n", facts: "kube_flannels: [kube-flannel-ds]\n", found: "the DaemonSet kube-flannel-ds", remedy: "take it away", open: [2]string{"option: flannel\n", ""}},
	{topic: "kdd", gate: "P-18 stop", vars: "option: flannel\n", facts: soundCluster("flannel_running", "yes"), found: "runs already on the host",
		open: [2]string{"option: flannel\n", soundCluster("flannel_running", "yes") + installed("hosted", "kdd", "flannel", "calico", "3.28.5")}},
	{topic: "kdd", gate: "P-18 stop", vars: "option: flannel\nflannel_network: 10.244.0.0/16\n", found: "flannel_network is 10.244.0.0/16", remedy: "leave flannel_network out"},
	{topic: "kdd", gate: "P-18 stop", vars: "option: flannel\n", facts: soundCluster("vxlan_ports", "vx9:8472"), found: "vx9:8472 has the UDP port", open: [2]string{"option: flannel\n", soundCluster("vxlan_ports", "flannel.1:8472")}},
	{topic: "kdd", gate: "G-26 stop", vars: "calico_version: v2.6.12\nfelix_config: {LogSeverityScreen: debug}\n", facts: "node2: {calico_nodename: node2}\ncalico_hosts: [node2, node1]\n", found: "differs from that of node2", remedy: "Calico 3",
		open: [2]string{"calico_version: v2.6.12\nfelix_config: {LogSeverityScreen: debug}\n", ""}},
	{topic: "kdd", gate: "P-12 stop", facts: "kube_version: 1.23.17\nhost_kubelet_argv: kubelet --v=2\n", found: "--network-plugin=cni", remedy: "start it with", open: [2]string{"", "kube_version: 1.23.17\nhost_kubelet_argv: kubelet --network-plugin=cni\n"}},
	{topic: "kdd", gate: "P-12 stop", facts: soundCluster("containerd_dirs", "/usr/libexec/cni /etc/cni/net.d"), found: "containerd looks for CNI in /usr/libexec/cni", remedy: "cni_bin_dir"},

	{topic: "pools", gate: "G-22 stop", facts: "kube_pools: [" + pool("old", "10.9.0.0/16", "Always", "Never") + "]\n", found: "the pool old 10.9.0.0/16 (ipip Always, vxlan Never)", remedy: "set pool_cidr and pool_encap",
		open: [2]string{"", "kube_pools: [" + pool("p", "192.168.0.0/16", "Never", "Always") + "]\n"}},
	{topic: "pools", gate: "G-22 stop", vars: "option: flannel\n", facts: "kube_pools: [" + pool("p", "192.168.0.0/16", "Never", "Always") + "]\n", found: "describe 192.168.0.0/16 (off)",
		open: [2]string{"option: flannel\n", "kube_pools: [" + pool("p", "192.168.0.0/16", "Never", "Never") + "]\n"}},
	{topic: "pools", gate: "G-22 stop", facts: "kube_pools: [" + pool("p", "192.168.0.0/16", "Never", "CrossSubnet") + "]\n", found: "vxlan CrossSubnet"},
	{topic: "pools", gate: "G-22 stop", facts: "kube_pools: [" + pool("p", "192.168.0.0/16", "Never", "Always") + ", " + pool("q", "10.9.0.0/16", "Never", "Never") + "]\n", found: "the pool q 10.9.0.0/16",
		open: [2]string{"pool_others: [10.9.0.0/16]\n", "kube_pools: [" + pool("p", "192.168.0.0/16", "Never", "Always") + ", " + pool("q", "10.9.0.0/16", "Never", "Never") + "]\n"}},
	{topic: "pools", gate: "G-36 stop", facts: "kube_service_cidr: 192.168.128.0/20\n", found: "the services' network 192.168.128.0/20", remedy: "choose a pool_cidr"},
	{topic: "pools", gate: "G-36 stop", vars: "pool_cidr: 169.254.8.0/21\n", found: "169.254.0.0/16"},
	{topic: "pools", gate: "G-17 warn", vars: "pool_cidr: 10.200.0.0/25\n", found: "has 2 blocks for 2 nodes", remedy: "larger pool_cidr", open: [2]string{"pool_cidr: 10.200.0.0/24\n", ""}},

	{topic: "scale", gate: "G-21 warn", vars: "typha: \"off\"\nexpected_nodes: 51\n", found: "51 nodes would watch", remedy: "auto or on", open: [2]string{"typha: \"off\"\nexpected_nodes: 50\n", ""}},
	{topic: "scale", gate: "G-21 stop", vars: "typha: off\nexpected_nodes: 101\nmesh: \"off\"\n", found: "101 nodes would watch", remedy: "essential", open: [2]string{"typha: auto\nexpected_nodes: 101\nmesh: \"off\"\n", ""}},
	{topic: "scale", gate: "G-21 stop", vars: "typha: \"off\"\ntypha_stop_nodes: 1\n", found: "2 nodes would watch"},
	{topic: "scale", gate: "G-21 stop", vars: "typha: \"on\"\ntypha_replicas: 0\n", found: "typha_replicas is 0", remedy: "1 or more", open: [2]string{"typha: \"on\"\ntypha_replicas: 1\n", ""}},
	{topic: "scale", gate: "G-21 stop", facts: "kube_typha: {wanted: calico-typha, replicas: 0}\n", found: "calico-typha, and its Deployment has no replicas", open: [2]string{"", "kube_typha: {wanted: none, replicas: 0}\n"}},
	{topic: "scale", gate: "G-23 ask", vars: "networking_backend: bird\npool_encap: \"off\"\nmesh_ask_nodes: 1\n", found: "every one of 2 nodes", remedy: "route reflectors",
		open: [2]string{"networking_backend: bird\npool_encap: \"off\"\nmesh_ask_nodes: 1\nrr_hosts: [node1, node2]\n", ""}},
	{topic: "scale", gate: "G-23 stop", vars: "rr_hosts: [node1]\n", found: "node1 would be the only route reflector", remedy: "two or more", open: [2]string{"rr_hosts: [node1, node2]\n", ""}},
	{topic: "scale", gate: "G-23 stop", vars: "rr_hosts: [node1, node2]\ncalico_version: v2.6.12\n", found: "cannot be made redundant", remedy: "bgp_peers"},

	{topic: "cnx", gate: "G-05 stop", facts: flags("proxy-client-cert-file: c, requestheader-client-ca-file: /a", allocating), found: "--requestheader-username-headers, --requestheader-group-headers, --requestheader-extra-headers-prefix, --proxy-client-key-file on node1", remedy: "aggregation layer",
		open: [2]string{"", flags(aggregation, allocating)}},
	{topic: "cnx", gate: "G-05 stop", facts: "kube_configmaps: {extension-apiserver-authentication: {}, calico-config: {}}\n", found: "has no requestheader-client-ca-file", remedy: "restart kube-apiserver"},
	{topic: "cnx", gate: "G-05 stop", facts: soundCluster("kubeproxy_argv", "-"), found: "--enable-aggregator-routing=true", remedy: "kube-proxy", open: [2]string{"", soundCluster("kubeproxy_argv", "-") + flags(aggregation+", enable-aggregator-routing: 'true'", allocating)}},
	{topic: "cnx", gate: "G-05 warn", facts: flags(aggregation+", client-ca-file: /a", allocating), found: "are the same /a", remedy: "a CA of its own"},
	{topic: "cnx", gate: "G-18 stop", vars: "image_registry: quay.io/\n", found: "image_registry is quay.io/, which is public", remedy: "private", open: [2]string{"image_registry: registry.internal:5000/cnx/\n", ""}},
	{topic: "cnx", gate: "G-18 stop", vars: "image_registry: \"\"\n", found: "Docker Hub"},
	{topic: "cnx", gate: "G-13 info", vars: "mode: integrated\n", facts: "kube_configmaps: {extension-apiserver-authentication: {requestheader-client-ca-file: pem}}\n", found: "no ConfigMap kube-system/calico-config", remedy: "it is made"},
	{topic: "cnx", gate: "P-20 stop", facts: soundCluster("busy_9081", "yes"), found: "TCP 9081", remedy: "reporter_port", open: [2]string{"", soundCluster("busy_9081", "yes", "calico_running", "yes")}},
	{topic: "cnx", gate: "G-42 stop", vars: "cnx_objects_translated: false\n", found: "Kubernetes 1.29.15 no longer serves", remedy: "cnx_manifest_dir"},
	{topic: "cnx", gate: "G-42 ask", vars: "cnx_objects_translated: false\n", facts: "kube_version: 1.21.14\n", found: "Kubernetes 1.21.14", open: [2]string{"cnx_objects_translated: false\n", "kube_version: 1.15.12\n"}},

	{topic: "manager", gate: "G-06 stop", vars: "cnx_auth: {type: Basic}\n", found: "Kubernetes 1.29.15 has no basic", remedy: "Token or OIDC", open: [2]string{"cnx_auth: {type: Basic}\n", "kube_version: 1.18.20\n" + flags("basic-auth-file: /b", allocating)}},
	{topic: "manager", gate: "G-06 stop", vars: "cnx_auth: {type: OIDC}\n", facts: flags("oidc-issuer-url: u", allocating), found: "lacks --oidc-client-id, --oidc-username-claim", remedy: "every kube-apiserver",
		open: [2]string{"cnx_auth: {type: OIDC}\n", flags("authentication-config: /c", allocating)}},
	{topic: "manager", gate: "G-06 stop", facts: flags("v: '2'", allocating), found: "lacks --token-auth-file"},
	{topic: "manager", gate: "G-06 stop", vars: "cnx_auth: {type: OAuth}\n", found: "which CNX 2.0.2 does not know", remedy: "Basic, Token", open: [2]string{"cnx_auth: {type: OAuth}\ncnx_version: v2.1.1\n", ""}},

	{topic: "monitoring", gate: "G-41 stop", vars: "monitoring: bundled\n", found: "cannot run on Kubernetes 1.29.15", remedy: "external", open: [2]string{"monitoring: bundled\n", "kube_version: 1.21.14\n"}},

	{topic: "upgrade", gate: "G-20 stop", vars: "calico_version: v2.4.1\n", facts: installed("hosted", "kdd", "networking", "calico", "2.1.5"), found: "Calico 2.1.5", remedy: "policy-only",
		open: [2]string{"calico_version: v2.4.1\noption: policy-only\n", installed("hosted", "kdd", "policy-only", "calico", "2.1.5")}},
	{topic: "upgrade", gate: "G-27 stop", facts: "kube_pools: [" + pool("p", "10.244.0.0/16", "Always", "Never") + "]\n", found: "10.244.0.0/16, and pool_cidr is 192.168.0.0/16", remedy: "changes no pool",
		open: [2]string{"", "kube_pools: [" + pool("p", "192.168.0.0/16", "Always", "Never") + "]\n"}},
	{topic: "upgrade", gate: "G-27 stop", facts: "kube_configmaps: {calroll-state: {cluster_cidr: 10.0.0.0/8}}\n", found: "was 10.0.0.0/8", remedy: "set it back"},
	{topic: "upgrade", gate: "G-28 stop", vars: "calico_version: v2.6.12\n", facts: installed("hosted", "kdd", "networking", "calico", "2.4.1"), found: "ThirdPartyResources", remedy: "kdd-migrate-25",
		open: [2]string{"calico_version: v2.6.12\n", installed("hosted", "kdd", "networking", "calico", "2.4.1") + "kube_configmaps: {calroll-state: {kdd_migrate_25: done}}\n"}},
	{topic: "upgrade", gate: "G-19 stop", vars: "ipam: calico-ipam\n", facts: ipamIs("host-local"), found: "come from host-local", remedy: "ipam_upgrade", open: [2]string{"ipam_upgrade: true\n", ipamIs("host-local")}},
	{topic: "upgrade", gate: "G-38 stop", vars: "ipam: host-local\n", facts: ipamIs("calico-ipam"), found: "come from calico-ipam", remedy: "no way back", open: [2]string{"", ipamIs("calico-ipam")}},
	{topic: "upgrade", gate: "G-38 stop", vars: "calico_version: v3.2.8\nipam: host-local\n", facts: "kube_pools: [{metadata: {name: p}, spec: {cidr: 192.168.0.0/16, blockSize: 24}}]\n", found: "blockSize is not 26", remedy: "3.3 or newer",
		open: [2]string{"calico_version: v3.2.8\nipam: host-local\n", "kube_pools: [{metadata: {name: p}, spec: {cidr: 192.168.0.0/16, blockSize: 26}}]\n"}},
	{topic: "upgrade", gate: "G-39 warn", facts: installed("hosted", "kdd", "networking", "calico", "3.27.5"), found: "other UIDs", remedy: "owner references", open: [2]string{"", installed("hosted", "kdd", "networking", "calico", "3.28.1")}},
	{topic: "hop", gate: "G-39 stop", vars: "calico_version: v2.6.12\n", facts: installed("hosted", "kdd", "networking", "calico", "2.4.1"), found: "no way from 2.4.1 to 2.6.12", remedy: "Only Kubernetes 1.7",
		open: [2]string{"calico_version: v2.6.12\n", installed("hosted", "kdd", "networking", "calico", "2.4.1") + "kube_version: 1.7.16\n"}},
	{topic: "hop", gate: "G-39 stop", vars: "calico_version: v3.1.7\n", facts: installed("hosted", "kdd", "networking", "calico", "2.6.2"), found: "no way from 2.6.2 to 3.1.7", remedy: "Upgrade to 2.6.5 or newer first.",
		open: [2]string{"calico_version: v3.1.7\n", installed("hosted", "kdd", "networking", "calico", "2.6.12")}},
	{topic: "hop", gate: "G-39 stop", vars: "calico_version: v3.1.7\ndatastore: etcd\n", facts: installed("integrated", "etcd", "networking", "calico", "2.6.12"), found: "no way from 2.6.12 to 3.1.7", remedy: "etcd-v2-to-v3",
		open: [2]string{"calico_version: v3.1.7\ndatastore: etcd\netcd_v2_to_v3: true\n", installed("integrated", "etcd", "networking", "calico", "2.6.12")}},
	{topic: "hop", gate: "G-39 stop", facts: installed("hosted", "kdd", "networking", "calico", "2.6.12"), found: "no way from 2.6.12 to 3.28.5", remedy: "Stop over at a release from 3.15 to 3.27"},
	{topic: "policies", gate: "G-39 ask", vars: "calico_version: v2.6.12\ndatastore: etcd\n", facts: idlePolicies("2.4"), found: "shop/web, shop/db do nothing yet", remedy: "delete what shall not count",
		open: [2]string{"calico_version: v2.3.0\ndatastore: etcd\n", idlePolicies("2.4")}},
	{topic: "policies", gate: "G-39 ask", vars: "calico_version: v2.5.1\n", facts: idlePolicies("2.3"), found: "from Calico 2.3 on", remedy: "ack",
		open: [2]string{"calico_version: v2.5.1\n", "kube_policy_turn: '2.3'\nkube_idle_policies: []\n"}},
	{topic: "upgrade", gate: "G-43 ask", vars: "calico_version: v3.27.5\n", facts: installed("hosted", "kdd", "networking", "calico", "3.13.5") + "kube_open_endpoints: [all1]\n", found: "all1 are for all interfaces", remedy: "write policies",
		open: [2]string{"calico_version: v3.27.5\n", installed("hosted", "kdd", "networking", "calico", "3.14.1") + "kube_open_endpoints: [all1]\n"}},
	{topic: "upgrade", gate: "G-43 stop", vars: "calico_version: v3.27.5\nwith_calicoctl: false\n", facts: installed("hosted", "kdd", "networking", "calico", "3.13.5") + "kube_open_endpoints: [all1]\n", found: "all1 are for all interfaces", remedy: "set with_calicoctl to true",
		open: [2]string{"calico_version: v3.27.5\nwith_calicoctl: false\n", installed("hosted", "kdd", "networking", "calico", "3.13.5") + "kube_open_endpoints: []\n"}},

	{topic: "remove", gate: "G-23 stop", vars: "rr_hosts: [node1, node7]\n", found: "node1 is a route reflector, and node7 would be left", remedy: "two or more",
		open: [2]string{"rr_hosts: [node1, node7, node8]\n", ""}},
	{topic: "remove", gate: "G-21 stop", facts: typhaOn("node1"), found: "Typha runs on node1 alone", remedy: "raise typha_replicas", open: [2]string{"", typhaOn("node1", "node7")}},

	{topic: "calicoctl", gate: "G-40 stop", facts: soundCluster("calicoctl", "3.27.0") + installed("hosted", "kdd", "networking", "calico", "3.28.5"), found: "calicoctl is 3.27.0, and the cluster has Calico 3.28.5", remedy: "install calicoctl 3.28.5",
		open: [2]string{"", soundCluster("calicoctl", "3.28.5") + installed("hosted", "kdd", "networking", "calico", "3.28.5")}},

	{topic: "uninstall", gate: "G-19 stop", facts: installed("operator", "kdd", "networking", "calico", "3.28.5"), found: "its operator", remedy: "Installation object", open: [2]string{"", installed("hosted", "kdd", "networking", "calico", "3.28.5")}},
	{topic: "uninstall", gate: "uninstall ask", facts: "uninstall_losers: [default/a, default/b]\n", found: "2 pods would lose their network: default/a, default/b", remedy: "delete them", open: [2]string{"", "uninstall_losers: []\n"}},
	{topic: "uninstall", gate: "purge_data ask", vars: "purge_data: true\n", found: "Calico keeps in the Kubernetes API", remedy: "leave purge_data out", open: [2]string{"purge_data: false\n", ""}},

	{topic: "images", gate: "P-10 stop", vars: "image_registry: registry.internal:5000/\n", facts: "preflight_registry_answer: {results: [{failed: true}, {failed: true}]}\n",
		found: "the host lacks the image registry.internal:5000/calico/node:v3.28.5, and the registry registry.internal:5000 does not answer", remedy: "preload",
		open: [2]string{"", "preflight_registry_answer: {results: [{failed: true}, {failed: false, status: 401}]}\n"}},
	{topic: "images", gate: "P-10 stop", facts: "preflight_archives: {results: [{item: {file: /a.tar, sha256: aa}, stat: {exists: false}}, {item: {file: /b.tar, sha256: BB}, stat: {exists: true, checksum: bb}}]}\n",
		found: "the archives /a.tar are not", remedy: "set their sums right", open: [2]string{"", "preflight_archives: {skipped: true}\npreflight_registry_answer: {results: [{skipped: true}]}\n"}},
	{topic: "tpr", gate: "G-12 stop", facts: installed("hosted", "etcd", "networking", "calico", "2.4.1") + "kube_version: 1.7.16\n", vars: tprVars, found: "keeps its data in etcd", remedy: "nothing to do", open: tprOpen},
	{topic: "tpr", gate: "G-39 stop", facts: installed("hosted", "kdd", "networking", "calico", "2.4.1") + "kube_version: 1.8.15\n", vars: tprVars, found: "Kubernetes 1.8.15 does not serve both", remedy: "only Kubernetes 1.7", open: tprOpen},
	{topic: "tpr", gate: "G-39 stop", facts: installed("hosted", "kdd", "networking", "calico", "2.6.12") + "kube_version: 1.7.16\n", vars: tprVars, found: "Calico 2.6.12 runs", remedy: "purge_old", open: tprOpen},
	{topic: "tpr", gate: "G-39 stop", facts: installed("hosted", "kdd", "networking", "calico", "2.3.0") + "kube_version: 1.7.16\n", vars: "purge_old: false\ncalico_version: v2.4.1\n", found: "Calico 2.4.1 reads ThirdPartyResources itself", remedy: "2.5.1 or newer", open: tprOpen},
	{topic: "tpr", gate: "G-38 ask", facts: installed("hosted", "kdd", "networking", "calico", "2.6.12"), vars: "purge_old: true\ncalico_version: v2.6.12\n", found: "no way back to Calico 2.4", remedy: "verify", open: tprOpen},
	{topic: "datastore_migration", gate: "G-12 stop", vars: moveVars, facts: "datastore_stage: start\ndatastore_etcd_info: {spec: {}}\ndatastore_strange_nodes: []\n", found: "no cluster of Calico in etcd", remedy: "etcd_endpoints", open: moveOpen},
	{topic: "datastore_migration", gate: "G-12 stop", vars: moveVars, facts: "datastore_stage: other\ndatastore_kube_objects: [{}, {}]\n", found: "2 objects of Calico that are not from the etcd", remedy: "delete the definitions", open: moveOpen},
	{topic: "datastore_migration", gate: "G-07 stop", vars: moveVars, facts: moveStart + "datastore_strange_nodes: [gone]\n", found: "the nodes gone of Calico", remedy: "calicoctl delete node", open: moveOpen},
	{topic: "datastore_migration", gate: "G-19 stop", vars: moveVars + "ipam: host-local\n", facts: moveStart, found: "networking with host-local", remedy: "ipam to calico-ipam", open: moveOpen},
	{topic: "datastore_migration", gate: "G-39 stop", vars: moveVars + "calico_version: v3.11.3\n", facts: moveStart, found: "calicoctl of Calico 3.11.3", remedy: "upgrade with etcd first", open: moveOpen},
	{topic: "datastore_migration", gate: "G-38 ask", vars: "migration_finish: true\n" + moveIPAM, facts: moveStart, found: "no way back to etcd", remedy: "migration_finish to false", open: moveOpen},
	{topic: "etcd_migration", gate: "G-12 stop", vars: convertVars, facts: convertFacts + "etcd_migration_stage: none\n", found: "nothing of Calico 2 in etcd", remedy: "--enable-v2=true", open: convertOpen},
	{topic: "etcd_migration", gate: "G-39 stop", vars: convertVars, facts: convertFacts + "etcd_migration_stage: leftover\netcd_migration_v3_keys: 7\n", found: "7 keys of Calico 3", remedy: "v3_data", open: convertOpen},
	{topic: "etcd_migration", gate: "G-39 stop", vars: convertVars + "calico_version: v2.6.12\n", facts: convertFacts + "etcd_migration_stage: start\n", found: "Calico 2.6.12 keeps its data", remedy: "3.0 to 3.27", open: convertOpen},
	{topic: "etcd_migration", gate: "G-39 stop", vars: convertVars, facts: "etcd_look_v2: {failed: false}\netcd_look_program: {stat: {exists: false}}\netcd_migration_stage: start\n", found: "no program /usr/local/bin/calico-upgrade", remedy: "calico_upgrade_path", open: convertOpen},
	{topic: "etcd_migration", gate: "G-39 stop", vars: convertVars, facts: convertFacts + "etcd_migration_stage: start\netcd_look_deployments: {resources: [{metadata: {name: web, namespace: shop}, spec: {replicas: 3}, status: {availableReplicas: 2, updatedReplicas: 3}}]}\n",
		found: "the Deployments shop/web", remedy: "wait until", open: convertOpen},
	{topic: "etcd_migration", gate: "G-38 ask", vars: "migration_finish: true\nv3_data: stop\ncalico_upgrade_path: /usr/local/bin/calico-upgrade\n", facts: convertFacts + "etcd_migration_stage: started\n", found: "costs pods that are made after it their network", remedy: "migration_finish", open: convertOpen},
}

// TestClusterGates closes each gate of the topics that kube_facts feeds, and it alone; near to it, it stays open.
func TestClusterGates(t *testing.T) {
	const others = "cnx_objects_translated: true\ncnx_auth: {type: Token}\nimage_registry: registry.internal/\nnetworking_backend: vxlan\n"
	for _, c := range clusterCases {
		got := closedOf(t, []any{c.topic}, kddVars+others+c.vars, soundCluster(), c.facts)
		if len(got) != 1 || !strings.HasPrefix(got[0], c.gate+": ") || !strings.Contains(got[0], c.found) || !strings.Contains(got[0], " -> ") || !strings.Contains(got[0], c.remedy) {
			t.Errorf("%s, %q and %q: got %q, want %s: ... %s ... %s", c.topic, c.vars, c.facts, got, c.gate, c.found, c.remedy)
		}
		open := closedOf(t, []any{c.topic}, kddVars+others+c.open[0], soundCluster(), c.open[1])
		if len(open) > 0 {
			t.Errorf("%s, %q and %q: %q", c.topic, c.open[0], c.open[1], open)
		}
	}
}

// TestEveryGateCloses: each gate is closed once by these tests.
func TestEveryGateCloses(t *testing.T) {
	tried := map[string]bool{}
	for _, c := range clusterCases {
		tried[strings.Fields(c.gate)[0]] = true
	}
	for _, c := range hostCases {
		tried[strings.Fields(c.gate)[0]] = true
	}
	for _, c := range dcosCases {
		tried[strings.Fields(c.gate)[0]] = true
	}
	var missing []string
	for _, g := range writtenGates(t) {
		if !tried[g.id] && !slices.Contains(missing, g.id) {
			missing = append(missing, g.id)
		}
	}
	if len(missing) > 0 {
		t.Errorf("no test closes %v", missing)
	}
}

package catalog_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/runner/action"
)

// soundFound is what host_facts finds on a host on which no gate closes.
var soundFound = map[string]string{"systemd": "yes", "kernel": "6.1.0-18-amd64", "skew": "0", "free_var": "9000", "free_opt": "9000", "load": "0.50",
	"cpus": "2", "runtimes": "docker", "bin_options": "rw,relatime", "modules_tree": "yes", "module_ip_set": "loaded", "module_ipip": "loadable",
	"module_ip6_tables": "loaded", "calico_active": "inactive", "cni_files": ""}

const soundRest = `
host_kubelet_argv: ""
preflight_etcd: {failed: false, skipped: false, changed: false}
preflight_etcd_port: {skipped: true, changed: false}
`

var soundHost = found()

// found is soundHost with other things found: names and values in turn. The value "-" takes a name out.
func found(pairs ...string) string {
	all := maps.Clone(soundFound)
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i]] = pairs[i+1]
		if pairs[i+1] == "-" {
			delete(all, pairs[i])
		}
	}
	text, _ := json.Marshal(all) // a map of strings always has JSON
	return "host_found: " + string(text) + "\n" + soundRest
}

// namesake makes the second host of the tests' inventory a node of the same name.
const namesake = "node2: {calico_nodename: node1}\n"

// etcdTopics are what calico-etcd evaluates.
var etcdTopics = []any{"host", "node", "unit", "etcd", "pools", "scale", "release", "hop"}

// closed are the gates of calico-etcd that close on a host: "id level: found -> remedy".
func closed(t *testing.T, hostVars string, facts ...string) []string {
	t.Helper()
	return closedOf(t, etcdTopics, hostVars, facts...)
}

// closedOf are the gates of some topics that close on a host.
func closedOf(t *testing.T, topics []any, hostVars string, facts ...string) []string {
	t.Helper()
	pb, err := calicoEtcd()
	if err != nil {
		t.Fatal(err)
	}
	plain, play := *pb, *pb.Plays[0]
	play.Vars = nil // the cases say themselves which playbook they stand for
	plain.Plays = []*playbooks.Play{&play}
	scope, task := playbookScope(t, expr.New(expr.Options{}), &plain, "preflight", hostVars, facts...)
	a, err := action.All()["gates"].Act(t.Context(), &action.Call{Task: task, Scope: scope, Args: map[string]any{"topics": topics}})
	if err != nil {
		t.Fatalf("%q and %q: %v", hostVars, facts, err)
	}
	var out []string
	for _, gate := range a.Result.Values["gates"].([]any) {
		g := gate.(map[string]any)
		out = append(out, fmt.Sprintf("%v %v: %v -> %v", g["id"], g["level"], g["found"], g["remedy"]))
	}
	return out
}

// hostCases are hosts on which one gate of calico-etcd closes: gate, settings, facts, what it says.
var hostCases = []struct{ gate, vars, facts, says string }{
	{"P-01 stop", "", found("skew", "7"), "the clock is 7 s off"},
	{"P-01 stop", "", found("uid", "1000"), "as the user with the number 1000"},
	{"P-01 stop", "", found("free_var", "400"), "only 400 MB free for /var/cache/calroll-artifacts"},
	{"P-02 stop", "", found("systemd", "-"), "does not run systemd"},
	{"P-02 stop", "", found("kernel", "3.9.1"), "kernel 3.9.1 is too old"},
	{"P-02 warn", "calico_version: v3.30.0\n", found("kernel", "5.4.0"), "older than the 5.10"},
	{"P-02 stop", "", found("module_ip_set", "missing"), "has no module ip_set"},
	{"P-02 stop", "", found("module_ipip", "missing", "modules_tree", "-"), "set pool_encap to \"off\""},
	{"P-02 stop", "calico_version: v3.1.7\n", soundHost + "ansible_facts: {architecture: aarch64}\n", "never published for aarch64"},
	{"P-02 warn", "", found("module_ip6_tables", "missing"), "no module ip6_tables"},
	{"P-02 warn", "", found("checksystem", "xt_icmp ip6_tables xt_addrtype xt_mark "), "misses the kernel modules xt_addrtype, xt_mark"},
	{"P-04 stop", "", soundHost + "calico_nodename: Node_1\n", "Node_1 is no lower-case DNS name"},
	{"P-04 stop", "", soundHost + namesake, "the hosts node1, node2 would all be the node node1"},
	{"P-05 stop", "unit_style: seed\n", soundHost + "calico_nodename: other\n", "which is node1 and not other"},
	{"P-05 stop", "mode: hosted\nkubeconfig: /k\n", soundHost + "calico_nodename: other\nhost_has_kubelet: true\n", "after the host in etcd, which is node1 and not other"},
	{"G-03 stop", "", soundHost + "preflight_etcd: {failed: true, msg: no quorum}\n", "etcd cannot be used from here: no quorum"},
	{"G-03 stop", "calico_version: v2.6.12\n", soundHost + "preflight_etcd_v2: {failed: true}\n", "--enable-v2=true"},
	{"P-10 stop", "", found("runtimes", "") + "host_runtime: \"\"\n", "no container runtime is installed and running"},
	{"P-10 stop", "container_runtime: podman\n", soundHost, "podman is not running"},
	{"P-10 stop", "unit_style: seed\n", found("runtimes", "podman") + "host_runtime: podman\n", "need docker"},
	{"P-11 warn", "", found("load", "9.00"), "load average is 9.00 on 2 CPUs"},
	{"P-12 stop", "", found("bin_options", "rw,noexec"), "read-only or noexec"},
	{"P-16 stop", "kubeproxy_method: annotation\nkube_version: \"1.28.0\"\n", found(), "takes no mode from an annotation"},
	{"P-19 warn", "", found("firewall", "ufw"), "ufw is active"},
	{"P-19 warn", "with_kubernetes: true\nkubeconfig: /k\n", found("forward", "DROP"), "FORWARD"},
	{"P-05 stop", "image_registry: \"<registry>/\"\n", soundHost, "have placeholders: <registry>/"},
	{"P-19 warn", "", found("selinux", "Enforcing"), "SELinux is enforcing"},
	{"P-19 warn", "", found("iptables_mixed", "yes"), "rules of iptables-legacy and of iptables-nft"},
	{"P-20 stop", "", found("busy_179", "yes"), "179 (BGP)"},
	{"P-20 stop", "pool_encap: vxlan-always\nnetworking_backend: vxlan\n", found("vxlan_ports", "other:4789 vxlan.calico:4789"), "the device other:4789 has"},
	{"P-20 warn", "", soundHost + "preflight_ipip: {passes: false, answer: none}\npreflight_ipip_to: 10.0.0.2\n", "IP protocol 4 to 10.0.0.2 get no answer"},
	{"P-20 warn", "", soundHost + "preflight_ipip: {passes: false, answer: prohibited}\npreflight_ipip_to: 10.0.0.2\n", "are refused"},
	{"P-20 warn", "", soundHost + "preflight_ipip: {msg: cannot find out}\n", "cannot find out"},
	{"P-20 warn", "", found("busy_5473", "yes", "busy_9091", "yes"), "listens on TCP 5473, 9091"},
	{"G-01 warn", "with_kubernetes: true\nkubeconfig: /k\nkube_version: 1.29.1\n", soundHost, "as pods"},
	{"G-04 warn", "", found("apiserver_argv", "kube-apiserver --etcd-servers=https://10.0.0.9:2379/ --v=2"), "kube-apiserver uses https://10.0.0.9:2379 too"},
	{"G-04 ask", "etcd_shared_ask_nodes: 1\n", found("apiserver_argv", "kube-apiserver --etcd-servers https://10.0.0.10:2379"), "https://10.0.0.10:2379 too"},
	{"G-08 stop", "", soundHost + "calico_node_mounts: []\n", "does not mount /var/lib/calico"},
	{"G-14 stop", "calico_version: v2.5.1\n", soundHost, "refuses certificates for https://10.0.0.9:2379"},
	{"G-35 stop", "k8s_token: " + token(time.Now().Add(36*time.Hour)) + "\n", soundHost, "is good for 1 days"},
	{"G-35 stop", "", soundHost + "cni_credential_days: 29\n", "29 days"},
	{"P-20 stop", "networking_backend: vxlan\npool_encap: vxlan-always\n", found("busy_9099", "yes"), "9099 (Felix health)"},
	{"G-02 stop", "calico_version: v2.1.5\nwith_policy: false\nkube_version: \"1.0.6\"\n", soundHost, "Kubernetes 1.0.6 is too old"},
	{"G-09 warn", "kube_version: v1.31.2\n", soundHost, "tested with Kubernetes 1.27 to 1.30"},
	{"G-10 stop", "calico_version: v2.1.5\n" + plainEtcd + "kube_version: \"1.2.7\"\n", soundHost, "set with_policy to false"},
	{"G-12 stop", "", found("calico_datastore", "kubernetes"), "Kubernetes datastore"},
	{"G-25 stop", "with_kubernetes: true\n", soundHost, "set kubeconfig"},
	{"G-33 ask", "calico_version: v3.10.4\n", soundHost, "nobody publishes a checksum for projectcalico/calicoctl/releases/download/v3.10.4/calicoctl-linux-amd64"},
	{"G-34 stop", "", found("cni_files", "05-other.conf 10-calico.conf"), "05-other.conf, which the runtime would take before 10-calico.conflist"},
	{"G-36 stop", "pool_cidr: 10.0.0.0/16\n", soundHost, "10.0.0.1"},
	{"G-37 ask", "", soundHost + "host_candidates: [10.0.0.1, 10.9.0.1]\n", "10.0.0.1, 10.9.0.1"},
	{"G-38 ask", "calico_version: v2.6.12\nallow_unverified: true\n", soundHost + "host_installed_version: 3.1.7\n", "going from 3.1.7 back to 2.6.12"},
	{"G-39 stop", "", soundHost + "host_installed_version: 3.4.0\n", "Stop over at a release from 3.15 to 3.27"},
	{"G-39 stop", "calico_version: v3.1.7\nallow_unverified: true\n", soundHost + "host_installed_version: 2.5.1\n", "Upgrade to 2.6.5"},
}

// TestNextHost: each host tries IP in IP with the one after it, where pods are carried so. Hosts of DC/OS have no mode; a control plane host that is no
// node has no pods.
func TestNextHost(t *testing.T) {
	const ipip = "pool_encap: ipip-always\n"
	for _, c := range []struct{ playbook, vars, want string }{
		{"calico-etcd", ipip, "node2"}, {"dcos-calico", ipip, "node2"}, {"node-add", ipip + "mode: hosted\n", "node1"}, {"upgrade", ipip + "mode: hosted\n", "node1"}, {"calico-kdd", ipip, "node1"},
		{"calico-etcd", "pool_encap: \"off\"\n", "node1"}, {"calico-etcd", ipip + "networking_backend: vxlan\n", "node1"},
	} {
		b, err := loader(expr.New(expr.Options{})).Load(c.playbook)
		if err != nil {
			t.Fatal(err)
		}
		scope, _ := playbookScope(t, expr.New(expr.Options{}), b, "preflight", c.vars, "")
		if got, _, err := scope.Lookup("preflight_ipip_next"); got != c.want || err != nil {
			t.Errorf("%s with %q: node1 tries %v, not %s: %v", c.playbook, c.vars, got, c.want, err)
		}
	}
}

// TestGates closes each gate once, and it alone. The negative case of all of them is the sound host.
func TestGates(t *testing.T) {
	if got := closed(t, modernVars, soundHost); len(got) > 0 {
		t.Fatalf("gates close on a sound host: %s", got)
	}
	for _, tt := range hostCases {
		got := closed(t, modernVars+tt.vars, tt.facts)
		if tt.gate != "G-33 ask" { // old releases have no published sums; not what these cases are about
			got = without(got, "G-33 ")
		}
		if len(got) != 1 || !strings.HasPrefix(got[0], tt.gate) || !strings.Contains(got[0], tt.says) {
			t.Errorf("%q and %q: got %q, want %s ... %s", tt.vars, tt.facts, got, tt.gate, tt.says)
		}
	}
}

// plainEtcd takes TLS from etcd: old policy controllers want names of hosts with it.
const plainEtcd = "etcd_endpoints: [\"http://10.0.0.9:2379\"]\n"

// token is a service account's token that is good until a time. Nobody looks at its signature.
func token(until time.Time) string {
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	return part(`{"alg":"RS256"}`) + "." + part(fmt.Sprintf(`{"aud":["k"],"exp":%d,"iss":"k"}`, until.Unix())) + ".c2ln"
}

func without(lines []string, prefix string) []string {
	var out []string
	for _, l := range lines {
		if !strings.HasPrefix(l, prefix) {
			out = append(out, l)
		}
	}
	return out
}

// TestNoGate are cases near a gate in which it stays open.
func TestNoGate(t *testing.T) {
	tests := []struct{ vars, facts string }{
		{"", found("cni_files", "10-calico.conf 10-calico.conflist 99-other.conf")}, // Calico's own, and one that sorts behind
		{"cni_park_others: true\n", found("cni_files", "05-other.conf")},
		{"pool_cidr: 10.1.0.0/16\n", soundHost},
		{"calico_ip: 10.0.0.1/24\n", soundHost + "host_candidates: [10.0.0.1, 10.9.0.1]\n"},
		{"", found("busy_179", "yes", "calico_active", "active")},                              // it is Calico's
		{"", found("busy_179", "yes", "calico_running", "yes")},                                // it is Calico's, in a pod
		{"", found("checksystem", "ipt_set xt_icmp xt_icmp6 xt_u32 vfio-pci 6.1.0-18-amd64 ")}, // as calicoctl 3.28 finds a sound Debian
		{"", found("checksystem", "xt_mark", "modules_tree", "-")},
		{"", found("uid", "0", "selinux", "Permissive", "calicoctl", "3.28.4")},
		{"", found("vxlan_ports", "vxlan.calico:4789 flannel.1:8472")},
		{"", found("apiserver_argv", "kube-apiserver --etcd-servers=https://10.0.0.7:2379")},
		{"image_registry: registry.internal:5000/mirror/\n", soundHost},
		{"calico_version: v2.5.1\nallow_unverified: true\n" + plainEtcd, soundHost},
		{"k8s_token: " + token(time.Now().Add(32*24*time.Hour)) + "\n", soundHost},
		{"k8s_token: no.jwt\n", soundHost + "cni_credential_days: 30\n"},
		{"", soundHost + "host_installed_version: 3.28.4\n"},
		{"", soundHost + "host_installed_version: 3.15.5\n"},
		{"calico_version: v3.27.5\n", soundHost + "host_installed_version: 3.0.12\n"},
		{"calico_version: v3.28.4\n", soundHost + "host_installed_version: 3.28.5\n"},                        // back within 3.x: nothing in the data changes
		{"calico_version: v2.6.12\nallow_unverified: true\n", soundHost + "host_installed_version: 1.3.0\n"}, // the image of Calico 2.3.0
		{"kube_version: v1.30.1\n", soundHost},
		{"pool_encap: \"off\"\n", found("module_ipip", "-")},
	}
	for _, tt := range tests {
		if got := closed(t, modernVars+tt.vars, tt.facts); len(got) > 0 {
			t.Errorf("%q and %q: %q", tt.vars, tt.facts, got)
		}
	}
}

// TestSettingRules breaks each rule between settings once.
func TestSettingRules(t *testing.T) {
	tests := map[string]string{
		"calico_version: latest\n":                                        "write it like v3.28.5",
		"calico_version: v9.1.0\n":                                        "not in the version table",
		"calico_version: v2.1.4\n":                                        "not in the version table",
		"etcd_endpoints: []\n":                                            "etcd_endpoints is empty",
		"etcd_endpoints: [10.0.0.9]\n":                                    "must be http(s)://HOST:PORT",
		"etcd_endpoints: [\"http://a:1\", \"https://b:1\"]\n":             "mix http and https",
		"etcd_endpoints: [\"https://a:1\", \"https://a:1\"]\n":            "name a member twice",
		"etcd_key_file: \"\"\n":                                           "belong together",
		"etcd_ca_file: \"\"\netcd_cert_file: \"\"\netcd_key_file: \"\"\n": "so etcd_ca_file",
		"artifact_source: local\n":                                        "needs artifact_dir",
		"checksums: {a: b}\n":                                             "64 hexadecimal digits",
		"image_registry: https://reg/\n":                                  "without a scheme",
		"image_delivery: preload\n":                                       "needs one entry of image_archives",
		"cni_conf_name: calico.conf\n":                                    "two digits",
		"cni_kubeconfig: /etc/cni/net.d/k.conf\n":                         "must not end in",
		"cni_bin_dir: opt/cni\n":                                          "must be absolute",
		"cni_log_level: loud\n":                                           "cni_log_level",
		"node_as: 4294967296\n":                                           "between 1 and",
		"calico_version: v3.6.5\npool_encap: vxlan-always\n":              "VXLAN needs Calico 3.7",
		"networking_backend: vxlan\n":                                     "carries no IPIP",
		"pool_cidr: many\n":                                               "no IPv4 network",
		"pool_block_size: 33\n":                                           "pool_block_size",
		"mtu: 100\n":                                                      "mtu must be",
		"calico_ip: 10.0.0.7\n":                                           "needs its prefix length",
		"ip_autodetection_method: guess\n":                                "ip_autodetection_method guess",
		"unit_style: seed\nnode_runner: calicoctl\n":                      "use node_runner systemd",
		"with_kubernetes: maybe\n":                                        "with_kubernetes must be",
		"kubeconfig: /a\nk8s_api_endpoint: https://b\nk8s_ca_file: /c\nk8s_token: d\n": "exclude each other",
		"k8s_api_endpoint: https://b\n": "needs k8s_ca_file",
	}
	if got := mistakes(t, ""); len(got) > 0 {
		t.Fatalf("sound settings: %q", got)
	}
	for text, want := range tests {
		if got := mistakes(t, text); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%q: got %q, want one with %q", text, got, want)
		}
	}
}

func mistakes(t *testing.T, more string) []string {
	t.Helper()
	env := expr.New(expr.Options{})
	scope, _ := hostScope(t, env, "calico_settings", modernVars+more)
	v, err := scope.Evaluate("calico_setting_mistakes", source.Pos{File: "test"})
	if err != nil {
		t.Fatalf("%q: %v", more, err)
	}
	var out []string
	for _, m := range v.([]any) {
		out = append(out, expr.String(m))
	}
	return out
}

package catalog_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/runner/action"
)

// soundHealth is what health_facts finds on a host with a healthy calico-etcd; soundPods with a healthy calico-kdd.
var soundHealth = map[string]string{"unit": "active", "unit_seconds": "900", "unit_restarts": "0", "unit_mount": "yes", "unit_removes": "yes", "backend": "bird",
	"containers": "calico-node Up 15 minutes;", "felix": "1", "nodename": "node1", "run": "yes", "nm_file": "yes", "rp_filter": "1", "localhost": "127.0.0.1",
	"cni_files": "10-calico.conflist", "plugins": "calico calico-ipam loopback portmap", "version_calico": "v3.28.5", "bgp": "10.0.0.2", "mtu_host": "1500",
	"mtu_tunl0": "1480", "mtu_pods": "1480", "rules_nft": "40", "rules_legacy": "0", "routes_bird": "3", "kubelet": "active", "kubelet_cni_flags": ""}

// healthy are the facts of a host with other things in health: names and values in turn; "-" takes a name out.
func healthy(pairs ...string) string {
	all := maps.Clone(soundHealth)
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i]] = pairs[i+1]
		if pairs[i+1] == "-" {
			delete(all, pairs[i])
		}
	}
	text, _ := json.Marshal(all) // a map of strings always has JSON
	return "health: " + string(text) + "\n"
}

// healthFacts are the other facts of such a host.
const healthFacts = `
calico_version: v3.28.5
product: calico
datastore: etcd
mode: integrated
option: networking
installed: {mode: integrated, datastore: etcd, version: v3.28.5, by: the record on the host, cni_conf: /etc/cni/net.d/10-calico.conflist}
installed_kubernetes: true
calico_installed_kubernetes: true
health_at_work: true
health_answers: {liveness: 204, readiness: 204}
health_addresses: {node1: 10.0.0.1, node2: 10.0.0.2}
health_mesh: true
health_json: true
health_document: {cniVersion: 0.3.1}
health_plugin_found: {type: calico, nodename: node1, mtu: 0, ipam: {type: calico-ipam}}
health_reached: {rc: 0, says: ""}
health_credential_end: 0
health_credential_there: true
health_cluster: {pods: [], sets: [], deployments: [], services: [], information: [{spec: {calicoVersion: v3.28.5, datastoreReady: true}}], bgp: [], affinities: []}
host_kubelet_version: 1.29.15
host_kubelet_argv: ""
ansible_facts: {all_ipv4_addresses: [10.0.0.1, 172.17.0.1]}
`

// hostedFacts make it one with the Kubernetes datastore and calico/node as a pod.
const hostedFacts = `
datastore: kdd
mode: hosted
installed: {mode: hosted, datastore: kdd, version: v3.28.5, by: the record in the cluster}
kube_installed: {mode: hosted, datastore: kdd, option: networking, product: calico, version: 3.28.5}
health_plugin_found: {type: calico, nodename: node1, datastore_type: kubernetes, mtu: 0, ipam: {type: calico-ipam}}
health_cluster:
  pods: [{metadata: {name: calico-node-x}, spec: {nodeName: node1}, status: {phase: Running, conditions: [{type: Ready, status: "True"}]}}]
  sets: [{metadata: {name: calico-node}, status: {numberReady: 2, desiredNumberScheduled: 2}}]
  deployments: [{metadata: {name: calico-kube-controllers}, spec: {replicas: 1}, status: {availableReplicas: 1}}]
  services: []
  information: [{spec: {calicoVersion: v3.28.5, datastoreReady: true}}]
  bgp: []
  affinities: [{spec: {node: node1}}, {spec: {node: node2}}]
`

var hostedHealth = healthy("unit", "-", "unit_mount", "-", "unit_removes", "-", "containers", "-")

// readyNode is the Node of the host, with conditions.
func readyNode(conditions string) string {
	return "kube_nodes: [{metadata: {name: node1}, status: {conditions: [" + conditions + "]}}, {metadata: {name: node2}, status: {conditions: []}}]\n"
}

const isReady = `{type: Ready, status: "True"}, {type: NetworkUnavailable, status: "False"}`

// judged are the checks of some topics that do not hold on a host: "id level: found -> remedy".
func judged(t *testing.T, book *playbooks.Playbook, role string, topics []any, hostVars string, facts ...string) []string {
	t.Helper()
	facts = append([]string{soundCluster(), healthFacts, healthy(), readyNode(isReady)}, facts...)
	scope, task := playbookScope(t, expr.New(expr.Options{}), book, role, hostVars, facts...)
	a, err := action.All()["checks"].Act(t.Context(), &action.Call{Task: task, Scope: scope, Args: map[string]any{"topics": topics}})
	if err != nil {
		t.Fatalf("%q: %v", facts, err)
	}
	var out []string
	for _, check := range a.Result.Values["checks"].([]any) {
		c := check.(map[string]any)
		out = append(out, fmt.Sprintf("%v %v: %v -> %v", c["id"], c["level"], c["found"], c["remedy"]))
	}
	return out
}

func book(t *testing.T, name string) *playbooks.Playbook {
	t.Helper()
	b, err := loader(expr.New(expr.Options{})).Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// planted are hosts with one failure each: its number and level, settings, facts, what doctor says of it.
var planted = []struct{ check, vars, facts, says string }{
	{"D-01 failed", "", healthy("cni_files", "10-calico.conf 10-calico.conflist"), "10-calico.conf sorts first"},
	{"D-01 degraded", "", healthy("cni_files", "10-calico.conflist 10-canal.conflist"), "10-calico.conflist and 10-canal.conflist -> remove what is not 10-calico.conflist"},
	{"D-02 failed", "", "host_kubelet_version: 1.6.13\n", "the kubelet 1.6.13 does not read 10-calico.conflist"},
	{"D-03 failed", "", healthy("cni_files", "05-other.conflist 10-calico.conflist"), "takes /etc/cni/net.d/05-other.conflist"},
	{"D-04 failed", "", "health_document: {cniVersion: \"\"}\n", "has no cniVersion, which the kubelet 1.29.15 refuses"},
	{"D-05 failed", "", healthy("nodename", "-"), "/var/lib/calico/nodename is missing -> "},
	{"D-05 failed", "", healthy("nodename", "-", "unit_mount", "-"), "the unit does not mount /var/lib/calico"},
	{"D-06 failed", "", healthy("nodename", "node1.example.org"), "it is called node1.example.org in /var/lib/calico/nodename"},
	{"D-06 failed", "", "health_plugin_found: {nodename: other, mtu: 0}\n", "it is called other in the CNI file"},
	{"D-07 failed", "", "health_addresses: {node1: 172.17.0.1, node2: 10.0.0.2}\n", "172.17.0.1 for node1, which is an address of a bridge or tunnel"},
	{"D-07 failed", "", "health_addresses: {node1: 10.0.0.77, node2: 10.0.0.2}\n", "no address of the host; the host has 10.0.0.1"},
	{"D-08 failed", "", "health_addresses: {node1: 10.0.0.1, old1: 10.0.0.1}\n", "the nodes node1 and old1 both have 10.0.0.1"},
	{"D-08 failed", "", healthy("log_address", "Calico node 'x' is already using the IPv4 address 10.0.0.1."), "already using"},
	{"D-09 failed", "calico_version: v3.10.4\n", "calico_version: v3.10.4\n" + healthy("rp_filter", "2"), "rp_filter is 2"},
	{"D-10 failed", "", fmt.Sprintf("health_credential_end: %d\n", time.Now().Add(-50*time.Hour).Unix()), "ran out 3 days ago -> calroll run verify -e renew=true"},
	{"D-10 failed", "", healthy("log_unauthorized", "error getting ClusterInformation: connection is unauthorized: Unauthorized"), "connection is unauthorized"},
	{"D-11 failed", "", healthy("plugins", "calico calico-ipam portmap"), "/opt/cni/bin has no loopback -> run calico-etcd (S-10)"},
	{"D-11 failed", "", healthy("log_plugin", `failed to find plugin "loopback" in path [/opt/cni/bin]`), "failed to find plugin"},
	{"D-12 failed", "", healthy("plugins", "calico-ipam loopback portmap"), "has no calico that can be executed"},
	{"D-12 failed", "", soundCluster("containerd_dirs", "/usr/lib/cni /etc/cni/net.d "), "containerd looks in /usr/lib/cni /etc/cni/net.d"},
	{"D-13 failed", "", healthy("kubelet", "failed", "kubelet_cni_flags", "--network-plugin=cni "), "is failed and is started with --network-plugin=cni -> "},
	{"D-13 failed", "", healthy("log_flag", "unknown flag: --network-plugin"), "unknown flag"},
	{"D-14 degraded", "", soundCluster("selinux", "Enforcing") + healthy("plugins", "calico loopback"), "lacks calico-ipam"},
	{"D-15 failed", "", soundCluster("bin_options", "rw,noexec"), "mounted rw,noexec"},
	{"D-16 failed", "", soundCluster("networkmanager", "active") + healthy("nm_file", "-"), "calico.conf is missing"},
	{"D-16 degraded", "", soundCluster("networkmanager", "inactive") + healthy("nm_file", "-"), "calico.conf is missing"},
	{"D-17 failed", "", healthy("mtu_pods", "1500"), "pods send packets of 1500 bytes, and tunl0 carries 1480"},
	{"D-17 failed", "", healthy("mtu_pods", "1500", "mtu_tunl0", "-", "mtu_host", "1400"), "the interface of the host carries 1400"},
	{"D-17 failed", "", healthy("mtu_host", "1450"), "tunl0 carries 1430"},
	{"D-18 degraded", "", soundCluster("forward", "DROP", "kubeproxy_argv", "kube-proxy --v=2"), "FORWARD is DROP"},
	{"D-19 failed", "", healthy("rules_legacy", "7"), "40 rules of Calico are in iptables-nft and 7 in iptables-legacy"},
	{"D-20 failed", "", hostedFacts + healthy("log_datastore", "failed to ensure datastore has been initialized"), "initialized -> run kdd-migrate-25"},
	{"D-22 failed", "", "health_cluster: {information: [{spec: {datastoreReady: false}}]}\n", "calico/node waits"},
	{"D-25 degraded", "", "kube_typha: {wanted: calico-typha, replicas: 2}\n", "2 replicas on 2 nodes"},
	{"D-26 failed", "", "health_cluster: {pods: [{metadata: {name: calico-node-y}, status: {phase: Pending, conditions: [{message: 0/3 nodes are available; 1 Insufficient cpu}]}}]}\n", "calico-node-y: 0/3"},
	{"D-28 degraded", "", soundCluster("calicoctl", "3.27.0"), "calicoctl is 3.27.0, and Calico is 3.28.5"},
	{"D-29 degraded", "", "health_cluster: {affinities: [{spec: {node: node1}}, {spec: {node: gone7}}]}\n", "belong to gone7"},
	{"D-30 degraded", "", "health_at_work: false\n" + healthy("felix", "0"), "40 rules and 3 routes of one are left"},
	{"D-30 degraded", "", "health_at_work: false\n" + readyNode(`{type: NetworkUnavailable, status: "True"}`), "nobody clears it"},
	{"D-32 failed", "", healthy("localhost", "::1"), "localhost is ::1"},
	{"D-33 failed", "", healthy("containerd", "2.1.4", "containerd_both", "yes"), "containerd 2.1.4 has bin_dir and bin_dirs"},
	{"D-34 failed", "", healthy("unit", "activating", "containers", "calico-node Created;"), "a container is left: calico-node Created;"},
	{"D-34 failed", "", healthy("unit", "failed", "log_name", `The container name "/calico-node" is already in use`), "already in use"},
	{"D-34 failed", "", healthy("unit", "failed", "containers", "", "run", "-"), "/var/run/calico is missing"},
	{"D-34 failed", "", healthy("unit_removes", "-"), "does not remove what an earlier start has left"},
}

// looks carries verify or doctor out, demands an exit code, and that nothing has changed.
func (c *network) looks(playbook string, code int, args ...string) outcome {
	c.Helper()
	o := c.calroll(append([]string{"run", playbook}, args...)...)
	if o.code != code {
		c.Fatalf("calroll run %s %s: exit code %d, not %d\n%s", playbook, strings.Join(args, " "), o.code, code, o.text)
	}
	if testing.Verbose() {
		c.Logf("calroll run %s %s\n%s", playbook, strings.Join(args, " "), o.text)
	}
	if code == exitOK && strings.Contains(o.text, "...ignoring") {
		c.Errorf("%s fails on the way:\n%s", playbook, o.text)
	}
	for host, changed := range o.changed() {
		if changed != "0" {
			c.Errorf("%s changed %s: %s tasks\n%s", playbook, host, changed, o.text)
		}
	}
	return o
}

// findingLine is the first line of a finding in the table.
var findingLine = regexp.MustCompile(`(?m)^([HDGP]-\d\d) +(failed|degraded|info) +(\S.*?)  `)

// findings are those of a report: "id hosts".
func (o outcome) findings() []string {
	var all []string
	for _, m := range findingLine.FindAllStringSubmatch(o.text, -1) {
		all = append(all, m[1]+" "+m[3])
	}
	return all
}

// names fails the test if a report does not have a finding for a host.
func (c *network) names(o outcome, wanted ...string) {
	c.Helper()
	for _, w := range wanted {
		id, host, _ := strings.Cut(w, " ")
		if !slices.ContainsFunc(o.findings(), func(f string) bool { return strings.HasPrefix(f, id+" ") && strings.Contains(f, host) }) {
			c.Errorf("the report does not name %s on %s:\n%s", id, host, o.text)
		}
	}
}

// TestDoctor plants each known failure once; it is named with its number, and no other is.
func TestDoctor(t *testing.T) {
	b := book(t, "doctor")
	for name, facts := range map[string]string{"calico-etcd": "", "calico-kdd": hostedFacts + hostedHealth} {
		if got := judged(t, b, "doctor", []any{"failures"}, modernVars, facts); len(got) > 0 {
			t.Errorf("a sound host of %s: %q", name, got)
		}
	}
	tried := map[string]bool{}
	for _, p := range planted {
		tried[strings.Fields(p.check)[0]] = true
		got := judged(t, b, "doctor", []any{"failures"}, modernVars+p.vars, p.facts)
		if len(got) != 1 || !strings.HasPrefix(got[0], p.check+": ") || !strings.Contains(got[0], p.says) {
			t.Errorf("%s: got %q, want ... %s; facts %q", p.check, got, p.says, p.facts)
		}
	}
	for _, id := range checkIDs(t, "doctor", "failures") {
		if !tried[id] {
			t.Errorf("no test plants %s", id)
		}
	}
}

// unwell are hosts on which one check of verify does not hold.
var unwell = []struct{ check, facts, says string }{
	{"H-00 failed", "health_at_work: false\ninstalled: {by: nothing}\n", "no Calico runs"},
	{"H-00 failed", "installed_kubernetes: false\nkube_error: refused\n", "Kubernetes does not answer on node1"},
	{"H-00 degraded", hostedFacts + hostedHealth + installed("hosted", "kdd", "networking", "calico", "3.28.4"), "hosted/kdd 3.28.4 runs, and hosted/kdd 3.28.5 was recorded"},
	{"H-00 info", hostedFacts + hostedHealth + "installed: {mode: hosted, datastore: kdd, version: 3.28.5, by: what runs}\n", "no record of calroll"},
	{"H-01 failed", healthy("unit", "failed"), "the unit calico-node is failed"},
	{"H-01 degraded", healthy("unit_seconds", "3", "unit_restarts", "12"), "runs for 3 s; it was restarted 12 times"},
	{"H-01 failed", hostedFacts + hostedHealth + "health_cluster: {pods: []}\n", "no pod of calico/node is on the node"},
	{"H-01 failed", hostedFacts + hostedHealth + "health_cluster: {pods: [{metadata: {name: calico-node-x}, spec: {nodeName: node1}, status: {phase: Running, conditions: [{type: Ready, status: \"False\"}], " +
		"containerStatuses: [{state: {waiting: {reason: CrashLoopBackOff}}}]}}]}\n", "calico-node-x is Running, CrashLoopBackOff"},
	{"H-02 failed", "health_answers: {liveness: -1, readiness: -1}\n", "Felix does not answer on"},
	{"H-02 failed", "health_answers: {liveness: 204, readiness: 503}\n", "Felix answers 503 on 127.0.0.1:9099/readiness"},
	{"H-03 failed", healthy("bgp", ""), "no BGP session is established; expected are 10.0.0.2"},
	{"H-03 degraded", "health_addresses: {node1: 10.0.0.1, node2: 10.0.0.2, node3: 10.0.0.3}\nansible_limit: node1\n" + healthy("bgp", "10.0.0.3"), "no BGP session with 10.0.0.2"},
	{"H-05 failed", "health_addresses: {node2: 10.0.0.2}\n", "Calico has no node node1; it has node2"},
	{"H-05 failed", "health_addresses: {node1: 10.9.9.9, node2: 10.0.0.2}\n", "Calico has the address 10.9.9.9 for node1"},
	{"H-05 degraded", "health_addresses: {node1: 10.0.0.1, node2: 10.0.0.2, ghost: \"\"}\n", "the nodes ghost, which are no hosts"},
	{"H-06 failed", healthy("plugins", "calico calico-ipam"), "has no loopback that can be executed"},
	{"H-06 degraded", healthy("version_calico", "v3.27.0"), "the plugin calico is v3.27.0, and v3.28.5 belongs"},
	{"H-06 failed", "health_reached: {rc: 1, says: no route}\n", "calico -t says: no route"},
	{"H-07 failed", healthy("cni_files", ""), "has no CNI file, and none of Calico"},
	{"H-07 failed", healthy("cni_files", "05-x.conf 10-calico.conflist"), "05-x.conf is taken before 10-calico.conflist"},
	{"H-07 failed", "health_json: false\nhealth_plugin_found: {}\n", "10-calico.conflist is no JSON"},
	{"H-07 failed", "health_plugin_found: {nodename: node1, datastore_type: kubernetes}\n", "with the datastore kdd, and this is node1 with etcd"},
	{"H-08 failed", readyNode(`{type: Ready, status: "False", message: cni plugin not initialized}`), "Ready=False: cni plugin not initialized"},
	{"H-08 failed", readyNode(`{type: Ready, status: "True"}, {type: NetworkUnavailable, status: "True", message: down}`), "NetworkUnavailable=True: down"},
	{"H-08 degraded", hostedFacts + hostedHealth + strings.Replace("health_cluster: {pods: [POD], sets: [{metadata: {name: calico-node}, status: {numberReady: 1, desiredNumberScheduled: 2}}]}\n", "POD",
		"{metadata: {name: p}, spec: {nodeName: node1}, status: {conditions: [{type: Ready, status: \"True\"}]}}", 1), "calico-node(1/2)"},
	{"H-09 failed", healthy("kubelet", "failed"), "the kubelet is failed"},
	{"H-09 failed", "host_kubelet_version: 1.23.17\n", "the kubelet 1.23.17 runs without --network-plugin=cni"},
	{"H-10 failed", "health_cluster: {deployments: [{metadata: {name: calico-kube-controllers}, spec: {replicas: 1}, status: {}}]}\n", "calico-kube-controllers(0/1)"},
	{"H-13 failed", "health_cluster: {services: [{status: {conditions: [{type: Available, status: \"False\", message: gone}]}}]}\n", "v3.projectcalico.org is not available: gone"},
	{"H-19 failed", "preflight_etcd: {failed: true, msg: no quorum}\n", "etcd: no quorum"},
	{"H-20 failed", "kube_configmaps: {calico-config: {typha_service_name: calico-typha}}\n", "nodes are told to use calico-typha"},
	{"G-35 failed", fmt.Sprintf("health_credential_end: %d\n", time.Now().Add(-30*time.Hour).Unix()), "ran out 2 days ago"},
	{"G-35 degraded", fmt.Sprintf("health_credential_end: %d\n", time.Now().Add(100*time.Hour).Unix()), "is good for 4 days -> calroll run verify -e renew=true"},
}

// TestVerify: each check of verify does not hold once, and it alone.
func TestVerify(t *testing.T) {
	b := book(t, "verify")
	topics := []any{"installed", "node", "cni", "cluster"}
	for name, facts := range map[string]string{"calico-etcd": "", "calico-kdd": hostedFacts + hostedHealth} {
		if got := judged(t, b, "verify", topics, modernVars, facts); len(got) > 0 {
			t.Errorf("a sound host of %s: %q", name, got)
		}
	}
	tried := map[string]bool{}
	for _, u := range unwell {
		tried[strings.Fields(u.check)[0]] = true
		got := judged(t, b, "verify", topics, modernVars, u.facts)
		if len(got) != 1 || !strings.HasPrefix(got[0], u.check+": ") || !strings.Contains(got[0], u.says) {
			t.Errorf("%s: got %q, want ... %s; facts %q", u.check, got, u.says, u.facts)
		}
	}
	for _, topic := range topics {
		for _, id := range checkIDs(t, "verify", topic.(string)) {
			if !tried[id] {
				t.Errorf("no test breaks %s", id)
			}
		}
	}
}

// checkIDs are the ids of the checks of a topic.
func checkIDs(t *testing.T, role, topic string) []string {
	t.Helper()
	v, err := loader(expr.New(expr.Options{})).LoadVars(playbooks.CatalogPrefix + "roles/" + role + "/vars/main/" + topic + ".yml")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, item := range v.Dict().At("checks_" + topic).([]any) {
		if id := asWritten(item.(*value.Dict).At("id")); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

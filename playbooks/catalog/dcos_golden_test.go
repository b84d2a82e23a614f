package catalog_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/calroll/calroll/inventory"
	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/playbooks/vars"
	"github.com/calroll/calroll/runner/action"
)

// The texts below are written by hand, key by key, from the guide for DC/OS; what the comments name is in docs/dcos-calico.md.

// dcosFacts are what setup, host_facts and preflight_dcos find on an agent on which no gate closes.
const dcosFacts = factsOfHost + `
host_dcos: {agent: dcos-mesos-slave.service, active: "yes", unit_dcos-net: "yes", version: 1.10.4}
preflight_dcos_srv: {skipped: true, changed: false}
preflight_dcos_nodes: {rc: 0, stdout: "[]"}
preflight_dcos_security: {rc: 0, stdout: ""}
preflight_dcos_describe: {rc: 1, stdout: ""}
`

var dcosCalico = sync.OnceValues(func() (*playbooks.Playbook, error) { return loader(expr.New(expr.Options{})).Load("dcos-calico") })

// dcosScope is how the tasks of a role of dcos-calico see the first of two agents: with the variables of dcos_settings, which stands in
// every play.
func dcosScope(t *testing.T, role, hostVars string, facts ...string) (*vars.Scope, *playbooks.Task) {
	t.Helper()
	inv := filepath.Join(t.TempDir(), "inventory.yml")
	write(t, inv, "dcos_agent: {hosts: {node1: {}}}\ndcos_agent_public: {hosts: {node2: {}}}\nkube_node: {hosts: {other: {}}}\n")
	write(t, filepath.Join(filepath.Dir(inv), "host_vars", "node1.yml"), hostVars)
	hosts, err := inventory.Load(context.Background(), []string{inv})
	if err != nil {
		t.Fatal(err)
	}
	pb, err := dcosCalico()
	if err != nil {
		t.Fatal(err)
	}
	task := taskOf(pb, role)
	if task == nil {
		t.Fatalf("dcos-calico has no task of the role %s", role)
	}
	var seen []vars.Role
	for _, name := range []string{"dcos_settings", "preflight_dcos", "dcos_health"} { // those that others ask
		r := taskOf(pb, name).Role
		seen = append(seen, vars.Role{Name: name, Defaults: r.DefaultVars(), Vars: r.RoleVars()})
	}
	world := vars.New(vars.Options{Inventory: hosts, Env: expr.New(expr.Options{}), Magic: value.NewDict("ansible_check_mode", false)})
	world.StartPlaybook(pb.Dir)
	world.StartPlay(vars.Play{Roles: seen})
	world.SetHosts([]string{"node1", "node2"})
	for _, text := range append([]string{dcosFacts}, facts...) {
		v, _, err := value.ReadVars("facts.yml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		d := v.Dict()
		if f, ok := d.At("ansible_facts").(*value.Dict); ok {
			world.Host("node1").AddFacts(f)
			d.Delete("ansible_facts")
		}
		world.Host("node1").SetFacts(d)
	}
	r := task.Role
	return world.Host("node1").Task(vars.Task{Vars: task.Vars, Search: task.SearchDirs,
		Role: &vars.Role{Name: r.Name, Path: r.Path, Defaults: r.DefaultVars(), Vars: r.RoleVars(), Params: r.RoleParams()}}), task
}

// dcosRendered is the outcome of a role's template on an agent.
func dcosRendered(t *testing.T, role, template, hostVars string, facts ...string) string {
	t.Helper()
	scope, task := dcosScope(t, role, hostVars, facts...)
	file := playbooks.CatalogPrefix + "roles/" + role + "/templates/" + template
	text, err := loader(expr.New(expr.Options{})).ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out, err := scope.RenderFile(string(text), source.Pos{File: file}, nil, expr.TemplateModule())
	if err != nil {
		t.Fatalf("%s for %s: %v", template, task.Role.Name, err)
	}
	return out
}

// dcosValue is an expression as a role sees it, as JSON.
func dcosValue(t *testing.T, role, expression, hostVars string, facts ...string) string {
	t.Helper()
	scope, _ := dcosScope(t, role, hostVars, facts...)
	v, err := scope.Evaluate("("+expression+") | to_json", source.Pos{File: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return expr.String(v)
}

// TestDCOSEtcdProxy is F-19: the guide's command in a unit of its own.
func TestDCOSEtcdProxy(t *testing.T) {
	unit := func(after, command string) []string {
		return []string{"[Unit]", "Description=etcd proxy for Calico", "After=network-online.target" + after, "Wants=network-online.target",
			"StartLimitIntervalSec=0", "[Service]", "ExecStart=" + command, "Restart=always", "RestartSec=5", "[Install]", "WantedBy=multi-user.target"}
	}
	const seed = "/opt/calroll/etcd-v3.3.1-linux-amd64/etcd --proxy=on --discovery-srv=etcd.mesos" + // E11
		" --listen-client-urls=http://127.0.0.1:2379 --data-dir=/var/lib/calroll/etcd-proxy" // F-19
	const service = "calroll-etcd-proxy.service.j2"
	sameLines(t, dcosRendered(t, "dcos_etcd_proxy", service, ""), unit(" dcos-net.service", seed))
	sameLines(t, dcosRendered(t, "dcos_etcd_proxy", service, "", "host_dcos: {agent: dcos-mesos-slave.service}\n"), unit("", seed))
	sameLines(t, dcosRendered(t, "dcos_etcd_proxy", service, "calico_version: v3.28.5\ndcos_etcd_access: grpc-proxy\netcd_version: 3.5.21\netcd_srv_domain: etcd.example.com\n",
		"host_dcos: {unit_dcos-spartan: \"yes\", unit_dcos-net: \"yes\"}\n"), unit(" dcos-net.service dcos-spartan.service", "/opt/calroll/etcd-v3.5.21-linux-amd64/etcd"+
		" grpc-proxy start --discovery-srv=etcd.example.com --insecure-discovery --listen-addr=127.0.0.1:2379 --advertise-client-url=127.0.0.1:2379 --data-dir=/var/lib/calroll/etcd-proxy"))
}

// TestDCOSNetworks are F-20 and F-21.
func TestDCOSNetworks(t *testing.T) {
	sameJSON(t, dcosRendered(t, "dcos_cni", "calico.cni.j2", ""), `{
		"name": "calico", "type": "calico", "etcd_endpoints": "http://localhost:2379", "ipam": {"type": "calico-ipam"}
	}`) // E21
	sameJSON(t, dcosRendered(t, "dcos_cni", "cni.conflist.j2", ""), kubeCNI("kubernetes", ""))                 // E36-E38
	sameJSON(t, dcosRendered(t, "dcos_cni", "cni.conflist.j2", "dcos_k8s_service: k8s\n"), kubeCNI("k8s", "")) // Q18
	const tls = `"etcd_ca_cert_file": "/etc/calico/certs/ca.pem", "etcd_cert_file": "/etc/calico/certs/cert.pem", "etcd_key_file": "/etc/calico/certs/key.pem",`
	const direct = modernVars + "calico_version: v3.28.5\ndcos_etcd: external\n"
	sameJSON(t, dcosRendered(t, "dcos_cni", "cni.conflist.j2", direct),
		strings.Replace(kubeCNI("kubernetes", tls), "http://localhost:2379", "https://10.0.0.9:2379,https://10.0.0.10:2379", 1))
}

func kubeCNI(service, more string) string {
	return `{
		"cniVersion": "0.3.0",
		"name": "kube-cni",
		"plugins": [
			{
				"type": "calico",
				"etcd_endpoints": "http://localhost:2379",` + more + `
				"ipam": {"type": "calico-ipam"},
				"policy": {
					"type": "k8s",
					"k8s_api_root": "https://apiserver.` + service + `.l4lb.thisdcos.directory:6443",
					"k8s_client_certificate": "/etc/calico/certs/kubernetes/crt.pem",
					"k8s_client_key": "/etc/calico/certs/kubernetes/private.pem",
					"k8s_certificate_authority": "/etc/calico/certs/kubernetes/ca.pem"
				}
			},
			{"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}
		]
	}`
}

// TestDCOSEnv is F-01 for Calico 2.6.6 on DC/OS.
func TestDCOSEnv(t *testing.T) {
	want := []string{
		"ETCD_ENDPOINTS=http://localhost:2379", // F-01; the proxy
		"NODENAME=node1", "IP=", "IP6=", "AS=",
		"NO_DEFAULT_POOLS=",
		"CALICO_IPV4POOL_CIDR=192.168.0.0/16",
		"CALICO_IPV4POOL_IPIP=off", // outside a public cloud
		"CALICO_IPV4POOL_NAT_OUTGOING=true",
		"CALICO_NETWORKING_BACKEND=bird",
		"CALICO_LIBNETWORK_ENABLED=false",
		"CLUSTER_TYPE=mesos", // S-08 on DC/OS
		"CALICO_DISABLE_FILE_LOGGING=false",
		"FELIX_DEFAULTENDPOINTTOHOSTACTION=ACCEPT",
		"FELIX_HEALTHENABLED=true", // from 2.4 on
		"FELIX_IPV6SUPPORT=false",
	}
	sameLines(t, dcosRendered(t, "calico_node", "calico.env.j2", ""), want)
	// In a public cloud the pool is made later, by C-01.
	want = slices.DeleteFunc(want, func(line string) bool { return strings.HasPrefix(line, "CALICO_IPV4POOL_") })
	want[slices.Index(want, "NO_DEFAULT_POOLS=")] = "NO_DEFAULT_POOLS=true"
	sameLines(t, dcosRendered(t, "calico_node", "calico.env.j2", "cloud: gce\n"), append(want, "FELIX_IPINIPMTU=1480"))
}

// TestDCOSVersions: the tested set of the guide.
func TestDCOSVersions(t *testing.T) {
	for expression, want := range map[string]string{
		"node_image": `"quay.io/calico/node:v2.6.6"`, // E16, E46
		"[calico_components.node, calico_components.calicoctl, calico_components.cni]": `["v2.6.6", "v1.6.3", "v1.11.2"]`,
		"artifact_ctl":                 `"projectcalico/calicoctl/releases/download/v1.6.3/calicoctl"`,          // E14
		"artifact_cni":                 `"projectcalico/cni-plugin/releases/download/v1.11.2/calico"`,           // E18
		"artifact_cni_ipam":            `"projectcalico/cni-plugin/releases/download/v1.11.2/calico-ipam"`,      // E18
		"dcos_etcd_url":                `"coreos/etcd/releases/download/v3.3.1/etcd-v3.3.1-linux-amd64.tar.gz"`, // E11
		"dcos_controller_image":        `"quay.io/calico/kube-controllers:v1.0.3"`,                              // Q5
		"standard_plugins_facts.names": `["loopback", "portmap", "host-local"]`,                                 // F-21 chains portmap
		"calico_hosts":                 `["node1", "node2"]`,                                                    // E9
		"cni_bin_dir":                  `"/opt/mesosphere/active/cni"`,                                          // E20
	} {
		if got := dcosValue(t, "dcos_settings", expression, ""); got != want {
			t.Errorf("%s is %s, want %s", expression, got, want)
		}
	}
}

// TestDCOSSysctl: E12, whatever the release, because DC/OS sets it loose.
func TestDCOSSysctl(t *testing.T) {
	sameLines(t, dcosRendered(t, "host_prep", "sysctl.conf.j2", "calico_version: v3.28.5\nconntrack_max: 0\n"), []string{
		"net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.default.rp_filter=1"})
}

// TestDCOSPool is C-01 in both generations.
func TestDCOSPool(t *testing.T) {
	tests := map[string]string{
		"cloud: gce\n": `{"apiVersion": "v1", "kind": "ipPool", "metadata": {"cidr": "192.168.0.0/16"}, "spec": {"ipip": {"enabled": true}, "nat-outgoing": true}}`, // E27
		"cloud: aws\n": `{"apiVersion": "v1", "kind": "ipPool", "metadata": {"cidr": "192.168.0.0/16"}, "spec": {"ipip": {"enabled": true, "mode": "cross-subnet"}, "nat-outgoing": true}}`,
		"cloud: aws\ncalico_version: v3.28.5\n": `{"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "default-ipv4-ippool"},
			"spec": {"cidr": "192.168.0.0/16", "ipipMode": "CrossSubnet", "natOutgoing": true, "vxlanMode": "Never", "blockSize": 26}}`,
		"calico_version: v3.0.12\nmanage_pool: true\n": `{"apiVersion": "projectcalico.org/v3", "kind": "IPPool", "metadata": {"name": "default-ipv4-ippool"},
			"spec": {"cidr": "192.168.0.0/16", "ipipMode": "Never", "natOutgoing": true}}`,
	}
	for text, want := range tests {
		sameJSON(t, dcosValue(t, "calico_pool", "calico_pool_object", text), want)
	}
}

// TestPoolOfOthers: fields that nobody said are as Calico takes them, other values count, and so do pools of other addresses that nobody named.
func TestPoolOfOthers(t *testing.T) {
	const v3 = "calico_version: v3.28.5\npool_encap: ipip-always\n"
	for _, c := range []struct{ vars, pool, there, same string }{
		{"cloud: gce\n", `{metadata: {cidr: 192.168.0.0/16}, spec: {ipip: {enabled: true, mode: always}, nat-outgoing: true}}`, "1", "1"},
		{"cloud: gce\n", `{metadata: {cidr: 192.168.0.0/16}, spec: {ipip: {enabled: true, mode: cross-subnet}, nat-outgoing: true}}`, "1", "0"},
		{"cloud: gce\n", `{metadata: {cidr: 192.168.0.0/16}, spec: {ipip: {enabled: true}}}`, "1", "0"},
		{"cloud: gce\n", `{metadata: {cidr: 192.168.0.0/16}, spec: {nat-outgoing: true}}`, "1", "0"},
		{"cloud: none\n", `{metadata: {cidr: 192.168.0.0/16}, spec: {ipip: {enabled: true}, nat-outgoing: true}}`, "1", "0"},
		{"cloud: none\n", `{metadata: {cidr: 192.168.0.0/16}, spec: {nat-outgoing: true}}`, "1", "1"},
		{v3, `{metadata: {name: a}, spec: {cidr: 192.168.0.0/16, ipipMode: Always, vxlanMode: Never, natOutgoing: true, blockSize: 26, nodeSelector: all()}}`, "1", "1"},
		{v3, `{metadata: {name: a}, spec: {cidr: 192.168.0.0/16, ipipMode: Always, natOutgoing: true}}`, "1", "1"},
		{v3, `{metadata: {name: a}, spec: {cidr: 192.168.0.0/16, ipipMode: Always, natOutgoing: true, blockSize: 24}}`, "1", "0"},
		{v3, `{metadata: {name: a}, spec: {cidr: 192.168.0.0/16, ipipMode: Always}}`, "1", "0"},
		{v3, `{metadata: {name: a}, spec: {cidr: 192.168.0.0/16, ipipMode: "", vxlanMode: Always, natOutgoing: true}}`, "1", "0"},
		{v3, `{metadata: {name: a}, spec: {cidr: 10.9.0.0/16, ipipMode: Always, natOutgoing: true}}`, "1", "0"},
		{v3 + "pool_others: [10.9.0.0/16]\n", `{metadata: {name: a}, spec: {cidr: 10.9.0.0/16, ipipMode: Always, natOutgoing: true}}`, "0", "0"},
		{v3, `{metadata: {name: a}, spec: {cidr: "fd00::/48", ipipMode: Never}}`, "0", "0"},
	} {
		facts := "calico_pool_found: {resources: [" + c.pool + "]}\n"
		if got, want := dcosValue(t, "calico_pool", "[calico_pool_there | length, calico_pool_same | length]", c.vars, facts), "["+c.there+", "+c.same+"]"; got != want {
			t.Errorf("%s with %q: there and the same are %s, want %s", c.pool, c.vars, got, want)
		}
	}
}

// TestDCOSKubernetesOptions: E39, E40.
func TestDCOSKubernetesOptions(t *testing.T) {
	sameJSON(t, dcosValue(t, "dcos_kubernetes", "dcos_kubernetes_options", ""), `{"kubernetes": {"network_provider": "calico"}}`)
	sameJSON(t, dcosValue(t, "dcos_kubernetes", "dcos_kubernetes_options", "dcos_k8s_options: {kubernetes: {node_count: 3}}\ndcos_k8s_service: prod\n"),
		`{"kubernetes": {"network_provider": "calico", "node_count": 3}, "service": {"name": "prod"}}`)
}

// TestDCOSController is K-20.
func TestDCOSController(t *testing.T) {
	sameJSON(t, dcosValue(t, "dcos_controller", "dcos_controller_object", "", "dcos_controller_api: {served: {Deployment: [extensions/v1beta1]}}\n"), `{
		"apiVersion": "extensions/v1beta1",
		"kind": "Deployment",
		"metadata": {"name": "calico-kube-controller", "namespace": "kube-system", "labels": {"k8s-app": "calico-kube-controller"}},
		"spec": {
			"replicas": 1,
			"selector": {"matchLabels": {"k8s-app": "calico-kube-controller"}},
			"template": {
				"metadata": {"name": "calico-kube-controller", "namespace": "kube-system", "labels": {"k8s-app": "calico-kube-controller"}},
				"spec": {
					"hostNetwork": true,
					"containers": [{
						"name": "calico-kube-controller",
						"image": "quay.io/calico/kube-controllers:v1.0.3",
						"env": [
							{"name": "ETCD_ENDPOINTS", "value": "http://localhost:2379"},
							{"name": "CONFIGURE_ETC_HOSTS", "value": "true"}
						]
					}]
				}
			}
		}
	}`)
	if got := dcosValue(t, "dcos_controller", "dcos_controller_group", "", "dcos_controller_api: {served: {Deployment: [extensions/v1beta1, apps/v1]}}\n"); got != `"apps/v1"` {
		t.Errorf("a server with apps/v1 gets %s", got)
	}
}

// dcosClosed are the gates of some topics that close on an agent: "id level: found -> remedy".
func dcosClosed(t *testing.T, topics []any, hostVars string, facts ...string) []string {
	t.Helper()
	scope, task := dcosScope(t, "preflight", hostVars, facts...)
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

// preflight_dcos has the variables of the gates too: its role is in the play.
const dcosEnterprise = "preflight_dcos_enterprise: true\npreflight_dcos_provider: \"\"\n"

// TestDCOSGates closes each gate of DC/OS once, and it alone.
func TestDCOSGates(t *testing.T) {
	topics := []any{"host", "node", "unit", "etcd", "release", "hop", "dcos"}
	const sums = "allow_unverified: true\n" // nobody publishes sums for releases of that time
	if got := dcosClosed(t, topics, sums, soundHost, dcosEnterprise); len(got) > 0 {
		t.Fatalf("gates close on a sound agent: %s", got)
	}
	for _, tt := range dcosCases {
		got := dcosClosed(t, tt.topicsOr(topics), sums+tt.vars, soundHost, dcosEnterprise, tt.facts)
		if tt.gate == "P-22 stop" {
			got = without(got, "G-32 ")
		}
		if len(got) != 1 || !strings.HasPrefix(got[0], tt.gate) || !strings.Contains(got[0], tt.found) || !strings.Contains(got[0], tt.remedy) {
			t.Errorf("%q and %q: got %q, want %s ... %s ... %s", tt.vars, tt.facts, got, tt.gate, tt.found, tt.remedy)
		}
	}
	if got := dcosClosed(t, topics, sums+"k8s_on_dcos: false\n", soundHost, "preflight_dcos_enterprise: false\npreflight_dcos_provider: dcos\n"); len(got) > 0 {
		t.Errorf("without Kubernetes on DC/OS: %q", got)
	}
	if got := dcosClosed(t, []any{"dcos_nodes"}, "", dcosNodes("node1", "node2")); len(got) > 0 {
		t.Errorf("with all nodes: %q", got)
	}
}

// dcosNodes is what calico_resource_info answers when these nodes are there.
func dcosNodes(names ...string) string {
	var items []string
	for _, n := range names {
		items = append(items, `{"metadata": {"name": "`+n+`"}}`)
	}
	return "dcos_health_list: {changed: false, resources: [" + strings.Join(items, ", ") + "]}\n"
}

// dcosCase closes one gate. Without topics it is one of those that are evaluated first.
type dcosCase struct{ gate, vars, facts, found, remedy string }

func (c dcosCase) topicsOr(first []any) []any {
	if strings.HasPrefix(c.gate, "G-31") {
		return []any{"dcos_nodes"}
	}
	return first
}

var dcosCases = []dcosCase{
	{"G-31 stop", "", dcosNodes("node1"), "1 nodes (node1) for 2 agents", "look at calico-node"},
	{"P-20 stop", "", "host_dcos: {active: \"yes\"}\n", "no unit dcos-mesos-slave", "put only agents"},
	{"P-20 stop", "", "host_dcos: {agent: dcos-mesos-slave.service}\n", "has no /opt/mesosphere/active", "put only agents"},
	{"P-20 stop", "", "preflight_dcos_provider: dcos\n", "network provider dcos", "uninstall the package kubernetes"},
	{"P-20 warn", "", "host_dcos: {agent: a, active: \"yes\", bgp_dropped: 10.0.0.2}\n", "TCP 179 of 10.0.0.2", "open TCP 179"},
	{"P-21 stop", "", "preflight_dcos_nodes: {rc: 1, stderr: not logged in}\n", "not logged in", "dcos auth login"},
	{"P-22 stop", "cloud: aws\nack: [G-32]\n", "host_dcos: {agent: a, active: \"yes\", bgp_dropped: 10.0.0.2}\n", "TCP 179 of 10.0.0.2", "security groups"},
	{"G-29 stop", "", "preflight_dcos_enterprise: false\n", "not DC/OS Enterprise", "set k8s_on_dcos to false"},
	{"G-30 stop", "calico_version: v3.28.5\n", "", "forwards the v2 API alone", "set dcos_etcd_access to grpc-proxy"},
	{"G-30 stop", "dcos_etcd_access: grpc-proxy\n", "", "forwards the v3 API alone", "set dcos_etcd_access to proxy"},
	{"G-30 stop", "etcd_version: 3.6.0\n", "", "no --proxy any more", "3.5 or older"},
	{"G-30 stop", "", "preflight_dcos_srv: {failed: true, msg: no such host}\n", "cannot find etcd: no such host", "_etcd-server._tcp.etcd.mesos"},
	{"G-32 ask", "cloud: aws\npool_encap: \"off\"\n", "", "AWS must let", "source/destination check off"},
	{"G-32 ask", "cloud: gce\npool_encap: \"off\"\n", "", "GCE must let", "a firewall rule"},
	{"G-32 stop", "cloud: azure\n", "", "Azure passes neither", "user-defined routes"},
	{"G-32 ask", "cloud: azure\nnetworking_backend: none\n", "", "Azure must route", "user-defined routes"},
}

// TestDCOSEnterprise: either sign of an Enterprise cluster will do.
func TestDCOSEnterprise(t *testing.T) {
	for facts, want := range map[string]string{
		"preflight_dcos_security: {rc: 0}\n": "true",
		"preflight_dcos_security: {rc: 1}\npreflight_dcos_login: {rc: 0, stdout: '{\"dcos-users\": {\"authentication-type\": \"dcos-uid-password\"}}'}\n": "true",
		"preflight_dcos_security: {rc: 1}\npreflight_dcos_login: {rc: 0, stdout: '{\"dcos-oidc-auth0\": {}}'}\n":                                          "false",
		"preflight_dcos_security: {rc: 1}\npreflight_dcos_login: {rc: 1, stdout: \"\"}\n":                                                                 "false",
	} {
		if got := dcosValue(t, "preflight_dcos", "preflight_dcos_enterprise", "", facts); got != want {
			t.Errorf("%s: Enterprise is %s, want %s", facts, got, want)
		}
	}
}

// TestDCOSSettingRules breaks each rule between the settings of DC/OS once.
func TestDCOSSettingRules(t *testing.T) {
	mistakes := func(text string) string { return dcosValue(t, "dcos_settings", "dcos_setting_mistakes", text) }
	for _, sound := range []string{"", "cloud: gce\n", "dcos_install: universe\n", "dcos_etcd: external\netcd_endpoints: [\"http://10.0.0.9:2379\"]\n",
		"dcos_etcd: external\netcd_srv_domain: example.com\n", "dcos_etcd_access: grpc-proxy\ncalico_version: v3.28.5\n"} {
		if got := mistakes(sound); got != "[]" {
			t.Errorf("%q: %s", sound, got)
		}
	}
	for text, want := range map[string]string{
		"dcos_etcd: external\netcd_endpoints: [\"http://a:1\"]\ndcos_etcd_access: proxy\n": "with a proxy leave them out",
		"dcos_etcd: external\ndcos_etcd_access: direct\n":                                  "needs etcd_endpoints",
		"etcd_endpoints: [\"http://a:1\"]\n":                                               "use dcos_etcd external",
		"dcos_install: universe\ndcos_etcd: external\n":                                    "brings its own etcd",
		"dcos_install: universe\ncalico_version: v3.28.5\n":                                "the Universe package has Calico 2",
		"etcd_version: latest\n":                                                           "write it like 3.3.1",
		"etcd_srv_domain: \"a b\"\n":                                                       "is no domain",
		"dcos_cni_bin_dir: cni\n":                                                          "must be absolute",
		"dcos_k8s_service: Kube\n":                                                         "lower-case DNS label",
		"dcos_k8s_options: {kubernetes: {network_provider: dcos}}\n":                       "leave network_provider out",
		"dcos_controller_image: calico/kube-policy-controller:v0.3.0\n":                    "does not know the data", // Q5, E47
		"unit_style: seed\n":                                                               "leave it out on DC/OS",
		"cloud: gce\nfelix_env: {CALICO_IPV4POOL_CIDR: 10.9.0.0/16}\n":                     "use one of them",
	} {
		if got := mistakes(text); !strings.Contains(got, want) || strings.Contains(got, `", "`) {
			t.Errorf("%q: got %s, want one with %q", text, got, want)
		}
	}
	if got := mistakes("dcos_controller_image: calico/kube-policy-controller:v0.7.0\n"); got != "[]" { // Q5
		t.Errorf("kube-policy-controller 0.7.0: %s", got)
	}
}

// TestEveryDCOSSettingIsDescribed: a variable has a default, a type with a description, and a row in the document.
func TestEveryDCOSSettingIsDescribed(t *testing.T) {
	l := loader(expr.New(expr.Options{}))
	defaults, err := l.LoadVars(playbooks.CatalogPrefix + "roles/dcos_settings/defaults/main.yml")
	if err != nil {
		t.Fatal(err)
	}
	specs, err := l.LoadVars(playbooks.CatalogPrefix + "roles/dcos_settings/meta/argument_specs.yml")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/dcos-calico.md")
	if err != nil {
		t.Fatal(err)
	}
	options := at(t, specs.Dict(), "argument_specs", "validate", "options")
	for _, name := range defaults.Names() {
		if d, ok := options.At(name).(*value.Dict); !ok || expr.String(d.At("description")) == "" {
			t.Errorf("%s has no type and description", name)
		}
		if !strings.Contains(string(doc), "`"+name+"`") {
			t.Errorf("docs/dcos-calico.md does not describe %s", name)
		}
	}
	if len(defaults.Names()) != options.Len() {
		t.Errorf("%d variables have a default and %d a description", len(defaults.Names()), options.Len())
	}
}

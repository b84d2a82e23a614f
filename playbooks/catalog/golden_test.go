package catalog_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
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
)

// The texts below are written by hand from what each file must be, key by key, and not made by the templates under test. The words
// F-01 and so on are the names of the files in docs/calico-etcd.md.

// seedVars is a host as the old guide has it: no TLS, a kubelet, docker.
const seedVars = `
profile: seed
etcd_endpoints: ["http://10.0.0.9:2379"]
kube_version: "1.5.4"
with_kubernetes: true
cni_kubeconfig: /etc/kubernetes/calico.kubeconfig
`

// modernVars is a host of today: TLS, no kubelet yet, docker.
const modernVars = `
etcd_endpoints: ["https://10.0.0.9:2379", "https://10.0.0.10:2379"]
etcd_ca_file: /certs/ca.pem
etcd_cert_file: /certs/cert.pem
etcd_key_file: /certs/key.pem
`

// factsOfHost are what setup and the role host_facts find on a host.
const factsOfHost = `
ansible_facts:
  architecture: x86_64
  nodename: node1
  os_family: Debian
  default_ipv4: {address: 10.0.0.1, interface: eth0, mtu: 1500}
host_found: {runtimes: docker, path_docker: /usr/bin/docker, cgroup: "1", iptables: nft, kernel: 6.1.0, conntrack_max: "65536", conntrack_writable: "yes"}
host_runtime: docker
host_has_kubelet: false
host_kubelet_version: ""
host_installed_version: ""
host_candidates: [10.0.0.1]
calico_nodename: node1
`

// rendered is the outcome of a role's template on a host with these variables.
func rendered(t *testing.T, role, template, hostVars string, facts ...string) string {
	t.Helper()
	env := expr.New(expr.Options{})
	scope, _ := hostScope(t, env, role, hostVars, facts...)
	return renderedIn(t, env, scope, role, template)
}

// renderedIn is the outcome of a role's template as its tasks would render it.
func renderedIn(t *testing.T, env *expr.Env, scope *vars.Scope, role, template string) string {
	t.Helper()
	l := loader(env)
	file := playbooks.CatalogPrefix + "roles/" + role + "/templates/" + template
	text, err := l.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out, err := scope.RenderFile(string(text), source.Pos{File: file}, nil, expr.TemplateModule())
	if err != nil {
		t.Fatalf("%s for %s: %v", template, role, err)
	}
	return out
}

// calicoEtcd is the playbook, read once for all tests, without its first play, which tells hosted from integrated.
var calicoEtcd = sync.OnceValues(func() (*playbooks.Playbook, error) {
	pb, err := loader(expr.New(expr.Options{})).Load("calico-etcd")
	if err != nil {
		return nil, err
	}
	pb.Plays = pb.Plays[1:]
	return pb, nil
})

// hostScope is how the tasks of a role of calico-etcd see a host.
func hostScope(t *testing.T, env *expr.Env, role, hostVars string, facts ...string) (*vars.Scope, *playbooks.Task) {
	t.Helper()
	pb, err := calicoEtcd()
	if err != nil {
		t.Fatal(err)
	}
	return playbookScope(t, env, pb, role, hostVars, facts...)
}

// playbookScope is how the tasks of a role of a playbook see a host.
func playbookScope(t *testing.T, env *expr.Env, pb *playbooks.Playbook, role, hostVars string, facts ...string) (*vars.Scope, *playbooks.Task) {
	t.Helper()
	dir := t.TempDir()
	inv := filepath.Join(dir, "inventory.yml")
	write(t, inv, "kube_control_plane: {hosts: {node1: {}}}\nkube_node: {hosts: {node2: {}}}\n")
	write(t, filepath.Join(dir, "host_vars", "node1.yml"), hostVars)
	hosts, err := inventory.Load(context.Background(), []string{inv})
	if err != nil {
		t.Fatal(err)
	}
	task := taskOf(pb, role)
	if task == nil {
		t.Fatalf("the playbook has no task of the role %s", role)
	}
	world := vars.New(vars.Options{Inventory: hosts, Env: env, Magic: value.NewDict("ansible_check_mode", false)})
	world.StartPlaybook(pb.Dir)
	world.StartPlay(vars.Play{Vars: pb.Plays[0].Vars})
	world.SetHosts([]string{"node1", "node2"})
	for _, text := range append([]string{factsOfHost}, facts...) {
		v, _, err := value.ReadVars("facts.yml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		d := v.Dict()
		if f, ok := d.At("ansible_facts").(*value.Dict); ok {
			world.Host("node1").AddFacts(f)
			d.Delete("ansible_facts")
		}
		if other, ok := d.At("node2").(*value.Dict); ok {
			world.Host("node2").SetFacts(other)
			d.Delete("node2")
		}
		world.Host("node1").SetFacts(d)
	}
	r := task.Role
	return world.Host("node1").Task(vars.Task{Vars: task.Vars, Search: task.SearchDirs,
		Role: &vars.Role{Name: r.Name, Path: r.Path, Defaults: r.DefaultVars(), Vars: r.RoleVars(), Params: r.RoleParams()}}), task
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// taskOf is the first task of a role in a playbook.
func taskOf(pb *playbooks.Playbook, role string) *playbooks.Task {
	return taskThat(pb, func(t *playbooks.Task) bool { return t.Role != nil && t.Role.Name == role })
}

// taskThat is the first task of a playbook that is wanted; nil without one.
func taskThat(pb *playbooks.Playbook, wanted func(*playbooks.Task) bool) *playbooks.Task {
	var find func(nodes []playbooks.Node) *playbooks.Task
	find = func(nodes []playbooks.Node) *playbooks.Task {
		for _, n := range nodes {
			switch n := n.(type) {
			case *playbooks.Task:
				if wanted(n) {
					return n
				}
			case *playbooks.Block:
				if task := find(slices.Concat(n.Main, n.Rescue, n.Always)); task != nil {
					return task
				}
			}
		}
		return nil
	}
	for _, p := range pb.Plays {
		if task := find(slices.Concat(p.PreTasks, p.Tasks, p.PostTasks)); task != nil {
			return task
		}
	}
	return nil
}

// sameLines compares texts line by line, without comments and empty lines.
func sameLines(t *testing.T, got string, want []string) {
	t.Helper()
	var lines []string
	for line := range strings.Lines(got) {
		if line = strings.TrimRight(line, "\n"); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(lines, "\n  "), strings.Join(want, "\n  "))
	}
}

func sameJSON(t *testing.T, got, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatalf("no JSON: %v\n%s", err, got)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(g, w) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestSeedUnit is F-02 in the seed style: the guide's unit key for key, with the node's name in place of the empty ${HOSTNAME}.
func TestSeedUnit(t *testing.T) {
	sameLines(t, rendered(t, "calico_node", "calico-node.service.j2", seedVars), []string{
		"[Unit]",
		"Description=calico node", // B19
		"After=docker.service",    // B20
		"Requires=docker.service", // B20
		"[Service]",               //
		"User=root",               // B21
		"Environment=ETCD_ENDPOINTS=http://10.0.0.9:2379",                             // B21, B27
		"PermissionsStartOnly=true",                                                   // B21
		"ExecStart=/usr/bin/docker run --net=host --privileged --name=calico-node \\", // B16, no --rm
		"  -e ETCD_ENDPOINTS=${ETCD_ENDPOINTS} \\",                                    // B22
		"  -e NODENAME=%H \\",                                                         // B22: %H, because systemd gives services no HOSTNAME
		"  -e IP= \\",                                                                 // B22
		"  -e NO_DEFAULT_POOLS= \\",                                                   // B22
		"  -e AS= \\",                                                                 // B22
		"  -e CALICO_LIBNETWORK_ENABLED=true \\",                                      // B22, seed profile alone
		"  -e IP6= \\",                                                                // B22
		"  -e CALICO_NETWORKING_BACKEND=bird \\",                                      // B22
		"  -e FELIX_DEFAULTENDPOINTTOHOSTACTION=ACCEPT \\",                            // B22
		"  -v /var/run/calico:/var/run/calico \\",                                     // B23
		"  -v /lib/modules:/lib/modules \\",                                           // B23
		"  -v /run/docker/plugins:/run/docker/plugins \\",                             // B23
		"  -v /var/run/docker.sock:/var/run/docker.sock \\",                           // B23
		"  -v /var/log/calico:/var/log/calico \\",                                     // B23
		"  quay.io/calico/node:v1.1.3",                                                // B24
		"ExecStop=/usr/bin/docker rm -f calico-node",                                  // B25
		"Restart=always",                                                              // B26
		"RestartSec=10",                                                               // B26
		"[Install]",
		"WantedBy=multi-user.target", // B26
	})
}

// TestSeedCNI is F-06 for Calico 2.1: no cniVersion, because runtimes of that time did not know it.
func TestSeedCNI(t *testing.T) {
	sameJSON(t, rendered(t, "cni_config", "cni.json.j2", seedVars), `{
		"name": "calico-k8s-network",
		"type": "calico",
		"etcd_endpoints": "http://10.0.0.9:2379",
		"log_level": "info",
		"ipam": {"type": "calico-ipam"},
		"policy": {"type": "k8s"},
		"kubernetes": {"kubeconfig": "/etc/kubernetes/calico.kubeconfig"}
	}`)
}

// TestSeedCNIWithoutPolicy: the policy section is there only with policy; from Kubernetes 1.16 on a version must be declared.
func TestSeedCNIWithoutPolicy(t *testing.T) {
	sameJSON(t, rendered(t, "cni_config", "cni.json.j2", seedVars+"with_policy: false\nkube_version: \"1.16.0\"\n"), `{
		"name": "calico-k8s-network",
		"cniVersion": "0.1.0",
		"type": "calico",
		"etcd_endpoints": "http://10.0.0.9:2379",
		"log_level": "info",
		"ipam": {"type": "calico-ipam"},
		"kubernetes": {"kubeconfig": "/etc/kubernetes/calico.kubeconfig"}
	}`)
}

// TestSeedEnv is F-01 for Calico 2.1.5 under the hardened unit: keys of later releases are absent.
func TestSeedEnv(t *testing.T) {
	sameLines(t, rendered(t, "calico_node", "calico.env.j2", seedVars+"unit_style: hardened\nmanage_pool: false\n"), []string{
		"ETCD_ENDPOINTS=http://10.0.0.9:2379", // F-01; no DATASTORE_TYPE before 3.0
		"NODENAME=node1",                      // always, never $HOSTNAME
		"IP=", "IP6=", "AS=",                  // always, may be empty
		"NO_DEFAULT_POOLS=",                   // always
		"CALICO_IPV4POOL_CIDR=192.168.0.0/16", // pools are made by calico/node
		"CALICO_IPV4POOL_IPIP=always",         // the words of before 3.0
		"CALICO_IPV4POOL_NAT_OUTGOING=true",   //
		"CALICO_NETWORKING_BACKEND=bird",      // always
		"CALICO_LIBNETWORK_ENABLED=true",      // before 3.0
		"CLUSTER_TYPE=k8s,bgp",                // always
		"CALICO_DISABLE_FILE_LOGGING=false",   // integrated mode
		"FELIX_DEFAULTENDPOINTTOHOSTACTION=ACCEPT",
		"FELIX_IPV6SUPPORT=false", // no FELIX_HEALTHENABLED before 2.4, no FELIX_HEALTHHOST before 3.2
		"FELIX_IPINIPMTU=1480",    // 1500 - 20
	})
}

// TestModernUnit is F-02 hardened, for docker.
func TestModernUnit(t *testing.T) {
	sameLines(t, rendered(t, "calico_node", "calico-node.service.j2", modernVars), []string{
		"[Unit]",
		"Description=calico node",
		"After=network-online.target docker.service",
		"Requires=docker.service",
		"Wants=network-online.target",
		"StartLimitIntervalSec=0", // Restart=always never gives up
		"[Service]",
		"User=root",
		"EnvironmentFile=/etc/calico/calico.env",
		"ExecStartPre=-/usr/bin/docker rm -f calico-node", // a container left over after a power loss
		"ExecStartPre=/bin/touch /run/xtables.lock",       // a mount of a missing file would become a folder
		"ExecStart=/usr/bin/docker run --rm --net=host --privileged --name=calico-node \\",
		"  --env-file /etc/calico/calico.env \\",
		"  -v /var/run/calico:/var/run/calico \\",
		"  -v /var/log/calico:/var/log/calico \\",
		"  -v /lib/modules:/lib/modules:ro \\",
		"  -v /var/lib/calico:/var/lib/calico \\",        // the nodename file, which plugins from 3.1 on read
		"  -v /run/xtables.lock:/run/xtables.lock \\",    // from 3.0 on
		"  -v /etc/calico/certs:/etc/calico/certs:ro \\", // TLS
		"  docker.io/calico/node:v3.28.5",
		"ExecStop=-/usr/bin/docker rm -f calico-node",
		"CPUShares=256", // cgroup v1
		"Restart=always",
		"RestartSec=10",
		"[Install]",
		"WantedBy=multi-user.target",
	})
}

// TestModernEnv is F-01 for Calico 3.28 with TLS, VXLAN off, on a host with iptables of the nft kind.
func TestModernEnv(t *testing.T) {
	sameLines(t, rendered(t, "calico_node", "calico.env.j2", modernVars+"manage_pool: false\npool_encap: \"off\"\nfelix_env: {FELIX_LOGSEVERITYSCREEN: debug}\n"), []string{
		"ETCD_ENDPOINTS=https://10.0.0.9:2379,https://10.0.0.10:2379",
		"ETCD_CA_CERT_FILE=/etc/calico/certs/ca.pem",
		"ETCD_CERT_FILE=/etc/calico/certs/cert.pem",
		"ETCD_KEY_FILE=/etc/calico/certs/key.pem",
		"DATASTORE_TYPE=etcdv3", // from 3.0 on
		"NODENAME=node1",
		"IP=", "IP6=", "AS=",
		"NO_DEFAULT_POOLS=",
		"CALICO_IPV4POOL_CIDR=192.168.0.0/16",
		"CALICO_IPV4POOL_IPIP=Never", // the words of 3.0 and later
		"CALICO_IPV4POOL_NAT_OUTGOING=true",
		"CALICO_IPV4POOL_VXLAN=Never", // from 3.7 on
		"CALICO_NETWORKING_BACKEND=bird",
		"CLUSTER_TYPE=k8s,bgp",
		"CALICO_DISABLE_FILE_LOGGING=false",
		"FELIX_DEFAULTENDPOINTTOHOSTACTION=ACCEPT",
		"FELIX_HEALTHENABLED=true",      // from 2.4 on
		"FELIX_HEALTHHOST=localhost",    // from 3.2 on
		"FELIX_IPV6SUPPORT=false",       //
		"FELIX_IPTABLESBACKEND=Auto",    // from 3.18 on, for nft
		"FELIX_LOGSEVERITYSCREEN=debug", // felix_env
	})
}

// TestModernCNI is F-07: a list with portmap behind the calico plugin.
func TestModernCNI(t *testing.T) {
	sameJSON(t, rendered(t, "cni_config", "cni.json.j2", modernVars+"pool_encap: vxlan-always\nwith_kubernetes: true\n"), `{
		"name": "calico-k8s-network",
		"cniVersion": "0.3.1",
		"plugins": [
			{
				"type": "calico",
				"etcd_endpoints": "https://10.0.0.9:2379,https://10.0.0.10:2379",
				"etcd_ca_cert_file": "/etc/calico/certs/ca.pem",
				"etcd_cert_file": "/etc/calico/certs/cert.pem",
				"etcd_key_file": "/etc/calico/certs/key.pem",
				"log_level": "info",
				"nodename": "node1",
				"mtu": 1450,
				"ipam": {"type": "calico-ipam"},
				"policy": {"type": "k8s"},
				"kubernetes": {"kubeconfig": "/etc/cni/net.d/calico-kubeconfig"}
			},
			{"type": "portmap", "snat": true, "capabilities": {"portMappings": true}}
		]
	}`)
}

// TestCNIOfOldKubelet: a kubelet before 1.7 does not read lists.
func TestCNIOfOldKubelet(t *testing.T) {
	sameJSON(t, rendered(t, "cni_config", "cni.json.j2", "etcd_endpoints: [\"http://10.0.0.9:2379\"]\ncalico_version: v3.1.7\nkube_version: \"1.6.0\"\nmtu: 1400\ncni_extra: {log_file_path: /var/log/cni.log}\n"), `{
		"name": "calico-k8s-network", "cniVersion": "0.3.0", "type": "calico", "etcd_endpoints": "http://10.0.0.9:2379",
		"log_level": "info", "nodename": "node1", "mtu": 1400, "ipam": {"type": "calico-ipam"}, "log_file_path": "/var/log/cni.log"
	}`)
}

// TestUnitOfEachRuntime: the same mounts everywhere, in each runtime's own words.
func TestUnitOfEachRuntime(t *testing.T) {
	tests := map[string][]string{
		"podman": {
			"After=network-online.target",
			"ExecStartPre=-/usr/bin/podman rm -f calico-node",
			"ExecStart=/usr/bin/podman run --replace --cgroups=no-conmon --rm --net=host --privileged --name=calico-node \\",
		},
		"nerdctl": {
			"Requires=containerd.service",
			"ExecStart=/usr/bin/nerdctl --namespace calico run --rm --net=host --privileged --name=calico-node \\",
			"ExecStop=-/usr/bin/nerdctl --namespace calico rm -f calico-node",
		},
		"ctr": {
			"Requires=containerd.service",
			"ExecStartPre=-/usr/bin/ctr --namespace calico task kill -s SIGKILL calico-node",
			"ExecStartPre=-/usr/bin/ctr --namespace calico task rm calico-node",
			"ExecStartPre=-/usr/bin/ctr --namespace calico container rm calico-node",
			"ExecStart=/usr/bin/ctr --namespace calico run --rm --net-host --privileged \\",
			"  --mount type=bind,src=/lib/modules,dst=/lib/modules,options=rbind:ro \\",
			"  --mount type=bind,src=/var/lib/calico,dst=/var/lib/calico,options=rbind:rw \\",
			"  docker.io/calico/node:v3.28.5 calico-node",
		},
	}
	for runtime, want := range tests {
		got := rendered(t, "calico_node", "calico-node.service.j2", modernVars, "host_runtime: "+runtime+"\n")
		lines := strings.Split(got, "\n")
		for _, line := range want {
			if !slices.Contains(lines, line) {
				t.Errorf("%s: the unit has no line %q:\n%s", runtime, line, got)
			}
		}
	}
}

// TestUnitThroughCalicoctl: node_runner calicoctl always names the image, for calicoctl's own default is latest.
func TestUnitThroughCalicoctl(t *testing.T) {
	got := rendered(t, "calico_node", "calico-node.service.j2", modernVars+"node_runner: calicoctl\ncalico_ip: 10.0.0.1/24\n")
	want := "ExecStart=/usr/local/bin/calicoctl node run --init-system --node-image=docker.io/calico/node:v3.28.5 --name=node1 --backend=bird --ip=10.0.0.1/24 --no-default-ippools --config=/etc/calico/calicoctl.cfg\n"
	if !strings.Contains(got, want) {
		t.Errorf("want %s in\n%s", want, got)
	}
}

// TestCalicoctlConfig is F-10, for both generations of its format.
func TestCalicoctlConfig(t *testing.T) {
	sameLines(t, rendered(t, "calicoctl", "calicoctl.cfg.j2", modernVars), []string{
		"apiVersion: projectcalico.org/v3",
		"kind: CalicoAPIConfig",
		"metadata: {}",
		"spec:",
		"  datastoreType: etcdv3",
		"  etcdEndpoints: https://10.0.0.9:2379,https://10.0.0.10:2379",
		"  etcdKeyFile: /etc/calico/certs/key.pem",
		"  etcdCertFile: /etc/calico/certs/cert.pem",
		"  etcdCACertFile: /etc/calico/certs/ca.pem",
	})
	sameLines(t, rendered(t, "calicoctl", "calicoctl.cfg.j2", seedVars), []string{
		"apiVersion: v1",
		"kind: calicoApiConfig",
		"metadata: {}",
		"spec:",
		"  datastoreType: etcdv2",
		"  etcdEndpoints: http://10.0.0.9:2379",
	})
}

// TestSysctl is F-13.
func TestSysctl(t *testing.T) {
	sameLines(t, rendered(t, "host_prep", "sysctl.conf.j2", modernVars), []string{
		"net.ipv4.ip_forward=1",
		"net.netfilter.nf_conntrack_max=1000000", // only upwards
	})
	sameLines(t, rendered(t, "host_prep", "sysctl.conf.j2", seedVars+"conntrack_max: 0\ncalico_ip6: autodetect\n"), []string{
		"net.ipv4.ip_forward=1",
		"net.ipv4.conf.all.rp_filter=1", // before 3.13
		"net.ipv4.conf.default.rp_filter=1",
		"net.ipv6.conf.all.forwarding=1", // with IPv6
	})
}

// TestKubeconfig is F-09 with a token; the authority's certificate is a file of the controller.
func TestKubeconfig(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "ca.pem")
	write(t, ca, "CA\n")
	sameLines(t, rendered(t, "cni_credentials", "kubeconfig.j2", modernVars+"k8s_api_endpoint: https://10.0.0.5:6443\nk8s_token: abc\nk8s_ca_file: "+ca+"\n"), []string{
		"apiVersion: v1", "kind: Config", "clusters:", "  - name: local", "    cluster:", "      server: https://10.0.0.5:6443",
		"      certificate-authority-data: Q0EK", "users:", "  - name: calico", "    user:", "      token: abc", "contexts:",
		"  - name: calico-context", "    context:", "      cluster: local", "      user: calico", "current-context: calico-context",
	})
}

// TestManagedPoolEnv: where the playbook makes the pool, calico/node is told to make none, and of what kind it would be is not said.
func TestManagedPoolEnv(t *testing.T) {
	env := rendered(t, "calico_node", "calico.env.j2", modernVars)
	if !strings.Contains(env, "\nNO_DEFAULT_POOLS=true\n") || strings.Contains(env, "CALICO_IPV4POOL_") {
		t.Errorf("calico/node makes a pool of its own:\n%s", env)
	}
}

//go:build nightly

package catalog_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/calroll/calroll/testenv/artifacts"
)

// inEtcd is what a cluster of two nodes has in etcd.
const inEtcd = `
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: default-ipv4-ippool}
spec: {cidr: 192.168.0.0/16, ipipMode: Never, vxlanMode: Always, natOutgoing: true, nodeSelector: all()}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: one}
spec: {bgp: {ipv4Address: 10.0.0.1/24}, orchRefs: [{orchestrator: k8s, nodeName: one}]}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: two-by-its-old-name}
spec: {bgp: {ipv4Address: 10.0.0.2/24}, orchRefs: [{orchestrator: k8s, nodeName: two}]}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: rack}
spec: {peerIP: 10.0.0.254, asNumber: 64999}
---
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: default}
spec: {logSeverityScreen: Warning}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: deny-metadata}
spec: {selector: all(), types: [Egress], egress: [{action: Deny, destination: {nets: [169.254.169.254/32]}}, {action: Allow}]}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: allow-web, namespace: default}
spec: {selector: app == 'web', ingress: [{action: Allow, protocol: TCP, destination: {ports: [80]}}]}
`

// kubeNodes are the two nodes in Kubernetes.
const kubeNodes = "apiVersion: v1\nkind: Node\nmetadata: {name: one}\n---\napiVersion: v1\nkind: Node\nmetadata: {name: two}\n"

// ctl runs calicoctl on etcd or, once its configuration is there, on Kubernetes.
func (m *migration) ctl(config, stdin string, args ...string) string {
	m.Helper()
	cmd := exec.CommandContext(m.Context(), m.set.Program("calicoctl"), append(args, "--allow-version-mismatch", "--config="+filepath.Join(m.dir, config))...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		m.Fatalf("calicoctl %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// etcdFor starts an etcd for the playbooks and for ctl.
func (m *migration) etcdFor(o artifacts.EtcdOptions) *artifacts.Etcd {
	m.Helper()
	o.Programs = m.set
	etcd, err := artifacts.StartEtcd(m.Context(), o)
	if err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() {
		if err := etcd.Stop(); err != nil {
			m.Error(err)
		}
	})
	m.vars["etcd_endpoints"] = etcd.Endpoints()
	write(m.T, filepath.Join(m.dir, "etcd.cfg"), fmt.Sprintf("apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata: {}\nspec: {datastoreType: etcdv3, etcdEndpoints: %q}\n", etcd.Endpoints()[0]))
	write(m.T, filepath.Join(m.dir, "kdd.cfg"), "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata: {}\nspec: {datastoreType: kubernetes, kubeconfig: "+fmt.Sprint(m.vars["kubeconfig_admin"])+"}\n")
	return etcd
}

// movesTheDatastore is the part of datastore-migrate that is about data: there are no nodes here that calico/node could run on.
func (m *migration) movesTheDatastore() {
	m.etcdFor(artifacts.EtcdOptions{})
	m.apply(kubeNodes)
	write(m.T, filepath.Join(m.dir, "inventory.yml"), "kube_control_plane: {hosts: {cp1: {}}}\nkube_node: {hosts: {one: {nodename: one}, two: {nodename: two}}}\nall: {vars: {ansible_connection: local}}\n")
	m.vars["migration_dir"] = filepath.Join(m.dir, "{{ inventory_hostname }}", "migration")
	m.vars["calicoctl_path"], m.vars["with_calicoctl"], m.vars["calico_version"] = m.set.Program("calicoctl"), false, "v3.28.5"
	m.vars["pool_encap"], m.vars["networking_backend"] = "vxlan-always", "vxlan"
	m.stopsData("G-12", "there is no cluster of Calico in etcd", "migration_finish=false")
	m.ctl("etcd.cfg", inEtcd, "apply", "-f", "-")
	m.ctl("etcd.cfg", "", "ipam", "configure", "--strictaffinity=true")
	m.ctl("etcd.cfg", "", "datastore", "migrate", "lock") // makes the cluster's identity, as the first calico/node does
	m.ctl("etcd.cfg", "", "datastore", "migrate", "unlock")
	m.stopsData("G-38", "no way back to etcd")

	// Copied, compared and locked on both sides; then all the way back.
	m.data(exitOK, "migration_finish=false")
	m.moved("false", "false")
	run := m.newest()
	m.dataUnchanged("migration_finish=false")
	m.calroll(exitOK, "rollback", run)
	if got := m.calicoKinds(); got != "" {
		m.Errorf("after the way back there are the kinds %s", got)
	}
	if got := m.kubectl("get", "node", "two", "-o", "jsonpath={.metadata.annotations}"); strings.Contains(got, "projectcalico") {
		m.Errorf("after the way back the node says %s", got)
	}
	if got := m.ready("etcd.cfg"); got != "true" {
		m.Errorf("after the way back etcd is ready: %s", got)
	}

	// Copied in one run and finished in a later one: neither is taken back any more.
	m.data(exitOK, "migration_finish=false")
	copied := m.newest()
	m.data(exitOK, `{"ack": ["G-38"]}`)
	m.moved("true", "false")
	for _, run := range []string{m.newest(), copied} {
		if o := m.calroll(exitFailed, "rollback", run); !strings.Contains(o.text, "There is no way back") {
			m.Errorf("the rollback of %s says\n%s", run, o.text)
		}
	}
	m.moved("true", "false")
	m.dataUnchanged(`{"ack": ["G-38"]}`)

	// Objects that come from another etcd are never written over.
	m.etcdFor(artifacts.EtcdOptions{})
	m.ctl("etcd.cfg", "", "datastore", "migrate", "lock")
	m.stopsData("G-12", "that are not from the etcd at", "migration_finish=false")
	m.kubectl("delete", "crd", "--all")
	m.kubectl("delete", "node", "--all")
}

// data carries the playbook out without what needs nodes.
func (m *migration) data(code int, with ...string) outcome {
	m.Helper()
	args := []string{"run", "datastore-migrate", "--tags", "datastore_migration", "-e", m.json()}
	for _, w := range with {
		args = append(args, "-e", w)
	}
	return m.calroll(code, args...)
}

func (m *migration) dataUnchanged(with ...string) {
	m.Helper()
	if o := m.data(exitOK, with...); strings.Count(o.text, "changed=0 ") != 3 {
		m.Errorf("the second run changed something\n%s", o.text)
	}
}

func (m *migration) stopsData(gate, says string, with ...string) {
	m.Helper()
	if o := m.data(exitFailed, with...); !strings.Contains(o.text, gate) || !strings.Contains(o.text, says) || o.changed()["cp1"] != "0" {
		m.Errorf("%s does not stop it with %q:\n%s", gate, says, o.text)
	}
}

func (m *migration) newest() string {
	m.Helper()
	runs, err := os.ReadDir(filepath.Join(m.dir, "state", "calroll", "runs"))
	if err != nil {
		m.Fatal(err)
	}
	return runs[len(runs)-1].Name()
}

// ready is what a datastore says of itself.
func (m *migration) ready(config string) string {
	m.Helper()
	text := m.ctl(config, "", "get", "clusterinformation", "default", "-o", "json")
	for _, state := range []string{"true", "false"} {
		if strings.Contains(text, `"datastoreReady": `+state) {
			return state
		}
	}
	return text
}

// moved demands that everything is in Kubernetes, and who may use which datastore.
func (m *migration) moved(kube, etcd string) {
	m.Helper()
	if got := m.ready("kdd.cfg"); got != kube {
		m.Errorf("the datastore in Kubernetes is ready: %s, not %s", got, kube)
	}
	if got := m.ready("etcd.cfg"); got != etcd {
		m.Errorf("etcd is ready: %s, not %s", got, etcd)
	}
	for query, want := range map[string]string{
		"ippools.crd.projectcalico.org default-ipv4-ippool {.spec.cidr} {.spec.vxlanMode} {.spec.natOutgoing}":       "192.168.0.0/16 Always true",
		"bgppeers.crd.projectcalico.org rack {.spec.peerIP} {.spec.asNumber}":                                        "10.0.0.254 64999",
		"felixconfigurations.crd.projectcalico.org default {.spec.logSeverityScreen}":                                "Warning",
		"globalnetworkpolicies.crd.projectcalico.org default.deny-metadata {.spec.egress[0].destination.nets[0]}":    "169.254.169.254/32",
		"networkpolicies.crd.projectcalico.org default.allow-web {.spec.ingress[0].destination.ports[0]}":            "80",
		`node two {.metadata.annotations.projectcalico\.org/IPv4Address}`:                                            "10.0.0.2/24",
		"ipamconfigs.crd.projectcalico.org default {.spec.strictAffinity}":                                           "true",
		"customresourcedefinition ippools.crd.projectcalico.org {.metadata.labels.app\\.kubernetes\\.io/managed-by}": "calroll",
	} {
		f := strings.SplitN(query, " ", 3)
		if got := m.kubectl("get", f[0], f[1], "-o", "jsonpath="+f[2]); got != want {
			m.Errorf("%s: %q, not %q", query, got, want)
		}
	}
}

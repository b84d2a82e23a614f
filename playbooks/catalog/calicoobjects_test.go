package catalog_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/calroll/calroll/testenv/artifacts"
)

// objectsBed runs the roles for Calico's objects on this machine against a real etcd, through a calicoctl that notes what it is called with. BGP does
// not run here: `node status` shows the sessions of a mesh that is whole.
type objectsBed struct {
	*testing.T
	exe, dir, ctl string
	etcd          *artifacts.Etcd
}

const notingCalicoctl = `#!/bin/sh
if [ "$1 $2" = "node status" ]; then echo "status" >>%[1]s/calls; echo "Calico process is running."; for n in 1 2 3; do echo "| 10.9.0.$n | node-to-node mesh | up | 10:00:00 | Established |"; done; exit 0; fi
case $1 in create|replace|delete)
  text=$(cat); echo "$1 $(printf %%s "$text" | sed 's/.*"kind":"\([^"]*\)".*"name":"\([^"]*\)".*/\1 \2/')" >>%[1]s/calls
  printf %%s "$text" | %[2]s "$@"; exit $? ;;
esac
exec %[2]s "$@"
`

func newObjectsBed(t *testing.T) *objectsBed {
	t.Helper()
	exe, err := program()
	if err != nil {
		t.Fatal(err)
	}
	set, err := artifacts.Build(t.Context(), artifacts.Request{Parts: []artifacts.Part{artifacts.EtcdPrograms, artifacts.CalicoRelease, artifacts.Calicoctl}}, artifacts.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := &objectsBed{T: t, exe: exe, dir: t.TempDir()}
	if b.etcd, err = artifacts.StartEtcd(t.Context(), artifacts.EtcdOptions{Programs: set, TLS: true, V2: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.etcd.Stop(); err != nil {
			t.Error(err)
		}
	})
	b.ctl = set.Program("calicoctl")
	write(t, filepath.Join(b.dir, "calicoctl"), fmt.Sprintf(notingCalicoctl, b.dir, b.ctl))
	if err := os.Chmod(filepath.Join(b.dir, "calicoctl"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(b.dir, "cfg"), fmt.Sprintf("apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata: {}\nspec: {datastoreType: etcdv3, etcdEndpoints: %q, etcdCACertFile: %s, etcdCertFile: %s, etcdKeyFile: %s}\n",
		b.etcd.Endpoints()[0], b.etcd.CA, b.etcd.ClientCert, b.etcd.ClientKey))
	b.nodes()
	write(t, filepath.Join(b.dir, "inventory.yml"), fmt.Sprintf(`
kube_control_plane: {hosts: {node1: {}, node2: {}, node3: {}}}
all:
  vars:
    ansible_connection: local
    calico_nodename: "{{ inventory_hostname }}"
    etcd_endpoints: [%q]
    wait_bgp_seconds: 4
`, b.etcd.Endpoints()[0]))
	write(t, filepath.Join(b.dir, "paths.yml"), fmt.Sprintf("calicoctl_path: %s/calicoctl\ncalicoctl_config_file: %[1]s/cfg\n", b.dir))
	write(t, filepath.Join(b.dir, "play.yml"), "- hosts: all\n  gather_facts: false\n  roles: [calico_pool, felix_configuration, calico_bgp]\n")
	return b
}

// nodes are in the datastore as calico/node leaves them there.
func (b *objectsBed) nodes() {
	b.Helper()
	var all []string
	for i := 1; i <= 3; i++ {
		all = append(all, fmt.Sprintf("{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: node%d}, spec: {bgp: {ipv4Address: 10.9.0.%[1]d/24}}}", i))
	}
	b.create(strings.Join(all, "\n---\n"))
}

// create makes objects past calroll.
func (b *objectsBed) create(objects string) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), b.ctl, "create", "-f", "-", "--config="+filepath.Join(b.dir, "cfg"))
	cmd.Stdin = strings.NewReader(objects)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("cannot create %s: %v\n%s", objects, err, out)
	}
}

func (b *objectsBed) calroll(args ...string) (string, error) {
	b.Helper()
	args = append(args, "-i", filepath.Join(b.dir, "inventory.yml"))
	if args[0] == "run" {
		args = append(args, "-e", "@"+filepath.Join(b.dir, "paths.yml"))
	}
	cmd := exec.CommandContext(b.Context(), b.exe, args...)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(b.dir, "state"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// calls are the writes since the last time.
func (b *objectsBed) calls() string {
	b.Helper()
	raw, err := os.ReadFile(filepath.Join(b.dir, "calls"))
	if err != nil && !os.IsNotExist(err) {
		b.Fatal(err)
	}
	os.Remove(filepath.Join(b.dir, "calls"))
	return strings.TrimSpace(string(raw))
}

func (b *objectsBed) run(vars ...string) string {
	b.Helper()
	args := []string{"run", filepath.Join(b.dir, "play.yml")}
	for _, v := range vars {
		args = append(args, "-e", v)
	}
	out, err := b.calroll(args...)
	if err != nil {
		b.Fatalf("%v: %v\n%s", vars, err, out)
	}
	return out
}

// TestCalicoObjects: the pool, Felix and route reflectors of today's Calico, in their order; a second run writes nothing, an undo goes the other way.
func TestCalicoObjects(t *testing.T) {
	b := newObjectsBed(t)
	wanted := []string{`{"rr_hosts": ["node2", "node3"], "felix_config": {"logSeverityScreen": "Warning"}, "pool_cidr": "10.5.0.0/16"}`}
	b.run(wanted...)
	got := b.calls()
	want := "create IPPool default-ipv4-ippool\ncreate FelixConfiguration default\ncreate BGPPeer peer-to-rrs\ncreate BGPPeer rrs-to-rrs\nreplace Node node2\nreplace Node node3\ncreate BGPConfiguration default"
	if got != want {
		t.Errorf("it wrote\n%s\nnot\n%s", got, want)
	}
	b.run(wanted...)
	if got := b.calls(); got != "" {
		t.Errorf("the second run wrote\n%s", got)
	}
	for says, vars := range map[string]string{"differs from pool_cidr 10.99.0.0/16": `{"pool_cidr": "10.99.0.0/16"}`, "pool_block_size 24": `{"pool_cidr": "10.5.0.0/16", "pool_block_size": 24}`,
		"pool_nat_outgoing False": `{"pool_cidr": "10.5.0.0/16", "pool_nat_outgoing": false}`} {
		if out, err := b.calroll("run", filepath.Join(b.dir, "play.yml"), "-e", vars); err == nil || !strings.Contains(out, says) || b.calls() != "" {
			t.Errorf("another pool, %s: %v\n%s", vars, err, out)
		}
	}
	if out, err := b.calroll("run", filepath.Join(b.dir, "play.yml"), "-e", `{"rr_hosts": ["node2"], "pool_cidr": "10.5.0.0/16"}`); err == nil || !strings.Contains(out, "name two or more") || b.calls() != "" {
		t.Errorf("one reflector: %v\n%s", err, out)
	}
	b.withoutReflectors()
	// Ids begin with the second: the first run takes some, so it is the first by name too.
	runs, err := os.ReadDir(filepath.Join(b.dir, "state", "calroll", "runs"))
	if err != nil || len(runs) == 0 {
		t.Fatalf("%v, %v", runs, err)
	}
	out, err := b.calroll("rollback", runs[0].Name())
	if err != nil {
		t.Errorf("rollback: %v\n%s", err, out)
	}
	want = "delete BGPConfiguration default\nstatus\nreplace Node node3\nreplace Node node2\ndelete BGPPeer rrs-to-rrs\ndelete BGPPeer peer-to-rrs\ndelete FelixConfiguration default\ndelete IPPool default-ipv4-ippool"
	if got := b.calls(); got != want {
		t.Errorf("the undo of %v wrote\n%s\nnot\n%s\n%s", runs, got, want, out)
	}
}

// TestHostEndpointPolicy: host endpoints for all interfaces keep their labels, and get one more that a policy goes by.
func TestHostEndpointPolicy(t *testing.T) {
	b := newObjectsBed(t)
	b.create(`{apiVersion: projectcalico.org/v3, kind: HostEndpoint, metadata: {name: all1, labels: {role: web}}, spec: {node: node1, interfaceName: "*"}}`)
	write(t, filepath.Join(b.dir, "play.yml"), "- hosts: all\n  gather_facts: false\n  vars: {kube_open_endpoints: [all1]}\n  roles: [host_endpoint_policy]\n")
	b.run()
	if got, want := b.calls(), "create GlobalNetworkPolicy allow-all-upgrade\nreplace HostEndpoint all1"; got != want {
		t.Errorf("it wrote\n%s\nnot\n%s", got, want)
	}
	if got := b.get("hostendpoint", "all1"); !strings.Contains(got, "host-endpoint-upgrade: \"\"") || !strings.Contains(got, "role: web") {
		t.Errorf("the host endpoint is\n%s", got)
	}
	if got := b.get("globalnetworkpolicy", "allow-all-upgrade"); strings.Count(got, "action: Log") != 2 || strings.Count(got, "action: Allow") != 2 || !strings.Contains(got, "selector: has(host-endpoint-upgrade)") {
		t.Errorf("the policy is\n%s", got)
	}
	if b.run(); b.calls() != "" {
		t.Error("the second run wrote something")
	}
	if out, err := b.calroll("rollback", slices.Sorted(slices.Values(b.runs()))[0]); err != nil {
		t.Errorf("rollback: %v\n%s", err, out)
	}
	if got, want := b.calls(), "replace HostEndpoint all1\ndelete GlobalNetworkPolicy allow-all-upgrade"; got != want {
		t.Errorf("the undo wrote\n%s\nnot\n%s", got, want)
	}
}

// get is an object as calicoctl shows it.
func (b *objectsBed) get(kind, name string) string {
	b.Helper()
	out, err := exec.CommandContext(b.Context(), b.ctl, "get", kind, name, "--output=yaml", "--config="+filepath.Join(b.dir, "cfg")).CombinedOutput()
	if err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// runs are the ids of all runs.
func (b *objectsBed) runs() []string {
	b.Helper()
	entries, err := os.ReadDir(filepath.Join(b.dir, "state", "calroll", "runs"))
	if err != nil {
		b.Fatal(err)
	}
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.Name())
	}
	return ids
}

// withoutReflectors: named no more, reflectors go the way that they came, and nothing is left to do; an undo of that brings them again.
func (b *objectsBed) withoutReflectors() {
	b.Helper()
	vars := `{"felix_config": {"logSeverityScreen": "Warning"}, "pool_cidr": "10.5.0.0/16"}`
	before := b.runs()
	b.run(vars)
	want := "replace BGPConfiguration default\nreplace Node node2\nreplace Node node3\nstatus\nstatus\nstatus\ndelete BGPPeer peer-to-rrs\ndelete BGPPeer rrs-to-rrs"
	if got := b.calls(); got != want {
		b.Errorf("without reflectors it wrote\n%s\nnot\n%s", got, want)
	}
	made := slices.DeleteFunc(b.runs(), func(id string) bool { return slices.Contains(before, id) }) // ids within a second have no order
	b.run(vars)
	if got := b.calls(); got != "" {
		b.Errorf("the second run without reflectors wrote\n%s", got)
	}
	if out, err := b.calroll("rollback", made[0]); err != nil {
		b.Errorf("rollback: %v\n%s", err, out)
	}
	want = "create BGPPeer rrs-to-rrs\ncreate BGPPeer peer-to-rrs\nreplace Node node3\nreplace Node node2\nreplace BGPConfiguration default"
	if got := b.calls(); got != want {
		b.Errorf("the undo brought the reflectors with\n%s\nnot\n%s", got, want)
	}
}

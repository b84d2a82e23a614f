//go:build nightly

package catalog_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/calroll/calroll/testenv/artifacts"
	"github.com/calroll/calroll/testenv/kube"
)

// migration is a Kubernetes API without nodes, whose only control plane host is this machine.
type migration struct {
	*testing.T
	api  *kube.API
	set  *artifacts.Set
	exe  string
	dir  string
	vars map[string]any // extra variables of every run
}

// TestMigrations runs the migrations of the Kubernetes datastore against a real kube-apiserver.
func TestMigrations(t *testing.T) {
	exe, err := program()
	if err != nil {
		t.Fatal(err)
	}
	parts := []artifacts.Part{artifacts.EtcdPrograms, artifacts.KubernetesPrograms, artifacts.Calicoctl}
	set, err := artifacts.Build(t.Context(), artifacts.Request{Parts: parts}, artifacts.Options{Progress: func(line string) { t.Log(line) }})
	if err != nil {
		t.Fatal(err)
	}
	api := kube.APIForTest(t, kube.APIOptions{Programs: set, Controllers: true})
	for _, test := range []struct {
		name string
		run  func(*migration)
	}{
		{"kdd-migrate-25", (*migration).carriesTPRs},
		{"datastore-migrate", (*migration).movesTheDatastore},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(newMigration(t, api, set, exe)) })
	}
}

func newMigration(t *testing.T, api *kube.API, set *artifacts.Set, exe string) *migration {
	t.Helper()
	m := &migration{T: t, api: api, set: set, exe: exe, dir: t.TempDir()}
	write(t, filepath.Join(m.dir, "inventory.yml"), "kube_control_plane: {hosts: {cp1: {ansible_connection: local}}}\nkube_node: {hosts: {}}\n")
	m.vars = map[string]any{"kubectl_path": set.Program("kubectl"), "migration_dir": filepath.Join(m.dir, "migration")}
	if api != nil {
		m.vars["kubeconfig_admin"] = api.Kubeconfig
	}
	return m
}

// play carries a playbook out and demands an exit code. with are more variables, as JSON or name=value.
func (m *migration) play(code int, playbook string, with ...string) outcome {
	m.Helper()
	args := []string{"run", playbook, "-e", m.json()}
	for _, w := range with {
		args = append(args, "-e", w)
	}
	return m.calroll(code, args...)
}

// json are the variables of every run.
func (m *migration) json() string {
	m.Helper()
	vars, err := json.Marshal(m.vars)
	if err != nil {
		m.Fatal(err)
	}
	return string(vars)
}

func (m *migration) calroll(code int, args ...string) outcome {
	m.Helper()
	cmd := exec.CommandContext(m.Context(), m.exe, append(args, "-i", filepath.Join(m.dir, "inventory.yml"))...)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(m.dir, "state"))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		m.Fatal(err)
	}
	o := outcome{cmd.ProcessState.ExitCode(), string(out)}
	if o.code != code {
		m.Fatalf("calroll %v: exit code %d, not %d\n%s", args, o.code, code, o.text)
	}
	return o
}

// back takes the newest run back and demands an exit code.
func (m *migration) back(code int, args ...string) outcome {
	m.Helper()
	return m.calroll(code, append([]string{"rollback", "last"}, args...)...)
}

// stops demands that a gate ends the run before anything is changed.
func (m *migration) stops(gate, says, playbook string, with ...string) {
	m.Helper()
	o := m.play(exitFailed, playbook, with...)
	if !strings.Contains(o.text, gate) || !strings.Contains(o.text, says) || o.changed()["cp1"] != "0" {
		m.Errorf("%s does not stop it with %q:\n%s", gate, says, o.text)
	}
}

func (m *migration) unchanged(playbook string, with ...string) {
	m.Helper()
	if o := m.play(exitOK, playbook, with...); o.changed()["cp1"] != "0" {
		m.Errorf("the second run of %s changed something\n%s", playbook, o.text)
	}
}

func (m *migration) kubectl(args ...string) string {
	m.Helper()
	out, err := m.api.Kubectl(m.Context(), args...).CombinedOutput()
	if err != nil {
		m.Fatalf("kubectl %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (m *migration) apply(objects string) {
	m.Helper()
	cmd := m.api.Kubectl(m.Context(), "apply", "-f", "-")
	cmd.Stdin = strings.NewReader(objects)
	if out, err := cmd.CombinedOutput(); err != nil {
		m.Fatalf("%v\n%s", err, out)
	}
}

// specs are the objects of a kind as "name spec", the spec as JSON with sorted keys.
func (m *migration) specs(resource string) []string {
	m.Helper()
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Spec     map[string]any
		}
	}
	if err := json.Unmarshal([]byte(m.kubectl("get", resource, "-A", "-o", "json")), &list); err != nil {
		m.Fatal(err)
	}
	var all []string
	for _, o := range list.Items {
		spec, err := json.Marshal(o.Spec)
		if err != nil {
			m.Fatal(err)
		}
		all = append(all, o.Metadata.Name+" "+string(spec))
	}
	slices.Sort(all)
	return all
}

func (m *migration) hasSpecs(resource string, want ...string) {
	m.Helper()
	if got := m.specs(resource); !slices.Equal(got, want) {
		m.Errorf("%s are\n%s\nnot\n%s", resource, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func (m *migration) calicoKinds() string {
	m.Helper()
	return m.kubectl("get", "crd", "-o", "jsonpath={.items[?(@.spec.group=='crd.projectcalico.org')].metadata.name}")
}

// definition is a kind that takes any content.
func definition(group, version, kind, plural, scope string) string {
	return fmt.Sprintf(`---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[4]s.%[1]s}
spec:
  group: %[1]s
  scope: %[5]s
  names: {kind: %[3]s, listKind: %[3]sList, plural: %[4]s, singular: %[6]s}
  versions: [{name: %[2]s, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`, group, version, kind, plural, scope, strings.ToLower(kind))
}

// oldKinds stand in for the API of ThirdPartyResources, which no Kubernetes of today has: kinds of the same group, version and names.
func oldKinds() string {
	return definition("projectcalico.org", "v1", "GlobalConfig", "globalconfigs", "Namespaced") + definition("projectcalico.org", "v1", "GlobalBgpConfig", "globalbgpconfigs", "Namespaced") +
		definition("projectcalico.org", "v1", "IpPool", "ippools", "Namespaced") + definition("projectcalico.org", "v1", "GlobalBgpPeer", "globalbgppeers", "Namespaced") +
		definition("extensions.stand.in", "v1beta1", "ThirdPartyResource", "thirdpartyresources", "Cluster")
}

const oldObjects = `
apiVersion: projectcalico.org/v1
kind: GlobalConfig
metadata: {name: logseverityscreen, namespace: kube-system, labels: {by: hand}}
spec: {name: LogSeverityScreen, value: Info}
---
apiVersion: projectcalico.org/v1
kind: GlobalConfig
metadata: {name: clusterguid, namespace: kube-system}
spec: {name: ClusterGUID, value: 2f1a}
---
apiVersion: projectcalico.org/v1
kind: GlobalBgpConfig
metadata: {name: asnumber, namespace: kube-system}
spec: {name: AsNumber, value: "64512"}
---
apiVersion: projectcalico.org/v1
kind: IpPool
metadata: {name: 192-168-0-0-16, namespace: kube-system}
spec: {value: '{"cidr":"192.168.0.0/16","ipip":"tunl0","ipip_mode":"cross-subnet","masquerade":true,"ipam":true,"disabled":false}'}
---
apiVersion: projectcalico.org/v1
kind: IpPool
metadata: {name: 10-9-0-0-16, namespace: kube-system}
spec: {value: '{"cidr":"10.9.0.0/16","ipip":"","ipip_mode":"","masquerade":false,"ipam":false,"disabled":true}'}
---
apiVersion: projectcalico.org/v1
kind: GlobalBgpPeer
metadata: {name: 10-0-0-7, namespace: kube-system}
spec: {asNumber: 64999}
`

// oldCalico is the DaemonSet of a release.
func oldCalico(node string) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: calico-node, namespace: kube-system}
spec:
  selector: {matchLabels: {k8s-app: calico-node}}
  template:
    metadata: {labels: {k8s-app: calico-node}}
    spec:
      containers: [{name: calico-node, image: "quay.io/calico/node:%s", env: [{name: DATASTORE_TYPE, value: kubernetes}]}]
`, node)
}

const newPools = `10-9-0-0-16 {"cidr":"10.9.0.0/16","disabled":true}`

// carriesTPRs is kdd-migrate-25 from its gates to the deletion of the old data.
func (m *migration) carriesTPRs() {
	const playbook = "kdd-migrate-25"
	m.vars["tpr_api"] = "extensions.stand.in/v1beta1" // no definition of today may be of the group extensions
	m.stops("G-12", "no Calico was found", playbook, "kube_version=1.7.16")
	m.apply(oldKinds())
	m.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
	m.apply(oldObjects + "---" + oldCalico("v2.4.1"))
	for _, name := range []string{"global-config", "global-bgp-config", "ip-pool", "global-bgp-peer"} {
		m.apply("apiVersion: extensions.stand.in/v1beta1\nkind: ThirdPartyResource\nmetadata: {name: " + name + ".projectcalico.org}\n")
	}
	old := m.specs("globalconfigs.projectcalico.org")
	m.stops("G-39", "only Kubernetes 1.7 can carry the data over", playbook)
	m.vars["kube_version"] = "1.7.16" // what the stand-in stands in for
	m.stops("G-28", "upgrade with calico-kdd first", playbook, `{"purge_old": true, "ack": ["G-38"]}`)

	m.play(exitOK, playbook)
	m.carried()
	m.unchanged(playbook)
	if got := m.specs("globalconfigs.projectcalico.org"); !slices.Equal(got, old) {
		m.Errorf("the old objects are %v, and were %v", got, old)
	}
	// Without a backup of the new kinds there is nothing that a way back needs: the old data were never touched.
	m.backToOld()

	m.play(exitOK, playbook)
	m.carried()
	m.apply(oldCalico("v2.6.12")) // as calico-kdd would
	m.stops("G-38", "no way back to Calico 2.4", playbook, "purge_old=true")
	m.play(exitOK, playbook, `{"purge_old": true, "ack": ["G-38"]}`)
	if got := m.kubectl("get", "thirdpartyresources.extensions.stand.in", "-o", "name"); got != "" {
		m.Errorf("there still are %s", got)
	}
	m.carried()
	m.unchanged(playbook, `{"purge_old": true, "ack": ["G-38"]}`)
	m.kubectl("delete", "daemonset", "-n", "kube-system", "calico-node")
	m.kubectl("delete", "configmap", "-n", "kube-system", "calroll-state")
	m.kubectl("delete", "crd", "--all")
}

// carried demands that everything is there in its new form, and the marker that lets an upgrade through.
func (m *migration) carried() {
	m.Helper()
	m.hasSpecs("globalfelixconfigs.crd.projectcalico.org", `clusterguid {"name":"ClusterGUID","value":"2f1a"}`, `logseverityscreen {"name":"LogSeverityScreen","value":"Info"}`)
	m.hasSpecs("globalbgpconfigs.crd.projectcalico.org", `asnumber {"name":"AsNumber","value":"64512"}`)
	m.hasSpecs("ippools.crd.projectcalico.org", newPools, `192-168-0-0-16 {"cidr":"192.168.0.0/16","ipip":{"enabled":true,"mode":"cross-subnet"},"nat-outgoing":true}`)
	m.hasSpecs("bgppeers.crd.projectcalico.org", `10-0-0-7 {"asNumber":64999,"peerIP":"10.0.0.7","scope":"global"}`)
	if got := m.kubectl("get", "globalfelixconfigs.crd.projectcalico.org", "logseverityscreen", "-o", "jsonpath={.kind} {.metadata.labels.by} {.metadata.namespace}"); got != "GlobalFelixConfig hand" {
		m.Errorf("the metadata are %q", got)
	}
	if got := m.kubectl("get", "configmap", "-n", "kube-system", "calroll-state", "-o", "jsonpath={.data.kdd_migrate_25}"); got != "done" {
		m.Errorf("the marker is %q", got)
	}
}

// backToOld takes the copy back: the run before the last one, which changed nothing.
func (m *migration) backToOld() {
	m.Helper()
	runs, err := os.ReadDir(filepath.Join(m.dir, "state", "calroll", "runs"))
	if err != nil {
		m.Fatal(err)
	}
	m.calroll(exitOK, "rollback", runs[len(runs)-2].Name())
	if got := m.calicoKinds(); got != "" {
		m.Errorf("after the way back there are the kinds %s", got)
	}
	if got := m.kubectl("get", "configmap", "-n", "kube-system", "-o", "name"); strings.Contains(got, "calroll-state") {
		m.Errorf("the marker is still there: %s", got)
	}
}

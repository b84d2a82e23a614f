package catalog_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/calroll/calroll/testenv/kube"
)

const kubeProxyPlay = `
- hosts: kube_control_plane
  gather_facts: false
  module_defaults:
    kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig_admin }}"}
    kubernetes.core.k8s_info: {kubeconfig: "{{ kubeconfig_admin }}"}
  tasks:
    - import_role: {name: kube_facts}
    - import_role: {name: kube_proxy_mode}
    - import_role: {name: kube_proxy_mode, tasks_from: cluster}
`

const kubeProxyObjects = `
apiVersion: v1
kind: Node
metadata: {name: node1, annotations: {kept: "yes"}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kube-proxy, namespace: kube-system}
data:
  config.conf: |
    apiVersion: kubeproxy.config.k8s.io/v1alpha1
    kind: KubeProxyConfiguration
    clusterCIDR: 10.244.0.0/16
    mode: %s
  kubeconfig.conf: untouched
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: kube-proxy, namespace: kube-system}
spec:
  selector: {matchLabels: {k8s-app: kube-proxy}}
  template:
    metadata: {labels: {k8s-app: kube-proxy}}
    spec: {containers: [{name: kube-proxy, image: kube-proxy}]}
`

// TestKubeProxyModeInTheCluster: an annotation of the node, and the mode in the ConfigMap of a DaemonSet, without a word of the rest; a mode that
// keeps the source address stays, a second run changes nothing, and an undo puts everything back.
func TestKubeProxyModeInTheCluster(t *testing.T) {
	t.Parallel()
	exe, err := program()
	if err != nil {
		t.Fatal(err)
	}
	api, dir := kube.APIForTest(t, kube.APIOptions{}), t.TempDir()
	write(t, filepath.Join(dir, "play.yml"), kubeProxyPlay)
	write(t, filepath.Join(dir, "inventory.yml"), fmt.Sprintf(`
kube_control_plane: {hosts: {node1: {ansible_connection: local, calico_nodename: node1, host_has_kubelet: true, kubeconfig_admin: %s, etcd_endpoints: ["http://127.0.0.1:1"]}}}
`, api.Kubeconfig))
	calroll := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), exe, append(args, "-i", filepath.Join(dir, "inventory.yml"))...)
		cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(dir, "state"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("calroll %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	kubectl := func(stdin string, args ...string) string {
		t.Helper()
		cmd := api.Kubectl(t.Context(), args...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("kubectl %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	state := func() string {
		return kubectl("", "get", "node/node1", "-o", "jsonpath={.metadata.annotations}") +
			kubectl("", "-n", "kube-system", "get", "configmap/kube-proxy", "-o", "jsonpath={.data}") +
			kubectl("", "-n", "kube-system", "get", "daemonset/kube-proxy", "-o", "jsonpath={.spec.template.metadata}")
	}
	run := []string{"run", filepath.Join(dir, "play.yml"), "-e", "kube_version=1.5.1", "-e", "kubeproxy_method="}
	for _, c := range []struct {
		method, mode string
		want         []string // nil: nothing changes
	}{
		{"annotation", "iptables", []string{`"net.experimental.kubernetes.io/proxy-mode":"iptables"`, `"kept":"yes"`}},
		{"auto", "userspace", []string{"mode: iptables", "clusterCIDR: 10.244.0.0/16", `"kubeconfig.conf":"untouched"`, `"calroll.io/proxy-mode":"iptables"`}},
		{"configmap", "ipvs", nil},
	} {
		kubectl(fmt.Sprintf(kubeProxyObjects, c.mode), "apply", "-f", "-")
		before := state()
		args := slices.Clone(run)
		args[len(args)-1] += c.method
		out := calroll(args...)
		now := state()
		for _, want := range c.want {
			if !strings.Contains(now, want) {
				t.Errorf("%s of %s: there is no %s in\n%s\n%s", c.method, c.mode, want, now, out)
			}
		}
		if c.want == nil && now != before {
			t.Errorf("%s of %s has changed\n%s to\n%s", c.method, c.mode, before, now)
		}
		if again := calroll(args...); !strings.Contains(again, "changed=0 ") {
			t.Errorf("%s of %s: a second run changes something:\n%s", c.method, c.mode, again)
		}
		entries, err := os.ReadDir(filepath.Join(dir, "state", "calroll", "runs"))
		if err != nil {
			t.Fatal(err)
		}
		calroll("rollback", entries[len(entries)-2].Name())
		if back := state(); back != before {
			t.Errorf("%s of %s: the undo leaves\n%s instead of\n%s", c.method, c.mode, back, before)
		}
	}
}

package catalog_test

import (
	"strings"
	"testing"
)

const defaultDenyPlay = `
- hosts: kube_control_plane
  gather_facts: false
  any_errors_fatal: true
  vars: {datastore: etcd, mode: hosted}
  module_defaults:
    kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig_admin }}"}
  tasks:
    - import_role: {name: kube_facts}
    - import_role: {name: preflight}
      vars: {preflight_topics: [policies]}
    - import_role: {name: default_deny}
`

// An old Calico, a namespace that an annotation closes, and one without it whose NetworkPolicy does nothing yet.
const defaultDenyObjects = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: calico-node, namespace: kube-system}
spec:
  selector: {matchLabels: {k8s-app: calico-node}}
  template:
    metadata: {labels: {k8s-app: calico-node}}
    spec:
      containers: [{name: calico-node, image: "quay.io/calico/node:v1.1.3", env: [{name: ETCD_ENDPOINTS, value: "http://127.0.0.1:1"}]}]
---
apiVersion: v1
kind: Namespace
metadata: {name: closed, annotations: {net.beta.kubernetes.io/network-policy: '{"ingress": {"isolation": "DefaultDeny"}}'}}
---
apiVersion: v1
kind: Namespace
metadata: {name: open}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: open}
spec: {podSelector: {matchLabels: {app: web}}}
`

// TestNamespacesStayClosed: an upgrade across Calico 2.4 asks before NetworkPolicies begin to count, and gives namespaces that an annotation closes one
// that closes them. Nothing of that comes before 2.4, a second run changes nothing, and an undo takes it away.
func TestNamespacesStayClosed(t *testing.T) {
	t.Parallel()
	b := newAPIBed(t, defaultDenyPlay)
	policies := func() string {
		return b.kubectl("", "get", "networkpolicies", "-A", "-o", `jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} {.spec.podSelector}{"\n"}{end}`)
	}
	b.kubectl(defaultDenyObjects, "apply", "-f", "-")
	before := policies()
	b.run(exitOK, "calico_version=v2.3.0")
	if got := policies(); got != before {
		t.Errorf("an upgrade to 2.3 has changed the NetworkPolicies to\n%s", got)
	}
	if out := b.run(exitFailed, "calico_version=v2.6.12"); !strings.Contains(out, "G-39") || !strings.Contains(out, "open/web do nothing yet") || policies() != before {
		t.Errorf("it did not ask, or changed something:\n%s\n%s", out, policies())
	}
	const acked = `{"calico_version": "v2.6.12", "ack": ["G-39"]}`
	b.run(exitOK, acked)
	crossing := b.lastRun()
	if got, want := policies(), "closed/default-deny {}\n"+before; got != want {
		t.Errorf("the NetworkPolicies are\n%s\nnot\n%s", got, want)
	}
	b.settled(acked)
	b.calroll(exitOK, "rollback", crossing)
	if got := policies(); got != before {
		t.Errorf("after the undo the NetworkPolicies are\n%s\nnot\n%s", got, before)
	}
}

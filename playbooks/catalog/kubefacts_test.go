package catalog_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

// kubeLook evaluates an expression with what the tasks of kube_facts got, and gives it as JSON.
func kubeLook(t *testing.T, expression string, looks ...string) string {
	t.Helper()
	env := expr.New(expr.Options{})
	scope, _ := hostScope(t, env, "preflight", kddVars, append([]string{soundCluster()}, looks...)...)
	l := loader(env)
	v, err := l.LoadVars(playbooks.CatalogPrefix + "roles/kube_facts/vars/main.yml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := scope.With("the role kube_facts", v.Dict()).Evaluate(expression, source.Pos{File: "test"})
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	text, err := json.Marshal(value.ToGo(got))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// discovery is a cluster that serves kinds, "apps/v1 Deployment DaemonSet; ...".
func discovery(version, served string) string {
	var apis []string
	for group := range strings.SplitSeq(served, ";") {
		words := strings.Fields(group)
		var kinds []string
		for _, k := range words[1:] {
			kinds = append(kinds, k+": {namespaced: true}")
		}
		apis = append(apis, words[0]+": {"+strings.Join(kinds, ", ")+"}")
	}
	return fmt.Sprintf("kube_look_cluster: {failed: false, version: {server: {kubernetes: {gitVersion: %s}}}, apis: {%s}}\n", version, strings.Join(apis, ", "))
}

const (
	served18 = "v1 Node; extensions/v1beta1 Deployment DaemonSet NetworkPolicy; apps/v1beta1 Deployment; apps/v1beta2 Deployment DaemonSet; " +
		"rbac.authorization.k8s.io/v1beta1 ClusterRole ClusterRoleBinding Role RoleBinding; rbac.authorization.k8s.io/v1 ClusterRole ClusterRoleBinding Role RoleBinding; " +
		"apiextensions.k8s.io/v1beta1 CustomResourceDefinition; networking.k8s.io/v1 NetworkPolicy; apiregistration.k8s.io/v1beta1 APIService; " +
		"policy/v1beta1 PodDisruptionBudget; certificates.k8s.io/v1beta1 CertificateSigningRequest"
	served16  = "v1 Node; extensions/v1beta1 Deployment DaemonSet NetworkPolicy; apps/v1beta1 Deployment"
	served129 = "v1 Node; apps/v1 Deployment DaemonSet; rbac.authorization.k8s.io/v1 ClusterRole ClusterRoleBinding Role RoleBinding; " +
		"apiextensions.k8s.io/v1 CustomResourceDefinition; networking.k8s.io/v1 NetworkPolicy; apiregistration.k8s.io/v1 APIService; " +
		"policy/v1 PodDisruptionBudget; certificates.k8s.io/v1 CertificateSigningRequest"
)

// TestKubeAPI: each kind is rendered at the first version that the server serves it at.
func TestKubeAPI(t *testing.T) {
	for _, c := range []struct{ look, want string }{
		{discovery("v1.6.4", served16), `{"DaemonSet":"extensions/v1beta1","Deployment":"apps/v1beta1","NetworkPolicy":"extensions/v1beta1"}`},
		{discovery("v1.8.15", served18), `{"APIService":"apiregistration.k8s.io/v1beta1","CertificateSigningRequest":"certificates.k8s.io/v1beta1","ClusterRole":"rbac.authorization.k8s.io/v1",` +
			`"ClusterRoleBinding":"rbac.authorization.k8s.io/v1","CustomResourceDefinition":"apiextensions.k8s.io/v1beta1","DaemonSet":"apps/v1beta2","Deployment":"apps/v1beta2",` +
			`"NetworkPolicy":"networking.k8s.io/v1","PodDisruptionBudget":"policy/v1beta1","Role":"rbac.authorization.k8s.io/v1","RoleBinding":"rbac.authorization.k8s.io/v1"}`},
		{discovery("v1.29.15+x", served129), `{"APIService":"apiregistration.k8s.io/v1","CertificateSigningRequest":"certificates.k8s.io/v1","ClusterRole":"rbac.authorization.k8s.io/v1",` +
			`"ClusterRoleBinding":"rbac.authorization.k8s.io/v1","CustomResourceDefinition":"apiextensions.k8s.io/v1","DaemonSet":"apps/v1","Deployment":"apps/v1",` +
			`"NetworkPolicy":"networking.k8s.io/v1","PodDisruptionBudget":"policy/v1","Role":"rbac.authorization.k8s.io/v1","RoleBinding":"rbac.authorization.k8s.io/v1"}`},
		{"kube_look_cluster: {failed: true, msg: no route}\n", `{}`},
	} {
		if got := kubeLook(t, "kube_look_api", c.look); got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.look, got, c.want)
		}
	}
	if got := kubeLook(t, "kube_look_version", discovery("v1.29.15+x", served129)); got != `"1.29.15"` {
		t.Errorf("the version is %s", got)
	}
}

// looked are the answers of k8s_info: "Kind name" and the resources, in turn.
func looked(pairs ...string) string {
	var results []string
	for i := 0; i < len(pairs); i += 2 {
		kind, name, _ := strings.Cut(pairs[i], " ")
		item := "kind: " + kind
		if name != "" {
			item += ", name: " + name
		}
		results = append(results, "{item: {"+item+"}, resources: ["+pairs[i+1]+"]}")
	}
	return "kube_look_objects: {results: [" + strings.Join(append(results, "{item: {kind: HostEndpoint}, skipped: true}"), ", ") + "]}\n"
}

func components(host, component, flags string) string {
	return fmt.Sprintf("{item: [%s, %s], found: true, flags: {%s}}", host, component, flags)
}

func componentLooks(results ...string) string {
	return "kube_look_components: {results: [" + strings.Join(results, ", ") + "]}\n"
}

// TestKubeCIDR: the flag counts before what kubeadm was told, and where it was read is known.
func TestKubeCIDR(t *testing.T) {
	kubeadm := looked("ConfigMap kubeadm-config", `{data: {ClusterConfiguration: "networking:\n  podSubnet: 10.1.0.0/16\n  serviceSubnet: 10.2.0.0/16\n"}}`)
	api := components("node1", "kube-apiserver", "service-cluster-ip-range: 10.96.0.0/12")
	for _, c := range []struct{ name, looks, want string }{
		{"flag", kubeadm + componentLooks(api, components("node1", "kube-controller-manager", "v: '2'"), components("node3", "kube-controller-manager", "cluster-cidr: 10.3.0.0/16")),
			`[{"cidr":"10.3.0.0/16","source":"the flag --cluster-cidr of kube-controller-manager on node3"},"10.96.0.0/12"]`},
		{"kubeadm", kubeadm + componentLooks(components("node1", "kube-apiserver", "v: '2'")), `[{"cidr":"10.1.0.0/16","source":"the ConfigMap kube-system/kubeadm-config"},"10.2.0.0/16"]`},
		{"nothing", looked() + componentLooks("{item: [node1, kube-apiserver], found: false, flags: {}}"), `[{"cidr":"","source":""},""]`},
	} {
		if got := kubeLook(t, "[kube_look_cidr, kube_look_service_cidr]", c.looks); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	got := kubeLook(t, "kube_look_flags", componentLooks(api, components("node1", "kube-controller-manager", "v: '2'"), components("node3", "kube-apiserver", "a: b")))
	if want := `{"node1":{"kube-apiserver":{"service-cluster-ip-range":"10.96.0.0/12"},"kube-controller-manager":{"v":"2"}},"node3":{"kube-apiserver":{"a":"b"}}}`; got != want {
		t.Errorf("the flags are %s, want %s", got, want)
	}
}

func foundDaemonSet(name, image, env string) string {
	return fmt.Sprintf("{metadata: {name: %s, namespace: kube-system}, spec: {template: {spec: {containers: [{name: calico-node, image: %q, env: [%s]}]}}}}", name, image, env)
}

// TestKubeInstalled recognises every way in which Calico may be there.
func TestKubeInstalled(t *testing.T) {
	const kdd = "{name: DATASTORE_TYPE, value: kubernetes}"
	backend := func(value string) string {
		return looked("DaemonSet", foundDaemonSet("calico-node", "docker.io/calico/node:v3.28.5", kdd+", {name: CALICO_NETWORKING_BACKEND, valueFrom: {configMapKeyRef: {name: calico-config, key: calico_backend}}}"),
			"ConfigMap calico-config", "{data: {calico_backend: "+value+"}}")
	}
	want := func(mode, datastore, option, product, version string) string {
		return fmt.Sprintf(`["%s","%s","%s","%s","%s"]`, mode, datastore, option, product, version)
	}
	for _, c := range []struct{ name, looks, want string }{
		{"nothing", looked(), want("", "", "", "", "")},
		{"networking", backend("bird"), want("hosted", "kdd", "networking", "calico", "3.28.5")},
		{"policy-only by ConfigMap", backend("none"), want("hosted", "kdd", "policy-only", "calico", "3.28.5")},
		{"policy-only", looked("DaemonSet", foundDaemonSet("calico-node", "quay.io/calico/node:v3.0.3", kdd+", {name: CALICO_NETWORKING_BACKEND, value: none}")), want("hosted", "kdd", "policy-only", "calico", "3.0.3")},
		{"backend unset, old tag", looked("DaemonSet", foundDaemonSet("calico-node", "quay.io/calico/node:v1.3.0", kdd)), want("hosted", "kdd", "networking", "calico", "2.3.0")},
		{"canal", looked("DaemonSet", foundDaemonSet("canal", "calico/node:v3.28.5", kdd)), want("hosted", "kdd", "flannel", "calico", "3.28.5")},
		{"etcd", looked("DaemonSet", foundDaemonSet("calico-node", "localhost:5000/calico/node:v3.10.4", "{name: ETCD_ENDPOINTS, value: \"https://e:2379\"}")), want("hosted", "etcd", "networking", "calico", "3.10.4")},
		{"cnx, ClusterInformation counts", looked("DaemonSet", foundDaemonSet("calico-node", "reg/tigera/cnx-node:v2.0.2", kdd), "ClusterInformation default", "{spec: {calicoVersion: v3.0.3}}"), want("hosted", "kdd", "networking", "cnx", "3.0.3")},
		{"operator", looked("Installation", "{metadata: {name: default}}"), want("operator", "kdd", "networking", "calico", "")},
		{"unit", looked() + found("calico_active", "active", "calico_image", "quay.io/calico/node:v2.6.12"), want("integrated", "etcd", "networking", "calico", "2.6.12")},
		{"unit with Kubernetes", looked() + found("calico_active", "active", "calico_datastore", "kubernetes", "calico_image", "a/tigera/cnx-node:v2.0.2"), want("integrated", "kdd", "networking", "cnx", "3.0.3")},
	} {
		if got := kubeLook(t, "['mode', 'datastore', 'option', 'product', 'version'] | map('extract', kube_look_installed) | list", c.looks); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

// TestKubeOthers finds another flannel and a Typha that nobody runs.
func TestKubeOthers(t *testing.T) {
	looks := looked("DaemonSet", foundDaemonSet("canal", "calico/node:v3.28.5", "")+", "+foundDaemonSet("kube-flannel-ds", "docker.io/flannel/flannel:v0.24.3", ""),
		"Deployment calico-typha", "{spec: {replicas: 0}}", "ConfigMap calico-config", "{data: {typha_service_name: calico-typha}}")
	if got := kubeLook(t, "[kube_look_flannels, kube_look_typha]", looks); got != `[["kube-flannel-ds"],{"replicas":0,"wanted":"calico-typha"}]` {
		t.Errorf("got %s", got)
	}
}

// TestOpenHostEndpoints: those for all interfaces whose label does not say that a policy covers them. Calico keeps labels in an annotation.
func TestOpenHostEndpoints(t *testing.T) {
	endpoint := func(name, spec, metadata string) string {
		return fmt.Sprintf("{metadata: {name: %s%s}, spec: {%s}}", name, metadata, spec)
	}
	looks := "kube_look_objects: {results: [{item: {kind: HostEndpoint}, resources: [" + strings.Join([]string{
		endpoint("all", `interfaceName: "*"`, ""),
		endpoint("eth0", "interfaceName: eth0", ""),
		endpoint("addressed", "expectedIPs: [10.0.0.1]", ""),
		endpoint("other", `interfaceName: "*"`, `, annotations: {projectcalico.org/metadata: '{"creationTimestamp": null, "labels": {"role": "web"}}'}`),
		endpoint("bare", `interfaceName: "*"`, `, annotations: {projectcalico.org/metadata: '{"creationTimestamp": null}'}`),
		endpoint("covered", `interfaceName: "*"`, `, annotations: {projectcalico.org/metadata: '{"labels": {"host-endpoint-upgrade": ""}}'}`),
		endpoint("labelled", `interfaceName: "*"`, `, labels: {host-endpoint-upgrade: ""}`),
	}, ", ") + "]}]}\n"
	if got, want := kubeLook(t, "kube_look_open_endpoints", looks), `["all","other","bare"]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := kubeLook(t, "kube_look_open_endpoints", looked()); got != "[]" {
		t.Errorf("without any: %s", got)
	}
}

// TestPoliciesByAnnotation: of an old Calico it is known which NetworkPolicies count only later, and which namespaces an annotation alone closes.
func TestPoliciesByAnnotation(t *testing.T) {
	turns := func(datastore, image string) string {
		env := "{name: DATASTORE_TYPE, value: kubernetes}"
		if datastore == "etcd" {
			env = "{name: ETCD_ENDPOINTS, value: \"https://e:2379\"}"
		}
		return looked("DaemonSet", foundDaemonSet("calico-node", image, env))
	}
	for _, c := range []struct{ datastore, image, want string }{
		{"etcd", "quay.io/calico/node:v1.1.3", "2.4"}, // Calico 2.1.5
		{"etcd", "quay.io/calico/node:v1.3.0", "2.4"},
		{"etcd", "quay.io/calico/node:v2.4.1", ""},
		{"kdd", "quay.io/calico/node:v1.2.1", "2.3"},
		{"kdd", "quay.io/calico/node:v1.3.0", ""},
		{"kdd", "docker.io/calico/node:v3.28.5", ""},
		{"kdd", "docker.io/calico/node:latest", ""},
	} {
		if got := kubeLook(t, "kube_look_policy_turn", turns(c.datastore, c.image)); got != `"`+c.want+`"` {
			t.Errorf("%s with %s: got %s, want %q", c.image, c.datastore, got, c.want)
		}
	}
	if got := kubeLook(t, "kube_look_policy_turn", looked()); got != `""` {
		t.Errorf("without Calico: %s", got)
	}
	got := kubeLook(t, "[kube_look_idle_policies, kube_look_closed_namespaces]", oldNamespaces)
	want := `[["open/web","other/all"],[{"namespace":"closed","policy":"default-deny"},{"namespace":"taken","policy":"default-deny-all-pods"}]]`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := kubeLook(t, "[kube_look_idle_policies, kube_look_closed_namespaces]", "kube_look_policies: {skipped: true}\n"); got != "[[],[]]" {
		t.Errorf("without a question: %s", got)
	}
}

const oldNamespaces = `
kube_look_policies:
  results:
  - item: {kind: Namespace}
    resources:
    - {metadata: {name: open}}
    - {metadata: {name: other, annotations: {net.beta.kubernetes.io/network-policy: '{"ingress": {}}'}}}
    - {metadata: {name: closed, annotations: {net.beta.kubernetes.io/network-policy: '{"ingress": {"isolation": "DefaultDeny"}}'}}}
    - {metadata: {name: taken, annotations: {net.beta.kubernetes.io/network-policy: '{"ingress":{"isolation":"DefaultDeny"}}'}}}
    - {metadata: {name: done, annotations: {net.beta.kubernetes.io/network-policy: '{"ingress":{"isolation":"DefaultDeny"}}'}}}
  - item: {kind: NetworkPolicy}
    resources:
    - {metadata: {name: web, namespace: open}, spec: {podSelector: {matchLabels: {a: b}}}}
    - {metadata: {name: all, namespace: other}, spec: {podSelector: {}}}
    - {metadata: {name: some, namespace: closed}, spec: {podSelector: {matchLabels: {a: b}}}}
    - {metadata: {name: default-deny, namespace: taken}, spec: {podSelector: {matchLabels: {a: b}}}}
    - {metadata: {name: mine, namespace: done}, spec: {podSelector: {}}}
`

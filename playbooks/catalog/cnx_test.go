package catalog_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/source"
)

// cnxVars is a cluster with etcd, a private registry on a port of its own, and users of three levels.
const cnxVars = `
profile: seed
datastore: etcd
etcd_endpoints: ["https://10.0.0.9:2379", "https://10.0.0.10:2379"]
etcd_ca_file: /certs/ca.pem
etcd_cert_file: /certs/cert.pem
etcd_key_file: /certs/key.pem
image_registry: registry.example.com:5000/net/
image_pull_secret_file: /certs/config.json
cnx_manager_host: cnx.example.com
cnx_auth: {type: OIDC, oidc_client_id: client-7.apps.example.com}
cnx_users:
  - {name: ada, level: admin}
  - {name: "https://id.example.com#ed", level: editor, namespaces: [shop]}
  - {name: rob}
monitoring_node_selector: {role: watch}
alertmanager_webhook_image: registry.example.com:5000/webhook:1
`

// onKDD makes it a cluster with the Kubernetes API as the datastore, and without a pull secret.
const onKDD = "datastore: kdd\nimage_pull_secret_file: \"\"\n"

// objectSets are the templates whose objects are compared, the golden files that have them, and what differs from cnxVars.
var objectSets = []struct{ role, template, golden, vars string }{
	{"cnx_apiserver_manager", "cnx-rbac", "cnx-rbac", ""},
	{"cnx_apiserver_manager", "cnx-rbac", "cnx-rbac-kdd", onKDD},
	{"cnx_apiserver_manager", "cnx-apiserver", "cnx-apiserver", ""},
	{"cnx_apiserver_manager", "cnx-apiserver", "cnx-apiserver-kdd", onKDD + "cnx_apiserver_tls: true\n"},
	{"cnx_apiserver_manager", "cnx-manager", "cnx-manager", ""},
	{"cnx_apiserver_manager", "apiservice", "apiservice", ""},
	{"cnx_apiserver_manager", "calico-config", "calico-config", ""},
	{"cnx_users", "users", "users", ""},
	{"node_exporter", "node-exporter", "node-exporter", ""},
	{"prometheus_operator", "prometheus-operator", "prometheus-operator", ""},
	{"monitor_calico", "monitor-calico", "monitor-calico", ""},
	{"monitor_calico", "prometheus", "prometheus", ""},
	{"monitor_calico", "alertmanager-webhook", "alertmanager-webhook", ""},
}

// TestCNXObjects renders every set of objects of the CNX playbooks for every release, and compares it with objects written by hand.
func TestCNXObjects(t *testing.T) {
	for _, release := range kubeReleases {
		facts := kubeFacts(t, release)
		for _, set := range objectSets {
			got := objects(t, set.role, set.template+".yaml.j2", cnxWith(t, set.vars), facts)
			sameObjects(t, set.golden+" on Kubernetes "+release, got, golden(t, set.golden, release))
		}
	}
}

// cnxWith are cnxVars with other values for some variables.
func cnxWith(t *testing.T, more string) string {
	t.Helper()
	all := map[string]any{}
	if err := errors.Join(yaml.Unmarshal([]byte(cnxVars), &all), yaml.Unmarshal([]byte(more), &all)); err != nil {
		t.Fatal(err)
	}
	out, err := yaml.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestExposure: the manager may be exposed in other ways, and the origin for kube-apiserver follows.
func TestExposure(t *testing.T) {
	tests := map[string]string{
		"": "https://cnx.example.com:30003",
		"cnx_manager_service: {nodePort: 31443}\n":               "https://cnx.example.com:31443",
		"cnx_manager_service: {type: LoadBalancer, port: 443}\n": "https://cnx.example.com:443",
	}
	for text, want := range tests {
		scope := roleScope(t, expr.New(expr.Options{}), "cnx_apiserver_manager", cnxWith(t, text), kubeFacts(t, "1.13"))
		if got, err := scope.Evaluate("cnx_manager_url", sourceOfTest); err != nil || got != want {
			t.Errorf("%q: %v, %v, want %s", text, got, err, want)
		}
	}
	set := objects(t, "cnx_apiserver_manager", "cnx-manager.yaml.j2", cnxWith(t, "cnx_manager_service: {type: LoadBalancer, port: 443}\n"), kubeFacts(t, "1.13"))
	port := set[1]["spec"].(map[string]any)["ports"].([]any)[0].(map[string]any)
	if _, has := port["nodePort"]; has || port["port"] != 443 || port["targetPort"] != 443 {
		t.Errorf("ports of a LoadBalancer: %v", port)
	}
}

// TestCNXSecrets: secrets hold what lies on the controller, under the names that their readers expect.
func TestCNXSecrets(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"cnx-manager.crt", "cnx-manager.key", "cnx-apiserver.crt", "cnx-apiserver.key", "cnx-apiserver-ca.crt", "etcd-ca", "etcd-cert", "etcd-key", "config.json"} {
		write(t, dir+"/"+name, "PEM-of-"+strings.TrimSuffix(name, ".crt")+"\n")
	}
	hostVars := fmt.Sprintf("cnx_certificate_dir: %[1]s\netcd_ca_file: %[1]s/etcd-ca\netcd_cert_file: %[1]s/etcd-cert\netcd_key_file: %[1]s/etcd-key\nimage_pull_secret_file: %[1]s/config.json\n", dir)
	facts := kubeFacts(t, "1.13")
	tests := []struct {
		role, template, namespace, name, kind string
		want                                  map[string]string
	}{
		{"cnx_manager_tls", "cnx-manager-tls", "kube-system", "cnx-manager-tls", "Opaque", map[string]string{"cert": "PEM-of-cnx-manager\n", "key": "PEM-of-cnx-manager.key\n"}},
		{"cnx_apiserver_manager", "cnx-apiserver-certs", "kube-system", "cnx-apiserver-certs", "Opaque", map[string]string{"apiserver.crt": "PEM-of-cnx-apiserver\n", "apiserver.key": "PEM-of-cnx-apiserver.key\n"}},
		{"cnx_apiserver_manager", "calico-etcd-secrets", "kube-system", "calico-etcd-secrets", "Opaque", map[string]string{"etcd-ca": "PEM-of-etcd-ca\n", "etcd-cert": "PEM-of-etcd-cert\n", "etcd-key": "PEM-of-etcd-key\n"}},
		{"cnx_image_push", "pull-secret", "kube-system", "cnx-pull-secret", "kubernetes.io/dockerconfigjson", map[string]string{".dockerconfigjson": "PEM-of-config.json\n"}},
		{"prometheus_operator", "pull-secret", "calico-monitoring", "cnx-pull-secret", "kubernetes.io/dockerconfigjson", map[string]string{".dockerconfigjson": "PEM-of-config.json\n"}},
	}
	for _, tt := range tests {
		got := objects(t, tt.role, tt.template+".yaml.j2", cnxWith(t, hostVars), facts)
		data := map[string]any{}
		for k, v := range tt.want {
			data[k] = base64.StdEncoding.EncodeToString([]byte(v))
		}
		if tt.role == "prometheus_operator" { // its namespace comes first
			got = got[1:]
		}
		sameObjects(t, tt.template, got, []map[string]any{{"apiVersion": "v1", "kind": "Secret", "type": tt.kind, "data": data,
			"metadata": map[string]any{"name": tt.name, "namespace": tt.namespace, "labels": map[string]any{"app.kubernetes.io/managed-by": "calroll"}}}})
	}
	sameObjects(t, "APIService with a certificate", objects(t, "cnx_apiserver_manager", "apiservice.yaml.j2", cnxWith(t, hostVars+"cnx_apiserver_tls: true\n"), facts), golden(t, "apiservice-tls", "1.13"))
}

// TestAlertmanagerSecret: the secret decodes to the configuration as YAML.
func TestAlertmanagerSecret(t *testing.T) {
	got := objects(t, "monitor_calico", "alertmanager-secret.yaml.j2", cnxVars, kubeFacts(t, "1.13"))
	text, err := base64.StdEncoding.DecodeString(got[0]["data"].(map[string]any)["alertmanager.yaml"].(string))
	if err != nil {
		t.Fatal(err)
	}
	sameObjects(t, "alertmanager.yaml", documents(t, text), documents(t, []byte(`
global: {resolve_timeout: 5m}
route: {group_by: [job], group_wait: 30s, group_interval: 1m, repeat_interval: 5m, receiver: webhook}
receivers: [{name: webhook, webhook_configs: [{url: "http://calico-alertmanager-webhook:30501/"}]}]
`)))
}

// TestCNXSettingRules breaks each rule between the settings once.
func TestCNXSettingRules(t *testing.T) {
	tests := []struct{ list, text, want string }{
		{"cnx", "cnx_version: v2.1.1\n", "cnx_manifest_dir"},
		{"cnx", "image_registry: <YOUR_PRIVATE_DOCKER_REGISTRY>/\n", "without a scheme or a placeholder"},
		{"cnx", "image_registry: https://registry.example.com/\n", "without a scheme or a placeholder"},
		{"cnx", "cnx_auth: {type: OAuth}\n", "OAuth needs CNX 2.1"},
		{"cnx", "cnx_auth: {type: Token, realm: x}\n", "unknown keys: realm"},
		{"cnx", "cnx_auth: {type: OIDC}\n", "oidc_client_id"},
		{"cnx", "cnx_auth: {type: OIDC, oidc_client_id: <client-id>}\n", "without placeholders"},
		{"cnx", "cnx_manager_host: https://cnx.example.com\n", "without scheme and port"},
		{"cnx", "cnx_manager_service: {type: NodePort, node_port: 30003}\n", "a type (NodePort"},
		{"cnx", "cnx_manager_service: {nodePort: 8443}\n", "between 30000 and 32767"},
		{"cnx", "cnx_kubernetes_api: 10.0.0.1:6443\n", "must be https://HOST:PORT"},
		{"cnx", "cnx_kubernetes_api: https://127.0.0.1:6443\n", "must not be the loopback address"},
		{"cnx", "cnx_manager_cert: /a\n", "give both or none"},
		{"cnx", "cnx_users: [{name: ada, level: king}]\n", "admin, reader or editor"},
		{"cnx", "cnx_users: [{name: ed, level: editor}]\n", "needs namespaces"},
		{"cnx", "etcd_endpoints: []\n", "datastore etcd needs etcd_endpoints"},
		{"cnx", "image_registry_username: ada\n", "needs image_registry_password"},
		{"cnx", "mode: hosted\n", "CNX with etcd has no mode hosted"},
		{"cnx", "mode: integrated\n", "set it to local or image, or name a mirror"},
		{"cnx", "mode: hosted\ndatastore: kdd\nartifact_source: http\n", "set it to local or image, or name a mirror"},
		{"monitoring", "alertmanager_config: {route: {receiver: x}}\n", "needs route and receivers"},
		{"monitoring", "alertmanager_config: {route: {receiver: x}, receivers: [{name: y}]}\n", "the route's receiver x"},
		{"monitoring", "prometheus_node_port: 80\n", "between 30000 and 32767"},
		{"monitoring", "prometheus_node_port: 30903\n", "are the same"},
		{"monitoring", "reporter_port: 0\n", "between 1 and 65535"},
		{"monitoring", "exporter_image: <REGISTRY>/busybox\n", "placeholder"},
	}
	for _, list := range []string{"cnx", "monitoring"} {
		if got := cnxMistakes(t, list, ""); len(got) > 0 {
			t.Fatalf("sound settings: %q", got)
		}
	}
	for _, text := range []string{"mode: integrated\nartifact_source: image\n", "mode: hosted\ndatastore: kdd\nartifact_source: image\n", "mode: hosted\ndatastore: kdd\nartifact_base_url: https://mirror.example.com\n"} {
		if got := cnxMistakes(t, "cnx", text); len(got) > 0 {
			t.Errorf("%q: %q", text, got)
		}
	}
	for _, tt := range tests {
		got := cnxMistakes(t, tt.list, tt.text)
		if !strings.Contains(strings.Join(got, "\n"), tt.want) || len(got) > 2 {
			t.Errorf("%q: got %q, want one with %q", tt.text, got, tt.want)
		}
	}
}

func cnxMistakes(t *testing.T, list, more string) []string {
	t.Helper()
	role := map[string]string{"cnx": "cnx_users", "monitoring": "node_exporter"}[list]
	scope := roleScope(t, expr.New(expr.Options{}), role, cnxWith(t, more), kubeFacts(t, "1.13"))
	v, err := scope.Evaluate(list+"_setting_mistakes", sourceOfTest)
	if err != nil {
		t.Fatalf("%q: %v", more, err)
	}
	var out []string
	for _, m := range v.([]any) {
		out = append(out, expr.String(m))
	}
	return out
}

// TestNoPlaceholderIsLeft: nothing that a user would have to fill in is left in any object.
func TestNoPlaceholderIsLeft(t *testing.T) {
	left := regexp.MustCompile(`<[A-Z][A-Z_ ]*>|__[A-Z_]+__|[{][{]|[{]%|registry[.]example[.]com[^:]`)
	for _, set := range objectSets {
		text, err := yaml.Marshal(objects(t, set.role, set.template+".yaml.j2", cnxWith(t, set.vars), kubeFacts(t, "1.13")))
		if err != nil {
			t.Fatal(err)
		}
		// Prometheus fills its own.
		if found := left.FindString(strings.ReplaceAll(string(text), "{{$labels.", "")); found != "" {
			t.Errorf("%s has %s left", set.template, found)
		}
	}
}

// inPlay is the outcome of a role's template in the play of a playbook that has the role.
func inPlay(t *testing.T, playbook, role, template, hostVars string, facts ...string) string {
	t.Helper()
	file := playbooks.CatalogPrefix + "roles/" + role + "/templates/" + template
	text, err := loader(expr.New(expr.Options{})).ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out, err := playScope(t, playbook, role, hostVars, facts...).RenderFile(string(text), source.Pos{File: file}, nil, expr.TemplateModule())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// cnxSeedVars is a host as the integration guide of CNX has it: no TLS, a kubelet, docker.
const cnxSeedVars = `
profile: seed
etcd_endpoints: ["http://10.0.0.9:2379"]
image_registry: registry.example.com:5000/
cnx_manager_host: cnx.example.com
with_kubernetes: true
cni_kubeconfig: /etc/kubernetes/calico.kubeconfig
`

// TestCNXUnit is F-02 of CNX in the seed style: the guide's unit key for key.
func TestCNXUnit(t *testing.T) {
	sameLines(t, inPlay(t, "cnx-etcd", "calico_node", "calico-node.service.j2", cnxSeedVars, kubeFacts(t, "1.10")), []string{
		"[Unit]",
		"Description=calico node", // A19
		"After=docker.service",    // A19
		"Requires=docker.service", // A19
		"[Service]",
		"User=root", // A20
		"Environment=ETCD_ENDPOINTS=http://10.0.0.9:2379",                             // A20, A27
		"PermissionsStartOnly=true",                                                   // A20
		"ExecStart=/usr/bin/docker run --net=host --privileged --name=calico-node \\", // A21
		"  -e ETCD_ENDPOINTS=${ETCD_ENDPOINTS} \\",                                    // A22
		"  -e NODENAME=%H \\",                                                         // A22
		"  -e IP= \\",                                                                 // A22
		"  -e NO_DEFAULT_POOLS= \\",                                                   // A22
		"  -e AS= \\",                                                                 // A22; no variable of libnetwork
		"  -e IP6= \\",                                                                // A22
		"  -e CALICO_NETWORKING_BACKEND=bird \\",                                      // A22
		"  -e FELIX_DEFAULTENDPOINTTOHOSTACTION=ACCEPT \\",                            // A22
		"  -v /var/run/calico:/var/run/calico \\",                                     // A23
		"  -v /lib/modules:/lib/modules \\",                                           // A23
		"  -v /run/docker/plugins:/run/docker/plugins \\",                             // A23
		"  -v /var/run/docker.sock:/var/run/docker.sock \\",                           // A23
		"  -v /var/log/calico:/var/log/calico \\",                                     // A23; CNI before 3.1 needs no /var/lib/calico
		"  registry.example.com:5000/tigera/cnx-node:v2.0.2",                          // A24
		"ExecStop=/usr/bin/docker rm -f calico-node",                                  // A25
		"Restart=always",                                                              // A25
		"RestartSec=10",                                                               // A25
		"[Install]",
		"WantedBy=multi-user.target", // A26
	})
}

// TestCNXCNI is F-06 of CNX.
func TestCNXCNI(t *testing.T) {
	sameJSON(t, inPlay(t, "cnx-etcd", "cni_config", "cni.json.j2", cnxSeedVars, kubeFacts(t, "1.10")), `{
		"name": "calico-k8s-network",
		"cniVersion": "0.3.0",
		"type": "calico",
		"etcd_endpoints": "http://10.0.0.9:2379",
		"log_level": "info",
		"ipam": {"type": "calico-ipam"},
		"policy": {"type": "k8s"},
		"kubernetes": {"kubeconfig": "/etc/kubernetes/calico.kubeconfig"}
	}`)
}

// TestCNXArtifacts: programs and images of the releases that go with CNX 2.0.2.
func TestCNXArtifacts(t *testing.T) {
	tests := []struct{ playbook, role, expression, want string }{
		{"cnx-etcd", "cni_config", "cni_conf_name", "10-calico.conf"},
		{"cnx-etcd", "cni_config", "artifact_plugins", "containernetworking/plugins/releases/download/v0.6.0/cni-plugins-amd64-v0.6.0.tgz"},
		{"cnx-etcd", "cni_config", "artifact_cni", "projectcalico/cni-plugin/releases/download/v2.0.1/calico"},
		{"cnx-etcd", "artifacts", "ctl_image", "registry.example.com:5000/tigera/calicoctl:v2.0.2"},
		{"cnx-etcd", "artifacts", "cni_image", "quay.io/calico/cni:v2.0.1"},
		{"cnx-etcd", "kube_controllers", "kube_controllers_image", "quay.io/calico/kube-controllers:v2.0.1"},
		{"cnx-kdd", "calico_daemonset", "node_image", "registry.example.com:5000/tigera/cnx-node:v2.0.2"},
		{"cnx-kdd", "calico_daemonset", "cni_image", "quay.io/calico/cni:v2.0.1"},
		{"cnx-kdd", "typha", "typha_image", "registry.example.com:5000/tigera/typha:v2.0.2"},
	}
	for _, tt := range tests {
		got, err := playScope(t, tt.playbook, tt.role, cnxSeedVars, kubeFacts(t, "1.10")).Evaluate(tt.expression, sourceOfTest)
		if err != nil || expr.String(got) != tt.want {
			t.Errorf("%s: %s is %v, %v, want %s", tt.playbook, tt.expression, got, err, tt.want)
		}
	}
}

// TestInstalledCNX: the release of Calico is told from the image of CNX that runs.
func TestInstalledCNX(t *testing.T) {
	tests := map[string]string{"registry.example.com:5000/tigera/cnx-node:v2.0.2": "3.0.3", "quay.io/calico/node:v2.6.12": "2.6.12", "registry.example.com/tigera/cnx-node:v2.1.1": "2.1.1"}
	for image, want := range tests {
		_, version, _ := strings.Cut(image[strings.LastIndex(image, "/"):], ":v")
		facts := found("calico_image", image) + "host_installed_version: " + version + "\n"
		got, err := roleScope(t, expr.New(expr.Options{}), "calico_node", seedVars, facts).Evaluate("host_installed_release", sourceOfTest)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v, want %s", image, got, err, want)
		}
	}
}

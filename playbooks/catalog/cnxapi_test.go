package catalog_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/testenv/kube"
)

// cnxCluster is a Kubernetes API without nodes, and calroll to work on it from this machine.
type cnxCluster struct {
	*testing.T
	api *kube.API
	exe string
	dir string
}

// TestCNXOnAPI applies what the CNX playbooks apply to a real kube-apiserver of Kubernetes 1.29: everything is taken, a second run changes nothing, and
// an undo leaves nothing.
func TestCNXOnAPI(t *testing.T) {
	t.Parallel()
	exe, err := program()
	if err != nil {
		t.Fatal(err)
	}
	api := kube.APIForTest(t, kube.APIOptions{Controllers: true})
	for _, test := range []struct {
		name string
		run  func(*cnxCluster)
	}{
		{"served", (*cnxCluster).servesWhatIsRecorded},
		{"users", (*cnxCluster).takesTheUsers},
		{"owners", (*cnxCluster).respectsOwners},
		{"monitoring", (*cnxCluster).takesMonitoring},
		{"fields", (*cnxCluster).knowsEveryField},
		// Last: an APIService that nobody answers for holds up the end of namespaces, even a while after it is gone.
		{"manager", (*cnxCluster).takesTheManager},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(&cnxCluster{T: t, api: api, exe: exe, dir: t.TempDir()}) })
	}
}

// play runs roles of the catalogue one after the other on the first control plane host, which is this machine.
func (c *cnxCluster) play(code int, more string, roles ...string) outcome {
	c.Helper()
	cmd := c.prepare(c.Context(), more, roles...)
	out, err := cmd.CombinedOutput()
	return c.outcome(cmd, code, string(out), err)
}

func (c *cnxCluster) prepare(ctx context.Context, more string, roles ...string) *exec.Cmd {
	c.Helper()
	access := "{kubeconfig: " + c.api.Kubeconfig + "}"
	playbook := "- hosts: kube_control_plane\n  rollback: {scope: all}\n  module_defaults: {kubernetes.core.k8s: " + access + ", kubernetes.core.k8s_info: " + access + "}\n  tasks:\n"
	for _, role := range roles {
		playbook += "    - import_role: {name: " + role + "}\n"
	}
	write(c.T, filepath.Join(c.dir, "play.yml"), playbook)
	write(c.T, filepath.Join(c.dir, "inventory.yml"), "kube_control_plane: {hosts: {cp1: {ansible_connection: local}}}\n")
	settings := cnxWith(c.T, "cnx_wait_seconds: 0\nmonitoring_wait_seconds: 0\ncnx_applied_dir: "+c.dir+"/applied\ncnx_certificate_dir: "+c.dir+"/certificates\n"+more)
	write(c.T, filepath.Join(c.dir, "group_vars", "all.yml"), settings+kubeFacts(c.T, "1.29"))
	return c.command(ctx, "run", filepath.Join(c.dir, "play.yml"))
}

func (c *cnxCluster) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.exe, append(args, "-i", filepath.Join(c.dir, "inventory.yml"))...)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(c.dir, "state"))
	return cmd
}

func (c *cnxCluster) outcome(cmd *exec.Cmd, code int, out string, err error) outcome {
	c.Helper()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.Fatal(err)
	}
	o := outcome{cmd.ProcessState.ExitCode(), out}
	if o.code != code {
		c.Fatalf("calroll %v: exit code %d, not %d\n%s", cmd.Args[1:], o.code, code, o.text)
	}
	return o
}

// predicts runs roles in check mode, which alters nothing.
func (c *cnxCluster) predicts(more string, roles ...string) {
	c.Helper()
	cmd := c.prepare(c.Context(), more, roles...)
	cmd.Args = append(cmd.Args, "--check", "--diff")
	out, err := cmd.CombinedOutput()
	if o := c.outcome(cmd, exitOK, string(out), err); o.changed()["cp1"] == "0" {
		c.Errorf("it predicts no change of %v", roles)
	}
}

// undo takes a run back.
func (c *cnxCluster) undo(run string) {
	c.Helper()
	cmd := c.command(c.Context(), "rollback", run)
	out, err := cmd.CombinedOutput()
	c.outcome(cmd, exitOK, string(out), err)
}

func (c *cnxCluster) runs() []string {
	c.Helper()
	entries, err := os.ReadDir(filepath.Join(c.dir, "state", "calroll", "runs"))
	if err != nil {
		c.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// unchanged runs roles again and demands that nothing changes.
func (c *cnxCluster) unchanged(more string, roles ...string) {
	c.Helper()
	if changed := c.play(exitOK, more, roles...).changed()["cp1"]; changed != "0" {
		c.Errorf("the second run of %v changed %s things", roles, changed)
	}
}

func (c *cnxCluster) kubectl(args ...string) (string, error) {
	out, err := c.api.Kubectl(c.Context(), args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// get is an object of the API; nil if there is none.
func (c *cnxCluster) get(object map[string]any) map[string]any {
	c.Helper()
	metadata := object["metadata"].(map[string]any)
	group := ""
	if i := strings.Index(object["apiVersion"].(string), "/"); i > 0 {
		group = "." + object["apiVersion"].(string)[i+1:] + "." + object["apiVersion"].(string)[:i]
	}
	args := []string{"get", strings.ToLower(object["kind"].(string)) + group, fmt.Sprint(metadata["name"]), "-o", "json", "--ignore-not-found"}
	if ns := metadata["namespace"]; ns != nil {
		args = append(args, "-n", fmt.Sprint(ns))
	}
	text, err := c.kubectl(args...)
	if err != nil {
		c.Fatalf("%v: %s", args, text)
	}
	if text == "" {
		return nil
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		c.Fatal(err)
	}
	return got
}

// has demands that the API has the objects of a golden file, with whatever it added.
func (c *cnxCluster) has(golden []map[string]any) {
	c.Helper()
	for _, want := range golden {
		got := c.get(want)
		if got == nil {
			c.Errorf("there is no %v %v", want["kind"], want["metadata"])
			continue
		}
		if missing := lacks(plain(c.T, withRuleSet(got)), plain(c.T, withRuleSet(want)), ""); missing != "" {
			c.Errorf("%v %v: %s", want["kind"], want["metadata"], missing)
		}
	}
}

// hasNot demands that none of the objects is there.
func (c *cnxCluster) hasNot(golden []map[string]any) {
	c.Helper()
	for _, gone := range golden {
		if gone["kind"] == "Namespace" { // what is in it goes first; that takes the controller manager a while
			if text, err := c.kubectl("wait", "--for=delete", "namespace/"+name(gone), "--timeout=60s"); err != nil {
				c.Errorf("%s", text)
			}
			continue
		}
		if got := c.get(gone); got != nil && got["metadata"].(map[string]any)["deletionTimestamp"] == nil {
			c.Errorf("%v %v is still there", gone["kind"], gone["metadata"])
		}
	}
}

// plain is a value as JSON has it, so that numbers of both sides are of one type.
func plain(t *testing.T, v any) any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// lacks says what of want is missing in got; keys that got has beside are not looked at, lists must have the same length.
func lacks(got, want any, at string) string {
	switch want := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok && len(want) > 0 {
			return fmt.Sprintf("%s is %v", at, got)
		}
		for k, w := range want {
			if missing := lacks(g[k], w, at+"."+k); missing != "" {
				return missing
			}
		}
	case []any:
		g, _ := got.([]any)
		if len(g) != len(want) {
			return fmt.Sprintf("%s is %v, want %v", at, got, want)
		}
		for i, w := range want {
			if missing := lacks(g[i], w, fmt.Sprintf("%s[%d]", at, i)); missing != "" {
				return missing
			}
		}
	default:
		if got != want && !(want == "" && got == nil) {
			return fmt.Sprintf("%s is %v, want %v", at, got, want)
		}
	}
	return ""
}

// servesWhatIsRecorded: the server serves the kinds that testdata/served.yml records for its release, at those versions.
func (c *cnxCluster) servesWhatIsRecorded() {
	for api, kinds := range servedBy(c.T, "1.29") {
		path := "/apis/" + api
		if !strings.Contains(api, "/") {
			path = "/api/" + api
		}
		text, err := c.kubectl("get", "--raw", path)
		if err != nil {
			c.Errorf("%s: %s", api, text)
			continue
		}
		for _, kind := range kinds {
			if !strings.Contains(text, `"kind":"`+kind+`"`) {
				c.Errorf("%s has no %s", api, kind)
			}
		}
	}
}

// managerSets are the golden files of what the playbook cnx-manager applies with datastore etcd.
func managerSets(t *testing.T) []map[string]any {
	t.Helper()
	var all []map[string]any
	for _, name := range []string{"calico-config", "cnx-rbac", "cnx-apiserver", "cnx-manager", "apiservice-tls"} {
		all = append(all, golden(t, name, "1.29")...)
	}
	// The golden API server has no certificate of its own; this one has.
	spec := podSpec(all[slices.IndexFunc(all, func(o map[string]any) bool { return o["kind"] == "Deployment" })])
	spec["volumes"] = append(spec["volumes"].([]any), map[string]any{"name": "apiserver-certs", "secret": map[string]any{"secretName": "cnx-apiserver-certs"}})
	container := spec["containers"].([]any)[0].(map[string]any)
	container["volumeMounts"] = append(container["volumeMounts"].([]any), map[string]any{"name": "apiserver-certs", "mountPath": "/code/apiserver.local.config/certificates"})
	return all
}

func podSpec(object map[string]any) map[string]any {
	return object["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)
}

func (c *cnxCluster) takesTheManager() {
	more := fmt.Sprintf("cnx_apiserver_tls: true\netcd_ca_file: %[1]s/ca\netcd_cert_file: %[1]s/cert\netcd_key_file: %[1]s/key\nimage_pull_secret_file: %[1]s/config.json\nansible_facts: {default_ipv4: {address: 10.0.0.1}}\ncnx_kubernetes_api: https://10.0.0.1:6443\n", c.dir)
	for _, name := range []string{"ca", "cert", "key", "config.json"} {
		write(c.T, filepath.Join(c.dir, name), `{"auths": {}}`)
	}
	roles := []string{"cnx_image_push", "cnx_manager_tls", "cnx_apiserver_manager"}
	other := c.someoneElses("cnx-manager")
	c.predicts(more, roles...)
	c.hasNot(golden(c.T, "cnx-rbac", "1.29"))
	c.play(exitOK, more, roles...)
	sets := managerSets(c.T)
	ca := c.certificates()
	sets[len(sets)-1]["spec"].(map[string]any)["caBundle"] = ca
	c.has(sets)
	for _, set := range []string{"cnx-rbac", "cnx-apiserver", "cnx-manager", "apiservice"} {
		if _, err := os.Stat(filepath.Join(c.dir, "applied", set+".yaml")); err != nil {
			c.Error(err)
		}
	}
	c.unchanged(more, roles...)
	for _, run := range slices.Backward(c.runs()) {
		c.undo(run)
	}
	c.has(other)
	if text, err := c.kubectl("delete", "deployment", "-n", "kube-system", name(other[0])); err != nil {
		c.Error(text)
	}
	c.hasNot(slices.DeleteFunc(sets, func(o map[string]any) bool { return o["kind"] == "Deployment" && name(o) == name(other[0]) }))
	c.hasNot([]map[string]any{secret("cnx-manager-tls"), secret("cnx-apiserver-certs"), secret("calico-etcd-secrets"), secret("cnx-pull-secret")})
}

func name(object map[string]any) string {
	return fmt.Sprint(object["metadata"].(map[string]any)["name"])
}

// someoneElses makes a Deployment that selects its pods by other labels than the catalogue's, as one made by hand does.
func (c *cnxCluster) someoneElses(name string) []map[string]any {
	c.Helper()
	file := filepath.Join(c.dir, "other.yaml")
	write(c.T, file, fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata: {name: %s, namespace: kube-system}
spec:
  replicas: 1
  selector: {matchLabels: {app: by-hand}}
  template:
    metadata: {labels: {app: by-hand}}
    spec: {containers: [{name: web, image: by-hand}]}
`, name))
	if text, err := c.kubectl("create", "-f", file); err != nil {
		c.Fatal(text)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		c.Fatal(err)
	}
	return documents(c.T, text)
}

func secret(name string) map[string]any { return secretIn("kube-system", name) }

func secretIn(namespace, name string) map[string]any {
	return map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name, "namespace": namespace}}
}

// certificates looks at the secrets of the manager and of the API server, and gives the authority of the latter as an APIService has it.
func (c *cnxCluster) certificates() (caBundle string) {
	c.Helper()
	manager := c.pair("cnx-manager-tls", "cert", "key")
	if err := manager.VerifyHostname("cnx.example.com"); err != nil || manager.Subject.CommonName != "cnx.example.com" {
		c.Errorf("CNX Manager's certificate is for CN %s and %v: %v", manager.Subject.CommonName, manager.DNSNames, err)
	}
	server := c.pair("cnx-apiserver-certs", "apiserver.crt", "apiserver.key")
	text, err := os.ReadFile(filepath.Join(c.dir, "certificates", "cnx-apiserver-ca.crt"))
	if err != nil {
		c.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	if _, err := server.Verify(x509.VerifyOptions{DNSName: "api.kube-system.svc", Roots: roots}); err != nil || server.Subject.CommonName != "api.kube-system.svc" {
		c.Errorf("the API server's certificate, CN %s: %v", server.Subject.CommonName, err)
	}
	return base64.StdEncoding.EncodeToString(text)
}

// pair is the certificate of a secret, whose key must fit it; it has no other keys.
func (c *cnxCluster) pair(name, certKey, keyKey string) *x509.Certificate {
	c.Helper()
	got := c.get(secret(name))
	data, _ := got["data"].(map[string]any)
	if len(data) != 2 {
		c.Fatalf("the secret %s has the keys %v", name, data)
	}
	var parts [2][]byte
	for i, key := range []string{certKey, keyKey} {
		text, err := base64.StdEncoding.DecodeString(fmt.Sprint(data[key]))
		if err != nil {
			c.Fatalf("%s: %s: %v", name, key, err)
		}
		parts[i] = text
	}
	both, err := tls.X509KeyPair(parts[0], parts[1])
	if err != nil {
		c.Fatalf("%s: %v", name, err)
	}
	return both.Leaf
}

func (c *cnxCluster) takesTheUsers() {
	if text, err := c.kubectl("create", "namespace", "shop"); err != nil {
		c.Fatal(text)
	}
	c.predicts("", "cnx_users")
	c.hasNot(golden(c.T, "users", "1.29"))
	c.play(exitOK, "", "cnx_users")
	c.has(golden(c.T, "users", "1.29"))
	editor := "https://id.example.com#ed"
	tests := []struct {
		user, verb, resource, namespace string
		may                             bool
	}{
		{"ada", "delete", "nodes", "", true},
		{editor, "create", "networkpolicies.networking.k8s.io", "shop", true},
		{editor, "create", "networkpolicies.networking.k8s.io", "default", false},
		{editor, "list", "namespaces", "", true},
		{"rob", "list", "namespaces", "", true},
		{"rob", "list", "networkpolicies.networking.k8s.io", "shop", true},
		{"rob", "create", "networkpolicies.networking.k8s.io", "shop", false},
		{"rob", "list", "secrets", "shop", false},
		{"eve", "list", "namespaces", "", false},
	}
	for _, tt := range tests {
		args := []string{"auth", "can-i", tt.verb, tt.resource, "--as", tt.user}
		if tt.namespace != "" {
			args = append(args, "-n", tt.namespace)
		}
		text, _ := c.kubectl(args...) // "no" is an exit code too
		if got := strings.HasSuffix(text, "yes"); got != tt.may || !got && !strings.HasSuffix(text, "no") {
			c.Errorf("%v: %s, want %v", args, text, tt.may)
		}
	}
	c.unchanged("", "cnx_users")
	for _, run := range slices.Backward(c.runs()) {
		c.undo(run)
	}
	c.hasNot(golden(c.T, "users", "1.29"))
}

// respectsOwners: fields that somebody else has set stop a run, which names the owner and the way out; with take_over they are taken, and go back.
func (c *cnxCluster) respectsOwners() {
	theirs := `{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "ui-needed-listers"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]}`
	write(c.T, filepath.Join(c.dir, "theirs.json"), theirs)
	if text, err := c.kubectl("apply", "--server-side", "--field-manager=their-gitops", "-f", filepath.Join(c.dir, "theirs.json")); err != nil {
		c.Fatal(text)
	}
	rules := func() string {
		text, _ := c.kubectl("get", "clusterrole", "ui-needed-listers", "-o", "jsonpath={.rules}")
		return text
	}
	before := rules()
	o := c.play(exitFailed, "", "cnx_users")
	for _, want := range []string{`conflict with \"their-gitops\"`, ".rules", "take_over=true"} {
		if !strings.Contains(o.text, want) {
			c.Errorf("it does not say %s:\n%s", want, o.text)
		}
	}
	if got := rules(); got != before {
		c.Errorf("it took the rules without being told to: %s", got)
	}
	c.play(exitOK, "take_over: true\n", "cnx_users")
	if got := rules(); got == before {
		c.Error("it did not take the rules over")
	}
	c.unchanged("", "cnx_users")
	for _, run := range slices.Backward(c.runs()[1:]) { // the first is the one that failed
		c.undo(run)
	}
	if got := rules(); got != before {
		c.Errorf("the rules are %s, they were %s", got, before)
	}
	if text, err := c.kubectl("delete", "clusterrole", "ui-needed-listers"); err != nil {
		c.Error(text)
	}
}

// monitoringKinds are the kinds that the operator would bring, as a server of today takes them.
func monitoringKinds() string {
	var text strings.Builder
	for kind, plural := range map[string]string{"Alertmanager": "alertmanagers", "Prometheus": "prometheuses", "ServiceMonitor": "servicemonitors"} {
		fmt.Fprintf(&text, `---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %s.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {kind: %s, plural: %[1]s, singular: %[3]s}
  versions:
    - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`, plural, kind, strings.ToLower(kind))
	}
	return text.String()
}

func (c *cnxCluster) takesMonitoring() {
	operator, rest := golden(c.T, "prometheus-operator", "1.29"), append(golden(c.T, "monitor-calico", "1.29"), golden(c.T, "alertmanager-webhook", "1.29")...)
	more := "image_pull_secret_file: " + c.dir + "/config.json\n"
	write(c.T, filepath.Join(c.dir, "config.json"), `{"auths": {}}`)
	failed := c.play(exitFailed, more+"monitoring_kinds_seconds: 2\n", "node_exporter", "prometheus_operator")
	if !strings.Contains(failed.text, "alertmanagers") {
		c.Errorf("it does not say what it waited for:\n%s", failed.text)
	}
	c.hasNot(operator)

	roles := []string{"node_exporter", "prometheus_operator", "monitor_calico"}
	c.predicts(more, roles...)
	c.hasNot(operator)
	cmd := c.prepare(c.Context(), more, roles...)
	log, err := os.Create(filepath.Join(c.dir, "log"))
	if err != nil {
		c.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		c.Fatal(err)
	}
	c.comes(operator[len(operator)-1])
	write(c.T, filepath.Join(c.dir, "kinds.yaml"), monitoringKinds())
	if text, err := c.kubectl("apply", "-f", filepath.Join(c.dir, "kinds.yaml")); err != nil {
		c.Fatal(text)
	}
	err = cmd.Wait()
	text, _ := os.ReadFile(log.Name())
	c.outcome(cmd, exitOK, string(text), err)

	objects := slices.Concat(golden(c.T, "node-exporter", "1.29"), operator, rest, golden(c.T, "prometheus", "1.29"))
	c.has(objects)
	c.has([]map[string]any{secretIn("calico-monitoring", "cnx-pull-secret")})
	c.alertmanagerIsConfigured()
	c.unchanged(more, roles...)
	for _, run := range slices.Backward(c.runs()[1:]) { // the first is the one that failed
		c.undo(run)
	}
	c.hasNot(slices.Concat(golden(c.T, "node-exporter", "1.29"), operator))
}

// comes waits until an object is there.
func (c *cnxCluster) comes(object map[string]any) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), time.Minute)
	defer cancel()
	for c.get(object) == nil {
		select {
		case <-ctx.Done():
			c.Fatalf("%v %v does not come", object["kind"], object["metadata"])
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (c *cnxCluster) alertmanagerIsConfigured() {
	c.Helper()
	got := c.get(secretIn("calico-monitoring", "alertmanager-calico-node-alertmanager"))
	text, err := base64.StdEncoding.DecodeString(got["data"].(map[string]any)["alertmanager.yaml"].(string))
	if err != nil {
		c.Fatal(err)
	}
	var config struct {
		Route     struct{ Receiver string }
		Receivers []struct{ Name string }
	}
	if err := yaml.Unmarshal(text, &config); err != nil || config.Route.Receiver != "webhook" || len(config.Receivers) != 1 || config.Receivers[0].Name != "webhook" {
		c.Errorf("alertmanager.yaml is %s: %v", text, err)
	}
}

// knowsEveryField: no object has a field that the server does not know, which it would leave out without a word.
func (c *cnxCluster) knowsEveryField() {
	write(c.T, filepath.Join(c.dir, "kinds.yaml"), "apiVersion: v1\nkind: Namespace\nmetadata: {name: calico-monitoring}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"+monitoringKinds())
	if text, err := c.kubectl("apply", "-f", filepath.Join(c.dir, "kinds.yaml")); err != nil {
		c.Fatal(text)
	}
	for _, crd := range []string{"alertmanagers", "prometheuses", "servicemonitors"} {
		if text, err := c.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd/"+crd+".monitoring.coreos.com"); err != nil {
			c.Fatal(text)
		}
	}
	for _, set := range objectSets {
		var text strings.Builder
		for _, object := range objects(c.T, set.role, set.template+".yaml.j2", cnxWith(c.T, set.vars), kubeFacts(c.T, "1.29")) {
			one, err := yaml.Marshal(object)
			if err != nil {
				c.Fatal(err)
			}
			text.WriteString("---\n" + string(one))
		}
		cmd := c.api.Kubectl(c.Context(), "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-")
		cmd.Stdin = strings.NewReader(text.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			c.Errorf("%s: %s", set.golden, out)
		}
	}
}

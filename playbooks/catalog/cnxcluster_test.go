//go:build nightly

package catalog_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/artifacts"
	"github.com/calroll/calroll/testenv/kube"
)

// cnxRegistry is where the settings say that CNX's images come from. Nodes have them already, and ask nobody.
const cnxRegistry = "registry.example.com:5000/"

// cnxImages are the stand-ins, as the nodes have them.
var cnxImages = []string{"tigera/cnx-node:v2.0.2", "tigera/typha:v2.0.2", "tigera/cnx-apiserver:v2.0.0", "tigera/cnx-manager:v2.0.0"}

// cnxCalicoctl stands in for calicoctl of CNX: Calico's own, told of the fields that CNX has under the names of those that come closest to them, so that
// Felix opens the port that the setting is about.
const cnxCalicoctl = `#!/bin/bash
set -o pipefail
case " $* " in
*" -f - "*) sed s/prometheusReporter/prometheusMetrics/g | %[1]s "$@" ;;
*) %[1]s "$@" </dev/null ;;
esac | sed s/prometheusMetrics/prometheusReporter/g
`

const cnxUserSettings = `
- {name: ada, level: admin}
- {name: ed, level: editor, namespaces: [default]}
- {name: rob, level: reader}
`

// tigera is a cluster without a network whose control plane is a node too, and calroll to give it CNX.
type tigera struct {
	*hosted
	settings string // file of settings
	playbook string // cnx-kdd or cnx-etcd
}

// TestCNXKDD takes a cluster without a network to CNX, and back: calico/node, the CNX API server, CNX Manager and what a Prometheus needs, all
// by the playbook cnx-kdd, with stand-ins for the programs of CNX. The programs of Calico are of CalicoVersion, and so are the objects that run them:
// those of CNX 2.0 start programs of Calico 3.0, which are not to be had (TestCNXOnAPI and the golden files have those).
func TestCNXKDD(t *testing.T) {
	t.Parallel()
	c := newTigera(t)
	bare, before, flags := c.pictures(), c.objects(), c.apiServer()
	c.sub("bundled monitoring", (*tigera).refusesBundled)
	if !c.sub("install", (*tigera).installs) {
		return
	}
	run := c.lastRun()
	c.sub("pods", (*tigera).runsPods)
	c.sub("API", (*tigera).servesTiers)
	c.sub("manager", (*tigera).showsThePage)
	c.sub("origin", func(c *tigera) { c.letsPagesAsk(flags) })
	c.sub("users", (*tigera).letsUsersIn)
	c.sub("reports", (*tigera).reports)
	c.sub("again", (*tigera).changesNothing)
	c.sub("back", func(c *tigera) { c.goesBack(run, bare, before, flags) })
}

func newTigera(t *testing.T) *tigera {
	t.Helper()
	c := &tigera{hosted: newHostedWith(t, kube.Options{Kubelets: []kube.Kubelet{kube.Containerd}, ControlNode: true, CNX: true}), playbook: "cnx-kdd"}
	c.taintsControl()
	for _, h := range c.lab.Hosts {
		for _, image := range cnxImages {
			c.sh(h, "ctr --namespace k8s.io images tag docker.io/"+image+" "+cnxRegistry+image)
		}
	}
	c.writeSettings(`
artifact_source: local
image_registry: %[3]s
pool_encap: "off"
typha: "on"
typha_replicas: 1
`)
	return c
}

// taintsControl leaves the control plane's host to pods that bear its taint.
func (c *tigera) taintsControl() {
	c.Helper()
	c.kubectl("taint", "node", c.cluster.Control.Name, "node-role.kubernetes.io/control-plane=:NoSchedule")
}

// writeSettings writes the file of settings: those of all clusters with CNX, and more. In it %[1]s is the version of Calico, %[2]s the folder of
// programs on this machine, %[3]s the registry.
func (c *tigera) writeSettings(more string) {
	c.Helper()
	dir := c.TempDir()
	write(c.T, filepath.Join(dir, "calicoctl"), fmt.Sprintf(cnxCalicoctl, c.cluster.Program("calicoctl")))
	c.settings = filepath.Join(dir, "settings.yml")
	write(c.T, c.settings, fmt.Sprintf(more+`
calico_version: %[1]s
artifact_dir: %[2]s
kube_controllers_image: docker.io/calico/kube-controllers:%[1]s
cnx_objects_translated: true
cnx_apiserver_tls: true
cnx_manager_host: %[4]s
cnx_certificate_dir: %[2]s/certificates
cnx_auth: {type: Token}
cnx_users: %[5]s
`, kubeCalico(c.cluster), dir, cnxRegistry, c.cluster.Nodes()[0].Address, strings.ReplaceAll(cnxUserSettings, "\n", "\n  ")))
}

// kubeCalico is the version of Calico that a cluster's nodes have images of.
func kubeCalico(c *kube.Cluster) string {
	for _, image := range c.Images() {
		if version, ok := strings.CutPrefix(image, "calico/node:"); ok {
			return version
		}
	}
	return ""
}

func (c *tigera) sub(name string, test func(*tigera)) bool {
	return c.Run(name, func(t *testing.T) { test(&tigera{c.in(t), c.settings, c.playbook}) })
}

func (c *tigera) cnx(code int, args ...string) outcome {
	c.Helper()
	return c.carry(code, c.playbook, append([]string{"-e", "@" + c.settings}, args...)...)
}

// apiServer is the command line of kube-apiserver.
func (c *tigera) apiServer() []string {
	c.Helper()
	return strings.Split(strings.TrimRight(c.sh(c.cluster.Control, `tr '\0' '\n' < /proc/$(pidof kube-apiserver)/cmdline`), "\n"), "\n")
}

// refusesBundled: the operator of CNX's time cannot make its kinds at this API, and says so before anything is altered.
func (c *tigera) refusesBundled() {
	before := c.objects()
	o := c.cnx(exitFailed, "-e", "monitoring=bundled")
	for _, want := range []string{"G-41", "set monitoring to external"} {
		if !strings.Contains(o.text, want) {
			c.Errorf("it does not say %q", want)
		}
	}
	c.Log(o.text)
	if got := c.objects(); !slices.Equal(got, before) {
		c.Errorf("something was altered: %s", difference(before, got))
	}
}

func (c *tigera) installs() {
	c.Log(c.cnx(exitOK).text)
	if err := c.cluster.WaitReady(c.Context()); err != nil {
		c.Fatal(err)
	}
}

func (c *tigera) runsPods() {
	running := c.kubectl("get", "pod", "-n", "kube-system", "-o", "jsonpath={.items[*].spec.containers[*].image}")
	for _, image := range cnxImages {
		if !strings.Contains(running, cnxRegistry+image) {
			c.Errorf("no pod runs %s: %s", image, running)
		}
	}
}

// servesTiers is H-13.
func (c *tigera) servesTiers() {
	// kube-apiserver asks anew every half minute at most, and a busy machine may make it wait too long once.
	c.kubectl("wait", "--for=condition=Available", "--timeout=60s", "apiservice/v3.projectcalico.org")
	if got := c.kubectl("get", "tiers.projectcalico.org", "-o", "name"); strings.TrimSpace(got) != "tier.projectcalico.org/default" {
		c.Errorf("tiers are %q", got)
	}
}

// showsThePage is H-14: a node's port 30003 answers with the certificate that was made.
func (c *tigera) showsThePage() {
	host := c.cluster.Nodes()[0].Address.String()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(c.settings), "certificates", "cnx-manager.crt"))
	if err != nil {
		c.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	for _, h := range c.cluster.Lab.Hosts { // every node has the port, the certificate is for one of them
		conn, err := tls.Dial("tcp", net.JoinHostPort(h.Address.String(), "30003"), &tls.Config{RootCAs: roots, ServerName: host})
		if err != nil {
			c.Errorf("%s: %v", h.Name, err)
			continue
		}
		cert := conn.ConnectionState().PeerCertificates[0]
		_ = conn.Close()
		if cert.Subject.CommonName != host || len(cert.IPAddresses) != 1 || cert.IPAddresses[0].String() != host {
			c.Errorf("%s shows a certificate for CN %s, SAN %v", h.Name, cert.Subject.CommonName, cert.IPAddresses)
		}
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	answer, err := client.Get("https://" + net.JoinHostPort(host, "30003") + "/")
	if err != nil {
		c.Fatal(err)
	}
	defer answer.Body.Close()
	page := make([]byte, 1000)
	n, _ := answer.Body.Read(page)
	if want := "authentication by Token against " + c.cluster.Server; answer.StatusCode != http.StatusOK || strings.TrimSpace(string(page[:n])) != want {
		c.Errorf("the page is %s %q, want %q", answer.Status, page[:n], want)
	}
}

func (c *tigera) origin() string {
	return "https://" + net.JoinHostPort(c.cluster.Nodes()[0].Address.String(), "30003")
}

// letsPagesAsk is S-26: kube-apiserver has the origin, all its other arguments as they were, and tells browsers.
func (c *tigera) letsPagesAsk(flags []string) {
	now := c.apiServer()
	flag := "--cors-allowed-origins=" + c.origin()
	if i := slices.Index(now, flag); i < 0 || !slices.Equal(slices.Delete(slices.Clone(now), i, i+1), flags) {
		c.Errorf("kube-apiserver runs as\n%s\nit ran as\n%s", strings.Join(now, "\n"), strings.Join(flags, "\n"))
	}
	c.kubectl("get", "--raw", "/readyz")
	for origin, want := range map[string]string{c.origin(): c.origin(), "https://elsewhere.example.com": ""} {
		if got := c.preflight(origin); got != want {
			c.Errorf("%s is answered with the origin %q, want %q", origin, got, want)
		}
	}
}

// preflight asks as a browser does for a page from an origin, and gives the origin of the answer.
func (c *tigera) preflight(origin string) string {
	c.Helper()
	ca := x509.NewCertPool()
	ca.AppendCertsFromPEM(c.cluster.PKI.CA.CertPEM())
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca}}}
	r, err := http.NewRequestWithContext(c.Context(), http.MethodOptions, c.cluster.Server+"/version", nil)
	if err != nil {
		c.Fatal(err)
	}
	r.Header.Set("Origin", origin)
	r.Header.Set("Access-Control-Request-Method", http.MethodGet)
	answer, err := client.Do(r)
	if err != nil {
		c.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.Header.Get("Access-Control-Allow-Origin")
}

// letsUsersIn is S-27, asked of the cluster.
func (c *tigera) letsUsersIn() {
	for _, tt := range []struct {
		user, verb, resource, namespace string
		may                             bool
	}{
		{"ada", "delete", "nodes", "", true},
		{"ed", "create", "networkpolicies.networking.k8s.io", "default", true},
		{"ed", "create", "networkpolicies.networking.k8s.io", "kube-system", false},
		{"ed", "list", "namespaces", "", true},
		{"rob", "list", "namespaces", "", true},
		{"rob", "create", "networkpolicies.networking.k8s.io", "default", false},
		{"eve", "list", "namespaces", "", false},
	} {
		if got := c.can(tt.user, tt.verb, tt.resource, tt.namespace); got != tt.may {
			c.Errorf("%s may %s %s in %q: %v, want %v", tt.user, tt.verb, tt.resource, tt.namespace, got, tt.may)
		}
	}
}

// can asks the API whether a user may do something.
func (c *tigera) can(user, verb, resource, namespace string) bool {
	c.Helper()
	resource, group, _ := strings.Cut(resource, ".")
	review := map[string]any{"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": map[string]any{"user": user,
		"resourceAttributes": map[string]any{"verb": verb, "resource": resource, "group": group, "namespace": namespace}}}
	text, err := json.Marshal(review)
	if err != nil {
		c.Fatal(err)
	}
	out := c.sh(c.cluster.Control, "kubectl create -o jsonpath={.status.allowed} -f - <<'EOF'\n"+string(text)+"\nEOF")
	return strings.TrimSpace(out) == "true"
}

// reports is S-19 and what monitoring external says: every node has the port, and FelixConfiguration is why.
func (c *tigera) reports() {
	if got := c.kubectl("get", "felixconfigurations.crd.projectcalico.org", "default", "-o", "jsonpath={.spec.prometheusMetricsEnabled} {.spec.prometheusMetricsPort}"); got != "true 9081" {
		c.Errorf("Felix is configured with %q", got)
	}
	c.servesMetrics()
}

func (c *tigera) servesMetrics() {
	c.Helper()
	for _, h := range c.cluster.Lab.Hosts {
		if out := c.sh(h, "curl -fsS http://127.0.0.1:9081/metrics"); !strings.Contains(out, "felix_") {
			c.Errorf("%s reports\n%s", h.Name, out)
		}
	}
}

func (c *tigera) changesNothing() {
	for host, changed := range c.cnx(exitOK).changed() {
		if changed != "0" {
			c.Errorf("the second run changed %s: %s tasks", host, changed)
		}
	}
}

// goesBack: the run that installed all is taken back.
func (c *tigera) goesBack(run string, bare map[string]testenv.Snapshot, before, flags []string) {
	c.goesBackBy(flags, func() {
		c.rollback(run)
		c.podsEnd()
		c.isOff(bare, before)
	})
}

// podsEnd waits until the pods of what was deleted have ended: those on their hosts' network do so by themselves.
func (c *tigera) podsEnd() {
	c.Helper()
	c.eventually(c.cluster.Control, 2*time.Minute, `ending=$(kubectl get pod --all-namespaces -o jsonpath='{.items[?(@.metadata.deletionTimestamp)].metadata.name}') && [ -z "$ending" ]`)
}

// goesBackBy: while takesBack is at work there is a server for the APIService as long as there is the latter, and then neither of them.
func (c *tigera) goesBackBy(flags []string, takesBack func()) {
	c.Helper()
	dangling := c.watchesAPIService()
	takesBack()
	if seen := dangling(); seen != "" {
		c.Errorf("projectcalico.org was still handed to a server that had gone: %s", seen)
	}
	if got := c.kubectl("get", "apiservice", "-o", "name"); strings.Contains(got, "projectcalico") {
		c.Errorf("there still is an APIService: %s", got)
	}
	if now := c.apiServer(); !slices.Equal(now, flags) {
		c.Errorf("kube-apiserver runs as\n%s\nit ran as\n%s", strings.Join(now, "\n"), strings.Join(flags, "\n"))
	}
}

// watchesAPIService looks at the API until the function that it returns is called, which says what APIService it saw after its server had gone.
// Meanwhile kube-apiserver may restart: a question that is not answered says nothing.
func (c *tigera) watchesAPIService() (seen func() string) {
	c.Helper()
	ctx, stop := context.WithCancel(c.Context())
	done := make(chan string, 1)
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			server, err := c.cluster.Kubectl(ctx, "-n", "kube-system", "get", "deployment", "cnx-apiserver", "--ignore-not-found", "-o", "name")
			if err != nil || strings.TrimSpace(server) != "" {
				continue
			}
			service, err := c.cluster.Kubectl(ctx, "get", "apiservice", "v3.projectcalico.org", "--ignore-not-found", "-o", "name")
			if err == nil {
				done <- strings.TrimSpace(service) // the server had gone before this was asked
				return
			}
		}
	}()
	return func() string {
		defer stop()
		select {
		case text := <-done:
			return text
		case <-time.After(time.Minute):
			return "cannot tell: the API does not answer"
		}
	}
}

// monitoringStandIns run where the operator of CNX's time would run Prometheus and Alertmanager, which it cannot on a Kubernetes of today: three pods for
// the latter, and one that reads what calico/node reports (%[2]s) when it is asked for its targets.
const monitoringStandIns = `
apiVersion: v1
kind: Namespace
metadata: {name: calico-monitoring}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: alertmanager-calico-node-alertmanager, namespace: calico-monitoring}
spec:
  replicas: 2
  podManagementPolicy: Parallel
  serviceName: alertmanager-operated
  selector: {matchLabels: {app: alertmanager}}
  template:
    metadata: {labels: {app: alertmanager}}
    spec: {containers: [{name: alertmanager, image: %[1]q, args: [serve]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: prometheus, namespace: calico-monitoring, labels: {app: prometheus}}
spec: {containers: [{name: prometheus, image: %[1]q, args: [prometheus, %[2]q]}]}
---
apiVersion: v1
kind: Service
metadata: {name: calico-node-prometheus, namespace: calico-monitoring}
spec: {type: NodePort, selector: {app: prometheus}, ports: [{port: 9090, targetPort: 8080, nodePort: 30909}]}
`

const monitoringHealthPlay = `- hosts: kube_control_plane[0]
  vars: {monitoring_wait_seconds: 10, datastore: etcd}
  module_defaults: {kubernetes.core.k8s_info: {kubeconfig: "{{ kubeconfig_admin }}"}}
  tasks:
    - import_role: {name: kube_facts}
    - import_role: {name: monitoring_health}
`

// watches is H-15, with stand-ins: the check fails while an Alertmanager is missing and while a node is not read, and passes when all is there.
func (c *tigera) watches() {
	var urls []string
	for _, h := range c.lab.Hosts {
		urls = append(urls, "http://"+net.JoinHostPort(h.Address.String(), "9081")+"/metrics")
	}
	if err := c.cluster.Apply(c.Context(), fmt.Sprintf(monitoringStandIns, artifacts.ImageTag(artifacts.PodImage, ""), strings.Join(urls, ","))); err != nil {
		c.Fatal(err)
	}
	defer c.kubectl("delete", "namespace", "calico-monitoring", "--wait")
	c.kubectl("-n", "calico-monitoring", "wait", "--for=condition=Ready", "--timeout=180s", "pod", "--all")
	play := filepath.Join(c.TempDir(), "health.yml")
	write(c.T, play, monitoringHealthPlay)
	check := func(code int, says string, args ...string) {
		c.Helper()
		if o := c.calroll(append([]string{"run", play}, args...)...); o.code != code || !strings.Contains(o.text, says) {
			c.Errorf("exit code %d, not %d, or it does not say %q:\n%s", o.code, code, says, o.text)
		}
	}
	check(exitFailed, "H-15, three Alertmanagers are ready")
	c.kubectl("-n", "calico-monitoring", "scale", "statefulset", "alertmanager-calico-node-alertmanager", "--replicas=3")
	c.kubectl("-n", "calico-monitoring", "rollout", "status", "statefulset", "alertmanager-calico-node-alertmanager", "--timeout=180s")
	check(exitFailed, "H-15, Prometheus reads calico/node on every node", "-e", fmt.Sprintf("kube_node_count=%d", len(urls)+1))
	check(exitOK, "H-15, Prometheus reads calico/node on every node")
}

//go:build nightly

package catalog_test

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/artifacts"
	"github.com/calroll/calroll/testenv/kube"
	"github.com/calroll/calroll/testenv/pki"
)

// tigeraEtcd is a cluster without a network whose control plane is a node too, with an etcd beside it, and calroll to give it CNX.
type tigeraEtcd struct {
	*tigera
	old []*testenv.Host // nodes with kubelet 1.23 and dockershim; the first is image_host
	reg *registry
}

// TestCNXEtcd takes a cluster without a network to CNX whose data is in etcd, and back: calico/node as a unit on every host, in the guides' style
// where there is Docker, the controllers, the CNX API server, CNX Manager and what a Prometheus needs. The images of the latter two go from archives
// into a private registry, and from there to the nodes. As in TestCNXKDD the programs of CNX are stand-ins, and those of Calico are of CalicoVersion.
func TestCNXEtcd(t *testing.T) {
	t.Parallel()
	c := newTigeraEtcd(t)
	bare, before, flags := c.integrated().looks(), c.objects(), c.apiServer()
	var said outcome
	if !c.sub("install", func(c *tigeraEtcd) { said = c.installs() }) {
		return
	}
	run := c.lastRun()
	c.sub("hosts", (*tigeraEtcd).runsUnits)
	c.sub("API", func(c *tigeraEtcd) { c.servesTiers() })
	c.sub("manager", func(c *tigeraEtcd) { c.showsThePage() })
	c.sub("origin", func(c *tigeraEtcd) { c.letsPagesAsk(flags) })
	c.sub("users", func(c *tigeraEtcd) { c.letsUsersIn() })
	c.sub("reports", (*tigeraEtcd).reportsFromEtcd)
	c.sub("registry", (*tigeraEtcd).pullsFromRegistry)
	c.sub("secret", func(c *tigeraEtcd) { c.keepsTheSecret(said) })
	c.sub("watched", func(c *tigeraEtcd) { c.watches() })
	c.sub("again", func(c *tigeraEtcd) { c.changesNothing() })
	c.sub("back", func(c *tigeraEtcd) { c.leavesEtcd(run, bare, before, flags) })
}

func newTigeraEtcd(t *testing.T) *tigeraEtcd {
	t.Helper()
	e := newIntegrated(t, kube.Options{Kubelets: []kube.Kubelet{kube.Dockershim, kube.Containerd}, ControlNode: true, CNX: true})
	c := &tigeraEtcd{&tigera{hosted: e.hosted, playbook: "cnx-etcd"}, e.old, nil}
	c.reg = c.newRegistryOfLab()
	c.taintsControl()
	for _, h := range c.lab.Hosts {
		if !slices.Contains(c.old, h) {
			c.hasNode(h)
		}
	}
	c.registryHasNode(c.old[0])
	c.recordsDocker(c.old[0])
	login := filepath.Join(t.TempDir(), "config.json")
	write(t, login, c.reg.login())
	c.writeSettings(fmt.Sprintf(`
artifact_source: local
image_registry: %s
cnx_node_image: %s
image_delivery: registry
image_host: %s
image_archives: [%s]
image_registry_username: %s
image_registry_password: %s
image_pull_secret_file: %s
wait_felix_seconds: 300
wait_bgp_seconds: 300
wait_node_ready_seconds: 600
`, c.registry(), c.nodeImage(), c.old[0].Name, c.archives(), registryUser, registryPassword, login))
	for _, name := range []string{"calico", "calico-ipam", "loopback", "portmap", "host-local", "bandwidth"} {
		program := strings.TrimSuffix(name, "-ipam") // one program under two names
		text, err := os.ReadFile(c.site.Sets[0].Program(program))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(filepath.Dir(c.settings), name), string(text))
	}
	return c
}

func (c *tigeraEtcd) integrated() *integrated { return &integrated{c.hosted, c.old} }

func (c *tigeraEtcd) sub(name string, test func(*tigeraEtcd)) bool {
	return c.tigera.sub(name, func(in *tigera) { test(&tigeraEtcd{in, c.old, c.reg}) })
}

// registry is what stands before tigera/ in the names of images.
func (c *tigeraEtcd) registry() string { return c.reg.host() + "/net/" }

// nodeImage is the stand-in of calico/node. Its tag is the release of its programs: gates compare that with the wanted one.
func (c *tigeraEtcd) nodeImage() string {
	return c.registry() + "tigera/cnx-node:" + kubeCalico(c.cluster)
}

// newRegistryOfLab is a private registry at the lab's gateway, whose certificate the runtimes of all hosts accept.
func (c *tigeraEtcd) newRegistryOfLab() *registry {
	c.Helper()
	pair, err := c.cluster.PKI.CA.Issue(pki.Subject{Name: "registry", Hosts: []string{c.lab.Gateway.String()}})
	if err != nil {
		c.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		c.Fatal(err)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(c.lab.Gateway.String(), "0"))
	if err != nil {
		c.Fatal(err)
	}
	r := unstartedRegistry()
	r.Server = &httptest.Server{Listener: listener, Config: &http.Server{Handler: r}, TLS: &tls.Config{Certificates: []tls.Certificate{cert}}}
	r.StartTLS()
	c.Cleanup(r.Close)
	for _, h := range c.lab.Hosts {
		if slices.Contains(c.old, h) {
			c.sh(h, "mkdir -p /etc/docker/certs.d/"+r.host()+" && cp /etc/kubernetes/pki/ca.crt /etc/docker/certs.d/"+r.host())
			continue
		}
		c.sh(h, "cp /etc/kubernetes/pki/ca.crt /etc/ssl/certs/registry.pem && systemctl restart containerd")
	}
	return r
}

// archives are the entries of image_archives for the images that go through the registry.
func (c *tigeraEtcd) archives() string {
	c.Helper()
	sets, err := kube.Build(c.Context(), kube.Options{CNX: true}, func(line string) { c.Log(line) })
	if err != nil {
		c.Fatal(err)
	}
	var entries []string
	for _, part := range []artifacts.Part{artifacts.CNXAPIServerImage, artifacts.CNXManagerImage} {
		f, ok := sets[0].Image(part)
		if !ok {
			c.Fatalf("there is no %s", part)
		}
		entries = append(entries, fmt.Sprintf("{image: %q, sha256: %s, file: %q}", artifacts.ImageTag(part, ""), f.SHA256, f.Path))
	}
	return strings.Join(entries, ", ")
}

// hasNode gives a host the stand-in of calico/node under the registry's name, where the unit's runtime has its images: ctr reads no credentials.
func (c *tigeraEtcd) hasNode(h *testenv.Host) {
	c.Helper()
	image, name := cnxImages[0], c.nodeImage()
	c.sh(h, "ctr --namespace k8s.io images export - docker.io/"+image+" | ctr --namespace calico images import - && ctr --namespace calico images tag docker.io/"+image+" "+name)
}

// registryHasNode pushes an image that no host has, calico/node's stand-in with a word on it, and takes login and image off the host that did it.
func (c *tigeraEtcd) registryHasNode(h *testenv.Host) {
	c.Helper()
	if err := h.WriteFile(c.Context(), "/run/login/config.json", 0o600, []byte(c.reg.login())); err != nil {
		c.Fatal(err)
	}
	c.sh(h, fmt.Sprintf(`set -e
id=$(docker create %[1]s)
docker commit --change 'LABEL from=registry' $id %[2]s
docker rm $id
DOCKER_CONFIG=/run/login docker push --quiet %[2]s
docker image rm %[2]s
rm -r /run/login
! docker pull %[2]s`, cnxImages[0], c.nodeImage()))
}

// dockerArgv is where a host records how docker is called.
const dockerArgv = "/run/docker-argv"

func (c *tigeraEtcd) recordsDocker(h *testenv.Host) {
	c.Helper()
	c.sh(h, "install -m 0666 /dev/null "+dockerArgv+" && [ ! -e /usr/local/bin/docker ]")
	script := "#!/bin/sh\necho \"$*\" >> " + dockerArgv + "\nexec /usr/bin/docker \"$@\"\n"
	if err := h.WriteFile(c.Context(), "/usr/local/bin/docker", 0o755, []byte(script)); err != nil {
		c.Fatal(err)
	}
}

// pullsFromRegistry: Docker pulled the unit's image with the credentials that the settings give, and what was pushed is pulled by other nodes with the
// pull secret of the pods.
func (c *tigeraEtcd) pullsFromRegistry() {
	pods := []string{"net/tigera/cnx-apiserver:v2.0.0", "net/tigera/cnx-manager:v2.0.0"}
	want := append(slices.Clone(pods), strings.TrimPrefix(c.nodeImage(), c.reg.host()+"/"))
	slices.Sort(want)
	if got := c.reg.tags(); !slices.Equal(got, want) {
		c.Errorf("the registry has %v, want %v", got, want)
	}
	if got := c.sh(c.old[0], "docker inspect --format '{{.Config.Labels.from}}' calico-node"); got != "registry" {
		c.Errorf("calico/node on %s does not run out of the registry, but from %q", c.old[0].Name, got)
	}
	for _, name := range []string{"cnx-apiserver", "cnx-manager", "calico-kube-controllers"} {
		got := c.kubectl("-n", "kube-system", "get", "deployment", name, "-o", "jsonpath={.spec.template.spec.imagePullSecrets[*].name}")
		if got != "cnx-pull-secret" {
			c.Errorf("%s has the pull secrets %q", name, got)
		}
	}
	c.startElsewhere(c.old[0].Name)
	for _, image := range want {
		if !c.reg.wasPulled(image) {
			c.Errorf("nobody pulled %s", image)
		}
	}
}

// startElsewhere starts the pods of CNX anew on other nodes than one, which pushed their images and has them.
func (c *tigeraEtcd) startElsewhere(node string) {
	c.Helper()
	c.kubectl("cordon", node)
	defer c.kubectl("uncordon", node)
	for name, label := range map[string]string{"cnx-apiserver": "apiserver=true", "cnx-manager": "k8s-app=cnx-manager"} {
		c.kubectl("-n", "kube-system", "delete", "pod", "-l", label)
		c.kubectl("-n", "kube-system", "rollout", "status", "deployment", name, "--timeout=180s")
	}
	// The APIService has noticed as well.
	c.kubectl("wait", "--for=condition=Available", "--timeout=120s", "apiservice/v3.projectcalico.org")
}

// keepsTheSecret: the password is in nothing that the run said or kept, nor in how it called docker.
func (c *tigeraEtcd) keepsTheSecret(said outcome) {
	secret := regexp.MustCompile(registryPassword + "|" + encoded(registryUser+":"+registryPassword) + "|" + encoded(c.reg.login()))
	if found := secret.FindString(said.text); found != "" {
		c.Errorf("the run says %s", found)
	}
	for _, folder := range []string{"state", "calroll-backups"} {
		if out, _ := exec.CommandContext(c.Context(), "grep", "-rlE", secret.String(), filepath.Join(c.lab.Dir, folder)).Output(); len(out) > 0 {
			c.Errorf("the secret is kept in\n%s", out)
		}
	}
	for _, h := range c.lab.Hosts {
		if out := c.sh(h, "grep -rlE -D skip '"+secret.String()+"' /etc /var/log /var/cache /var/lib/calroll /tmp /root /home || true"); out != "" {
			c.Errorf("%s has the secret in\n%s", h.Name, out)
		}
	}
	argv := c.sh(c.old[0], "cat "+dockerArgv)
	for _, want := range []string{"login --username " + registryUser, "push ", "pull --quiet " + c.nodeImage()} {
		if !strings.Contains(argv, want) {
			c.Errorf("docker was not called with %q:\n%s", want, argv)
		}
	}
	if found := secret.FindString(argv); found != "" {
		c.Errorf("docker was called with %s:\n%s", found, argv)
	}
}

// encoded is a pattern for a text in base64.
func encoded(text string) string {
	return regexp.QuoteMeta(base64.StdEncoding.EncodeToString([]byte(text)))
}

// installs carries the playbook out, which says all that it can.
func (c *tigeraEtcd) installs() outcome {
	c.Helper()
	said := c.cnx(exitOK, "--diff", "-vvv")
	show := exec.CommandContext(c.Context(), c.exe, "runs", "show", c.lastRun())
	show.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(c.lab.Dir, "state"))
	if out, err := show.Output(); err != nil || len(out) == 0 {
		c.Errorf("the run cannot be shown: %v", err)
	} else {
		c.Logf("%s", out)
	}
	if err := c.cluster.WaitReady(c.Context()); err != nil {
		c.Fatal(err)
	}
	return said
}

// runsUnits looks at units and pods after the run.
func (c *tigeraEtcd) runsUnits() {
	for _, h := range c.lab.Hosts {
		c.sh(h, "systemctl is-active calico-node && systemctl is-enabled calico-node")
		if unit := c.sh(h, "systemctl cat calico-node"); !strings.Contains(unit, c.nodeImage()) {
			c.Errorf("%s: the unit does not run %s:\n%s", h.Name, c.nodeImage(), unit)
		}
	}
	for _, h := range c.old {
		if got := c.sh(h, imageOf); got != c.nodeImage() {
			c.Errorf("%s runs %s", h.Name, got)
		}
	}
	running := c.kubectl("get", "pod", "-n", "kube-system", "-o", "jsonpath={.items[*].spec.containers[*].image}")
	for _, image := range []string{"tigera/cnx-apiserver:v2.0.0", "tigera/cnx-manager:v2.0.0"} {
		if !strings.Contains(running, c.registry()+image) {
			c.Errorf("no pod runs %s: %s", image, running)
		}
	}
	// The controllers lost kube-apiserver while it was restarted, and may have started anew.
	c.kubectl("-n", "kube-system", "wait", "--for=condition=Available", "--timeout=120s", "deployment/calico-kube-controllers")
	c.integrated().controllersWork()
}

// reportsFromEtcd is S-19: the fields are in etcd, and every host has the port.
func (c *tigeraEtcd) reportsFromEtcd() {
	out, err := c.site.Etcd.Command(c.Context(), "get", "/calico/resources/v3/projectcalico.org/felixconfigurations/default", "--print-value-only").Output()
	if err != nil || !strings.Contains(string(out), `"prometheusMetricsEnabled":true,"prometheusMetricsPort":9081`) {
		c.Errorf("Felix is configured with %s, %v", out, err)
	}
	c.servesMetrics()
}

// leavesEtcd takes the run that installed all back: hosts, API and etcd are as they were.
func (c *tigeraEtcd) leavesEtcd(run string, bare map[string]testenv.Snapshot, before, flags []string) {
	c.goesBackBy(flags, func() {
		c.Log(c.rollback(run).text)
		c.podsEnd()
		c.integrated().isAsBefore(bare, before)
	})
	if got := c.nodes(); len(got) > 0 {
		c.Errorf("etcd still has the nodes %s", got)
	}
}

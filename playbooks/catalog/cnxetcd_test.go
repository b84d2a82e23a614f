//go:build nightly

package catalog_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/kube"
)

// tigeraEtcd is a cluster without a network whose control plane is a node too, with an etcd beside it, and calroll to give it CNX.
type tigeraEtcd struct {
	*tigera
	old []*testenv.Host // nodes with kubelet 1.23 and dockershim
}

// TestCNXEtcd takes a cluster without a network to CNX whose data is in etcd, and back: calico/node as a unit on every host, in the guides' style
// where there is Docker, the controllers, the CNX API server, CNX Manager and what a Prometheus needs. As in TestCNXKDD the programs of CNX are
// stand-ins, and those of Calico are of CalicoVersion.
func TestCNXEtcd(t *testing.T) {
	c := newTigeraEtcd(t)
	bare, before, flags := c.integrated().looks(), c.objects(), c.apiServer()
	ok := c.sub("install", (*tigeraEtcd).installs) &&
		c.sub("API", func(c *tigeraEtcd) { c.servesTiers() }) &&
		c.sub("manager", func(c *tigeraEtcd) { c.showsThePage() }) &&
		c.sub("origin", func(c *tigeraEtcd) { c.letsPagesAsk(flags) }) &&
		c.sub("users", func(c *tigeraEtcd) { c.letsUsersIn() }) &&
		c.sub("reports", (*tigeraEtcd).reportsFromEtcd) &&
		c.sub("again", func(c *tigeraEtcd) { c.changesNothing() })
	if ok {
		c.sub("back", func(c *tigeraEtcd) { c.leavesEtcd(bare, before, flags) })
	}
}

func newTigeraEtcd(t *testing.T) *tigeraEtcd {
	t.Helper()
	e := newIntegrated(t, kube.Options{Kubelets: []kube.Kubelet{kube.Dockershim, kube.Containerd}, ControlNode: true, CNX: true})
	c := &tigeraEtcd{&tigera{hosted: e.hosted, playbook: "cnx-etcd"}, e.old}
	c.taintsControl()
	for _, h := range c.lab.Hosts {
		c.namesImages(h)
	}
	c.writeSettings(`
artifact_source: local
image_registry: %[3]s
wait_felix_seconds: 300
wait_bgp_seconds: 300
wait_node_ready_seconds: 600
`)
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
	return c.tigera.sub(name, func(in *tigera) { test(&tigeraEtcd{in, c.old}) })
}

// namesImages gives a host the stand-ins under the registry's names: those of pods, and that of calico/node where the unit's runtime has its images.
func (c *tigeraEtcd) namesImages(h *testenv.Host) {
	c.Helper()
	for _, image := range cnxImages {
		if slices.Contains(c.old, h) {
			c.sh(h, "docker tag "+image+" "+cnxRegistry+image)
			continue
		}
		c.sh(h, "ctr --namespace k8s.io images tag docker.io/"+image+" "+cnxRegistry+image)
	}
	if !slices.Contains(c.old, h) {
		name := cnxRegistry + cnxImages[0]
		c.sh(h, "ctr --namespace k8s.io images export - "+name+" | ctr --namespace calico images import -")
	}
}

// installs looks at units, pods and the API after the run.
func (c *tigeraEtcd) installs() {
	c.Log(c.cnx(exitOK).text)
	if err := c.cluster.WaitReady(c.Context()); err != nil {
		c.Fatal(err)
	}
	for _, h := range c.lab.Hosts {
		c.sh(h, "systemctl is-active calico-node && systemctl is-enabled calico-node")
		if unit := c.sh(h, "systemctl cat calico-node"); !strings.Contains(unit, cnxRegistry+cnxImages[0]) {
			c.Errorf("%s: the unit does not run %s:\n%s", h.Name, cnxImages[0], unit)
		}
	}
	for _, h := range c.old {
		if got := c.sh(h, imageOf); got != cnxRegistry+cnxImages[0] {
			c.Errorf("%s runs %s", h.Name, got)
		}
	}
	running := c.kubectl("get", "pod", "-n", "kube-system", "-o", "jsonpath={.items[*].spec.containers[*].image}")
	for _, image := range []string{"tigera/cnx-apiserver:v2.0.0", "tigera/cnx-manager:v2.0.0"} {
		if !strings.Contains(running, cnxRegistry+image) {
			c.Errorf("no pod runs %s: %s", image, running)
		}
	}
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

// leavesEtcd takes the first run back: hosts, API and etcd are as they were.
func (c *tigeraEtcd) leavesEtcd(bare map[string]testenv.Snapshot, before, flags []string) {
	c.goesBackBy(flags, func() {
		c.rollback(c.runs()[len(c.runs())-2])
		c.integrated().isAsBefore(bare, before)
	})
	if got := c.nodes(); len(got) > 0 {
		c.Errorf("etcd still has the nodes %s", got)
	}
}

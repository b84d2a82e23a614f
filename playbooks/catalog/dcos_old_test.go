package catalog_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/calroll/calroll/testenv/artifacts/image"
)

// offer26 offers what stands in for the programs of Calico 2.6.6, at the paths of its release, and the standard plugins that go with it.
func (d *dcosLab) offer26(offer func(url string, content []byte)) {
	d.Helper()
	d.calico26 = filepath.Join(d.TempDir(), "calico26")
	cmd := exec.Command("go", "build", "-o", d.calico26, "./testdata/calico26")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		d.Fatalf("cannot build the stand-in for Calico 2.6: %v\n%s", err, out)
	}
	program, err := os.ReadFile(d.calico26)
	if err != nil {
		d.Fatal(err)
	}
	offer("projectcalico/calicoctl/releases/download/v1.6.3/calicoctl", program)
	offer("projectcalico/cni-plugin/releases/download/v1.11.2/calico", program)
	offer("projectcalico/cni-plugin/releases/download/v1.11.2/calico-ipam", program)
	offer("containernetworking/plugins/releases/download/v0.6.0/cni-plugins-amd64-v0.6.0.tgz", d.plugins06(program))
	d.image26 = d.nodeImage26()
	offer("images/calico-node-v2.6.6.tar", d.image26)
}

// plugins06 is an archive of the standard plugins, which are only asked for their versions.
func (d *dcosLab) plugins06(program []byte) []byte {
	d.Helper()
	var b bytes.Buffer
	zw, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		d.Fatal(err)
	}
	tw := tar.NewWriter(zw)
	for _, name := range []string{"loopback", "portmap", "host-local"} {
		if err := tw.WriteHeader(&tar.Header{Name: "./" + name, Mode: 0o755, Size: int64(len(program))}); err != nil {
			d.Fatal(err)
		}
		if _, err := tw.Write(program); err != nil {
			d.Fatal(err)
		}
	}
	if tw.Close() != nil || zw.Close() != nil {
		d.Fatal("cannot write the archive of plugins")
	}
	return b.Bytes()
}

func (d *dcosLab) nodeImage26() []byte {
	d.Helper()
	var tree image.Tree
	tree.PutFile("/bin/calico-node", 0o755, d.calico26)
	layer, err := image.WriteLayer(filepath.Join(d.TempDir(), "layer"), &tree)
	if err != nil {
		d.Fatal(err)
	}
	var b bytes.Buffer
	if err := image.WriteArchive(&b, "quay.io/calico/node:v2.6.6", image.Config{Arch: runtime.GOARCH, Cmd: []string{"/bin/calico-node"}}, layer); err != nil {
		d.Fatal(err)
	}
	return b.Bytes()
}

// images26 are the archives of its images.
func (d *dcosLab) images26(base string) []any {
	sum := sha256.Sum256(d.image26)
	return []any{map[string]any{"image": "quay.io/calico/node:v2.6.6", "url": base + "/images/calico-node-v2.6.6.tar", "sha256": hex.EncodeToString(sum[:])}}
}

// seedDCOS is the guide: Calico 2.6.6 behind etcd --proxy=on. The pool says what it would in a cloud, but for IPIP, which no lab has.
var seedDCOS = []string{"-e", "manage_pool=true", "-e", "dcos_smoke_test=false"}

// TestDCOSOfTheGuide carries the guide's versions out: the proxy, etcd's v2 API, DNS and the agents' units are real, Calico 2.6 is a stand-in.
func TestDCOSOfTheGuide(t *testing.T) {
	d := newDCOS(t, 2)
	d.set(func() { d.old = true })
	bare := d.pictures()
	d.play(exitOK, seedDCOS...)
	install := d.lastRun()
	for _, h := range d.lab.Hosts {
		if got := d.sh(h, "systemctl show -p ExecStart calroll-etcd-proxy"); !strings.Contains(got, "--proxy=on --discovery-srv=etcd.mesos --listen-client-urls=http://127.0.0.1:2379") {
			t.Errorf("%s: the proxy is %s", h.Name, got)
		}
		if got := d.sh(h, "curl -fsS http://localhost:2379/v2/keys/calico/bgp/v1/host | grep -o 'host/node[0-9]*' | sort -u | wc -l"); got != "2" {
			t.Errorf("%s sees %s nodes through its proxy", h.Name, got)
		}
		sameJSON(t, d.sh(h, "cat /opt/mesosphere/etc/dcos/network/cni/calico.cni"),
			`{"name": "calico", "type": "calico", "etcd_endpoints": "http://localhost:2379", "ipam": {"type": "calico-ipam"}}`)
		d.inTime(h.Name)
	}
	sameJSON(t, d.sh(d.lab.Hosts[0], "calicoctl get ippool -o json"), `[{"kind": "ipPool", "apiVersion": "v1", "metadata": {"cidr": "192.168.0.0/16"}, "spec": {"nat-outgoing": true}}]`)
	d.inOrder("package install etcd", "newcert", "agent", "package install kubernetes", "kubectl apply")
	d.restartedOneByOne(1)

	// A file that somebody changed is set right, and only its agent is restarted.
	d.forget()
	d.sh(d.lab.Hosts[1], "echo '{}' > /opt/mesosphere/etc/dcos/network/cni/calico.cni")
	d.play(exitOK, seedDCOS...)
	if got, want := d.called(), []string{"agent " + d.lab.Hosts[1].Address.String() + " registered"}; !slices.Equal(got, want) {
		t.Errorf("the calls were %q, want %q", got, want)
	}
	for host, changed := range d.play(exitOK, seedDCOS...).changed() {
		if changed != "0" {
			t.Errorf("another run changed %s: %s tasks", host, changed)
		}
	}
	repair := d.runs()[1]
	d.rollback(repair)
	d.rollback(install)
	d.unchanged(bare)
}

// inTime: the recorded order of tasks on a host has the proxy and rp_filter before calico/node. That the stand-in runs shows it too: it
// does not start with loose filtering.
func (d *dcosLab) inTime(string) {
	d.Helper()
	if got := d.sh(d.lab.Hosts[0], "sysctl -n net.ipv4.conf.all.rp_filter"); got != "1" {
		d.Errorf("rp_filter is %s", got)
	}
}

// runs are the recorded runs, oldest first.
func (d *dcosLab) runs() []string {
	d.Helper()
	entries, err := os.ReadDir(filepath.Join(d.lab.Dir, "state", "calroll", "runs"))
	if err != nil {
		d.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestDCOSGatesStop: what closes stops the run with its words, and nothing has changed, neither on agents nor in the cluster.
func TestDCOSGatesStop(t *testing.T) {
	d := newDCOS(t, 2)
	bare := d.pictures()
	stops := func(change func(), back func(), args []string, words ...string) {
		t.Helper()
		d.set(change)
		o := d.play(exitFailed, args...)
		d.set(back)
		for _, w := range words {
			if !strings.Contains(o.text, w) {
				t.Errorf("the run does not say %q:\n%s", w, o.text)
			}
		}
		d.unchanged(bare)
		if got := d.called(); len(got) > 0 {
			t.Errorf("the run altered the cluster: %q", got)
		}
	}
	nothing := func() {}
	stops(func() { d.down = true }, func() { d.down = false }, nil, "P-21", "authentication failed", "dcos auth login")
	stops(func() { d.enterprise = false }, func() { d.enterprise = true }, nil, "G-29", "not DC/OS Enterprise", "set k8s_on_dcos to false")
	stops(nothing, nothing, []string{"-e", "calico_version=v3.28.5"}, "G-30", "forwards the v2 API alone", "grpc-proxy")
	stops(nothing, nothing, []string{"-e", "dcos_etcd=external"}, "G-30", "cannot find etcd", "_etcd-server._tcp.etcd.mesos")
	stops(nothing, nothing, []string{"-e", "cloud=aws", "-e", "pool_encap=off"}, "G-32", "source/destination check")
	stops(func() { d.packages, d.options = []string{"kubernetes"}, `{"kubernetes": {"network_provider": "dcos"}}` }, func() { d.packages = nil }, nil,
		"P-20", "network provider dcos", "uninstall the package")
}

// TestDCOSCountsNodes: G-31 stops before the pool and before Kubernetes when an agent is missing.
func TestDCOSCountsNodes(t *testing.T) {
	d := newDCOS(t, 2)
	d.set(func() { d.old = true })
	// The second agent's node vanishes from etcd as soon as it is counted.
	d.sh(d.lab.Hosts[0], "true")
	o := d.play(exitFailed, append(seedDCOS, "--limit", "node1", "-e", "wait_nodes_seconds=4")...)
	for _, w := range []string{"G-31", "Calico has 1 nodes (node1) for 2 agents after 4 s", "look at calico-node"} {
		if !strings.Contains(o.text, w) {
			t.Errorf("the run does not say %q:\n%s", w, o.text)
		}
	}
	if got := d.sh(d.lab.Hosts[0], "calicoctl get ippool -o json"); got != "[]" {
		t.Errorf("there is the pool %s", got)
	}
	for _, call := range d.called() {
		if strings.Contains(call, "kubernetes") || strings.Contains(call, "newcert") {
			t.Errorf("the run went on to %s", call)
		}
	}
}

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
	tree.PutFile("calico-node", 0o755, d.calico26)
	layer, err := image.WriteLayer(filepath.Join(d.TempDir(), "layer"), &tree)
	if err != nil {
		d.Fatal(err)
	}
	var b bytes.Buffer
	if err := image.WriteArchive(&b, "quay.io/calico/node:v2.6.6", image.Config{Arch: runtime.GOARCH, Cmd: []string{"/calico-node"}}, layer); err != nil {
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
	t.Parallel()
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
	t.Parallel()
	d := newDCOS(t, 2)
	d.set(func() { d.old = true })
	// Only one of two agents is set up.
	o := d.play(exitFailed, append(seedDCOS, "--limit", d.lab.Hosts[0].Name, "-e", "wait_nodes_seconds=4")...)
	for _, w := range []string{"G-31", "Calico has 1 nodes (" + d.lab.Hosts[0].Name + ") for 2 agents after 4 s", "look at calico-node"} {
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

// runUniverseCalico does what the Universe package does on agents: a proxy for etcd, and calico/node, which registers.
func (d *dcosLab) runUniverseCalico() error {
	for _, h := range d.lab.Hosts {
		if err := h.WriteFile(d.Context(), "/opt/mesosphere/bin/calico-node", 0o755, d.program26()); err != nil {
			return err
		}
		if err := h.WriteFile(d.Context(), "/opt/mesosphere/bin/etcd", 0o755, d.etcdProgram); err != nil {
			return err
		}
		_, err := h.Sh(d.Context(), "systemd-run -q --unit=universe-proxy --property=Restart=always /opt/mesosphere/bin/etcd --proxy=on --discovery-srv=etcd.mesos"+
			" --listen-client-urls=http://127.0.0.1:2379 --data-dir=/run/universe-proxy && sysctl -qw net.ipv4.conf.all.rp_filter=1 &&"+
			" systemd-run -q --unit=universe-node --property=Restart=always --property=RestartSec=1 --property=StartLimitIntervalSec=0 --setenv=NODENAME=$(hostname) --setenv=CALICO_IPV4POOL_CIDR=192.168.0.0/16 /opt/mesosphere/bin/calico-node")
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *dcosLab) program26() []byte {
	program, _ := os.ReadFile(d.calico26) // offer26 has read it before
	return program
}

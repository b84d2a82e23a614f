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
		// The stand-in does not start with loose filtering either, so it was set before.
		if got := d.sh(h, "sysctl -n net.ipv4.conf.all.rp_filter; systemctl show -p NRestarts --value calico-node | tr '\\n' ' '"); got != "1\n0" {
			t.Errorf("%s: rp_filter and restarts of calico-node are %q", h.Name, got)
		}
	}
	sameJSON(t, d.sh(d.lab.Hosts[0], "calicoctl get ippool -o json"), `[{"kind": "ipPool", "apiVersion": "v1", "metadata": {"cidr": "192.168.0.0/16"}, "spec": {"nat-outgoing": true}}]`)
	d.inOrder("package install etcd", "newcert", "agent", "package install kubernetes", "kubectl apply")
	d.restartedOneByOne(1)

	// A file that somebody changed is set right, and only its agent is restarted.
	d.forget()
	const file = "/opt/mesosphere/etc/dcos/network/cni/calico.cni"
	d.sh(d.lab.Hosts[1], "cp -p "+file+" /tmp/saved && echo '{}' > "+file)
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
	if got := d.sh(d.lab.Hosts[1], "cat "+file); got != "{}" {
		t.Errorf("the undo of the repair left %s", got)
	}
	d.sh(d.lab.Hosts[1], "cp -p /tmp/saved "+file) // an undo never overwrites what somebody else wrote
	d.rollback(install)
	for _, h := range d.lab.Hosts {
		d.sh(h, "! test -e /var/lib/calroll/etcd-proxy")
	}
	d.unchanged(bare)
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
	// Only one of two agents is set up.
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

// TestDCOSFromUniverse: etcd, then Calico, both as packages; calroll touches no unit of the agents, but makes the network of Kubernetes.
func TestDCOSFromUniverse(t *testing.T) {
	d := newDCOS(t, 2)
	d.set(func() { d.old = true })
	args := []string{"-e", "dcos_install=universe", "-e", "dcos_smoke_test=false"}
	d.play(exitOK, args...)
	d.inOrder("package install etcd", "package install calico", "newcert", "agent", "package install kubernetes", "kubectl apply")
	for _, h := range d.lab.Hosts {
		if got := d.sh(h, "ls /opt/mesosphere/etc/dcos/network/cni | tr '\n' ' '"); got != "cni.conflist dcos.cni" {
			t.Errorf("%s has the networks %s", h.Name, got)
		}
		d.sh(h, "! systemctl cat calico-node.service calroll-etcd-proxy.service 2>/dev/null")
		sameJSON(t, d.sh(h, "cat /opt/mesosphere/etc/dcos/network/cni/cni.conflist"), kubeCNI("kubernetes", ""))
	}
	d.forget()
	for host, changed := range d.play(exitOK, args...).changed() {
		if changed != "0" {
			t.Errorf("the second run changed %s: %s tasks", host, changed)
		}
	}
	if got := d.called(); len(got) > 0 {
		t.Errorf("the second run alters the cluster: %q", got)
	}
	d.rollback(d.runs()[0])
	d.inOrder("package uninstall kubernetes", "package uninstall calico", "package uninstall etcd")
}

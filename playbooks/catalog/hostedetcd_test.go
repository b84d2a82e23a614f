//go:build nightly

package catalog_test

import (
	"bytes"
	"encoding/base64"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/calroll/calroll/testenv/kube"
	"github.com/calroll/calroll/testenv/site"
)

// TestCalicoEtcdHosted gives a cluster a network with calico-etcd in mode hosted: calico/node is pods, and etcd has the data. It carries pods without
// encapsulation and obeys policy, and is taken back. It is installed again as an older release, upgraded, and uninstalled. Both ways out leave hosts,
// API and etcd as they were. At last a node is removed.
func TestCalicoEtcdHosted(t *testing.T) {
	t.Parallel()
	e := newIntegrated(t, kube.Options{Kubelets: []kube.Kubelet{kube.Containerd, kube.Containerd}, Calico: site.Versions})
	e.rules = true
	bare, before := e.pictures(), e.objects()
	t.Run("an unknown mode", func(t *testing.T) { e.in(t).knowsNoMode() })
	write(t, filepath.Join(e.lab.Dir, "group_vars", "all", "mode.yml"), "mode: hosted\npool_encap: \"off\"\n")
	var install string
	_ = t.Run("check mode alters nothing", func(t *testing.T) {
		e := e.in(t)
		e.install("--check")
		e.isOff(bare, before)
	}) &&
		t.Run("install", func(t *testing.T) { install = e.in(t).runsPodsWithEtcd() }) &&
		t.Run("another way", func(t *testing.T) { e.in(t).staysHosted() }) &&
		t.Run("pods", func(t *testing.T) { e.in(t).carriesTraffic() }) &&
		t.Run("verify", func(t *testing.T) { e.in(t).verifies() }) &&
		t.Run("back", func(t *testing.T) {
			e := e.in(t)
			e.rollback(install)
			e.isOff(bare, before)
			for _, kind := range []string{"nodes", "ippools", "workloadendpoints"} {
				if got := e.keys("/calico/resources/v3/projectcalico.org/" + kind + "/"); len(got) > 0 {
					t.Errorf("etcd still has %s", got)
				}
			}
			if got := e.keys("/calico/ipam/v2/assignment/"); len(got) > 0 {
				t.Errorf("etcd still has blocks of addresses: %s", got)
			}
		}) &&
		t.Run("upgrade", func(t *testing.T) { e.in(t).upgradesPodsWithEtcd() }) &&
		t.Run("uninstall", func(t *testing.T) {
			e := e.in(t)
			e.goes(bare, before)
			if got := e.keys("/calico/"); len(got) > 0 {
				t.Errorf("etcd still has %s", got)
			}
		}) &&
		t.Run("node-remove", func(t *testing.T) { e.in(t).removesNodeFromEtcd() })
}

// upgradesPodsWithEtcd takes an older release to a newer one, and calicoctl of the nodes with it.
func (e *integrated) upgradesPodsWithEtcd() {
	e.Helper()
	// What stays after an undo says that the newer release was there, and the older calicoctl would not write to that.
	if out, err := e.site.Etcd.Command(e.Context(), "del", "/calico/", "--prefix").CombinedOutput(); err != nil {
		e.Fatalf("cannot empty etcd: %v\n%s", err, out)
	}
	e.install("-e", "calico_version="+opsFrom, "--skip-tags", "S-30")
	upgrade := func() outcome {
		return e.carry(exitOK, "upgrade", slices.Concat(patience, []string{"-e", "to_version=" + opsTo, "-e", "drain_grace_seconds=10"})...)
	}
	if o := upgrade(); testing.Verbose() {
		e.Log(o.text)
	}
	for node, image := range e.nodeImages() {
		if !strings.Contains(image, "calico/node:"+opsTo+" ") {
			e.Errorf("%s runs %s, want %s", node, image, opsTo)
		}
	}
	if err := e.cluster.WaitReady(e.Context()); err != nil {
		e.Error(err)
	}
	for _, h := range e.cluster.Nodes() {
		if got := e.sh(h, "calicoctl version"); !strings.Contains(got, "Client Version:    "+opsTo) {
			e.Errorf("calicoctl on %s is not of the new release: %s", h.Name, got)
		}
	}
	for host, changed := range upgrade().changed() {
		if changed != "0" {
			e.Errorf("the second upgrade changed %s: %s tasks", host, changed)
		}
	}
}

// removesNodeFromEtcd has one of two nodes leave the cluster, and etcd.
func (e *integrated) removesNodeFromEtcd() {
	e.Helper()
	e.install("--skip-tags", "S-30")
	stays, goes := e.cluster.Nodes()[0], e.cluster.Nodes()[1]
	e.carry(exitOK, "node-remove", slices.Concat(patience, []string{"--limit", goes.Name})...)
	if got := e.nodes(); !slices.Equal(got, []string{stays.Name}) {
		e.Errorf("etcd has the nodes %s", got)
	}
	if got := e.sh(goes, "ls -d /etc/cni/net.d/* /etc/calico /usr/local/bin/calicoctl /var/lib/calico 2>/dev/null; true"); got != "" {
		e.Errorf("%s still has %s", goes.Name, got)
	}
	e.verifies("--limit", "!"+goes.Name)
}

func (e *integrated) knowsNoMode() {
	e.Helper()
	o := e.run(exitFailed, "-e", "mode=unit")
	if !strings.Contains(o.text, "cannot use mode unit: it is integrated") {
		e.Errorf("the run does not say what mode may be:\n%s", o.text)
	}
	for host, changed := range o.changed() {
		if changed != "0" {
			e.Errorf("%s tasks have changed %s", changed, host)
		}
	}
}

// runsPodsWithEtcd installs it twice, looks at hosts, API and etcd without calroll, and names the first run.
func (e *integrated) runsPodsWithEtcd() (install string) {
	e.Helper()
	e.hasNoNetwork()
	o := e.install("--diff")
	if testing.Verbose() {
		e.Log(o.text)
	}
	install = e.lastRun()
	e.keepsSecret(o)
	e.isKept()
	if err := e.cluster.WaitReady(e.Context()); err != nil {
		e.Fatal(err)
	}
	if got := e.kubectl("get", "crd", "-o", "name"); strings.Contains(got, "projectcalico.org") {
		e.Errorf("Kubernetes has kinds of Calico: %s", got)
	}
	var names []string
	for _, h := range e.cluster.Nodes() {
		names = append(names, h.Name)
		if got := e.sh(h, "stat -c '%a %n' /etc/cni/net.d/calico-tls/etcd-key; systemctl is-active calico-node"+"; true"); got != "400 /etc/cni/net.d/calico-tls/etcd-key\ninactive" {
			e.Errorf("%s has %q", h.Name, got)
		}
	}
	if got := e.nodes(); !slices.Equal(got, names) {
		e.Errorf("etcd has the nodes %s, not %s", got, names)
	}
	if got := e.keys("/calico/resources/v3/projectcalico.org/ippools/"); len(got) != 1 {
		e.Errorf("etcd has the pools %s", got)
	}
	for host, changed := range e.install().changed() {
		if changed != "0" {
			e.Errorf("the second run changed %s: %s tasks", host, changed)
		}
	}
	return install
}

// keepsSecret looks for the key of etcd's client in what was printed and recorded.
func (e *integrated) keepsSecret(o outcome) {
	e.Helper()
	key, err := os.ReadFile(e.site.Etcd.ClientKey)
	if err != nil {
		e.Fatal(err)
	}
	signs := [][]byte{bytes.Split(key, []byte("\n"))[1], []byte(base64.StdEncoding.EncodeToString(key)[40:100])}
	has := func(text []byte) bool {
		return slices.ContainsFunc(signs, func(sign []byte) bool { return bytes.Contains(text, sign) })
	}
	if has([]byte(o.text)) {
		e.Error("the key of etcd's client is on the screen")
	}
	err = filepath.WalkDir(filepath.Join(e.lab.Dir, "state"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if has(text) {
			e.Errorf("%s has the key of etcd's client", path)
		}
		return err
	})
	if err != nil {
		e.Fatal(err)
	}
}

// staysHosted: what runs is not made another thing by asking for it.
func (e *integrated) staysHosted() {
	e.Helper()
	e.says(e.run(exitFailed, "-e", "mode=integrated"), "Calico is installed as hosted/networking, and integrated/networking was asked for", "set mode to hosted, or uninstall first")
	e.says(e.kdd(exitFailed), "the Calico that runs keeps its data in etcd, and the Kubernetes API was asked for")
}

func (e *integrated) verifies(args ...string) {
	e.Helper()
	if o := e.calroll(append([]string{"run", "verify"}, args...)...); o.code != exitOK {
		e.Errorf("verify ends with %d:\n%s", o.code, o.text)
	}
}

// keys are the keys of etcd with a prefix.
func (e *integrated) keys(prefix string) []string {
	e.Helper()
	out, err := e.site.Etcd.Command(e.Context(), "get", prefix, "--prefix", "--keys-only").Output()
	if err != nil {
		e.Fatalf("cannot read etcd: %v", err)
	}
	return strings.Fields(string(out))
}

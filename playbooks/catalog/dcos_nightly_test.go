//go:build nightly

package catalog_test

import (
	"slices"
	"strings"
	"testing"
)

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
	d.inOrder("package install etcd", "newcert", "agent", "package install kubernetes", "kubernetes POST deployments")
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

// TestDCOSFromUniverse: etcd, then Calico, both as packages; calroll touches no unit of the agents, but makes the network of Kubernetes.
func TestDCOSFromUniverse(t *testing.T) {
	d := newDCOS(t, 2)
	d.set(func() { d.old = true })
	args := []string{"-e", "dcos_install=universe", "-e", "dcos_smoke_test=false"}
	d.play(exitOK, args...)
	d.inOrder("package install etcd", "package install calico", "newcert", "agent", "package install kubernetes", "kubernetes POST deployments")
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

//go:build nightly

package catalog_test

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/testenv"
)

// traces is what a host is compared by before an install and after an uninstall.
var traces = testenv.Watch{
	Paths:   append(slices.Clone(watched.Paths), "/run/calico"),
	Exclude: watched.Exclude,
	Units:   watched.Units, Sysctls: watched.Sysctls,
	Links: true, Routes: true, Rules: true,
}

func (c *network) pictures() map[string]testenv.Snapshot {
	c.Helper()
	all := map[string]testenv.Snapshot{}
	for _, h := range c.lab.Hosts {
		s, err := h.Snapshot(c.Context(), traces)
		if err != nil {
			c.Fatal(err)
		}
		all[h.Name] = s
	}
	return all
}

// knowsCalicoctl: the facts of every host tell which calicoctl it has, and what that thinks of the kernel.
func (c *network) knowsCalicoctl(version string) {
	c.Helper()
	play := filepath.Join(c.TempDir(), "play.yml")
	write(c.T, play, "- hosts: all\n  roles: [host_facts]\n  tasks:\n    - assert: {that: [host_found.calicoctl == '"+version+"', host_found.checksystem is defined]}\n")
	c.carry(exitOK, play)
}

// alike fails the test if a host is not as in an earlier picture.
func (c *network) alike(before map[string]testenv.Snapshot, when string) {
	c.Helper()
	for name, s := range c.pictures() {
		if diff := before[name].Diff(s); len(diff) > 0 {
			c.Errorf("%s is not as it was %s:\n  %s", name, when, strings.Join(diff, "\n  "))
		}
	}
}

// TestUninstallOfUnits installs calico-etcd, which verify finds healthy until a unit is stopped; doctor names what is planted on the hosts; uninstall leaves
// hosts and etcd as they were.
func TestUninstallOfUnits(t *testing.T) {
	t.Parallel()
	c := newNetwork(t, 2)
	first, second := c.lab.Hosts[0], c.lab.Hosts[1]
	for _, h := range c.lab.Hosts { // something of others, which stays or comes back
		c.sh(h, "mkdir -p /etc/cni/net.d && chmod 755 /etc/cni /etc/cni/net.d && echo '{}' > /etc/cni/net.d/99-others.conf")
	}
	bare := c.pictures()
	c.run(exitOK)
	c.knowsCalicoctl("3.28.5")

	for _, h := range c.lab.Hosts {
		c.eventually(h, 2*time.Minute, steady)
	}
	installed := c.pictures()
	if o := c.looks("verify", exitOK); !strings.Contains(o.text, "ok: all ") {
		t.Errorf("verify finds something right after the install:\n%s", o.text)
	}
	c.alike(installed, "before verify")

	c.sh(second, "systemctl stop calico-node")
	c.names(c.looks("verify", exitFailed), "H-01 "+second.Name, "H-02 "+second.Name, "H-03 "+first.Name)
	c.sh(second, "systemctl start calico-node")
	c.eventually(second, 2*time.Minute, "curl -fsS http://127.0.0.1:9099/readiness")

	c.plantsAndDoctorNames(first, second)

	c.eventually(first, 2*time.Minute, "calicoctl node status | grep Established")
	whole := c.snapshots()
	c.uninstalls(exitFailed, "-e", "purge_data=true") // not without ack
	o := c.uninstalls(exitOK, "-e", `{"purge_data": true, "ack": ["purge_data"]}`)
	c.isOff(bare, o)
	c.rollback(c.lastRun())
	c.comesBack(whole)

	c.uninstalls(exitOK)
	c.alike(bare, "before the install")
	if got := c.nodes(); len(got) == 0 {
		t.Error("an uninstall that was not told to has purged etcd")
	}
	c.isOff(bare, c.uninstalls(exitOK, "-e", `{"purge_data": true, "ack": ["purge_data"]}`))
	c.sh(first, "iptables -N cali-left")
	c.names(c.looks("doctor", exitFailed), "D-30 "+first.Name)
	c.uninstalls(exitOK)
	c.alike(bare, "before the install")
	for host, changed := range c.uninstalls(exitOK).changed() {
		if changed != "0" {
			t.Errorf("the last uninstall changed %s: %s tasks", host, changed)
		}
	}
}

// isOff compares the hosts with what they were before the install, and looks for what the comparison leaves out.
func (c *network) isOff(bare map[string]testenv.Snapshot, o outcome) {
	c.Helper()
	c.alike(bare, "before the install")
	for _, h := range c.lab.Hosts {
		if got := c.sh(h, "docker ps -aq; ls -d /var/log/calico /var/lib/calroll/calico-before 2>/dev/null || true"); got != "" {
			c.Errorf("%s still has the containers or folders %s", h.Name, got)
		}
	}
	if got := c.nodes(); len(got) > 0 {
		c.Errorf("etcd still has the nodes %s", got)
	}
	if strings.Contains(o.text, "FAILED") {
		c.Errorf("something failed on the way:\n%s", o.text)
	}
}

// steady holds on a host whose calico/node is ready, and has run for longer than what verify calls just restarted.
const steady = `curl -fsS http://127.0.0.1:9099/readiness &&
[ $(($(cut -d. -f1 /proc/uptime) - $(systemctl show --property ActiveEnterTimestampMonotonic --value calico-node) / 1000000)) -gt 15 ] &&
calicoctl node status | grep Established`

// comesBack: after a rollback of the uninstall the hosts have what they had, and verify finds nothing.
func (c *network) comesBack(whole map[string]testenv.Snapshot) {
	c.Helper()
	for _, h := range c.lab.Hosts {
		c.eventually(h, 2*time.Minute, steady)
	}
	c.same(whole, c.lab.Hosts...)
	if o := c.looks("verify", exitOK); !strings.Contains(o.text, "ok: all ") {
		c.Errorf("verify finds something after the rollback:\n%s", o.text)
	}
}

// onFirst and onSecond plant failures on hosts, by their numbers; the other script takes away what an uninstall does not.
const (
	onFirst = `
set -e
cd /etc/cni/net.d
cp 10-calico.conflist /root/kept.conflist
echo '{"cniVersion": "0.3.1", "name": "other", "type": "bridge"}' > 05-other.conf                           # D-03
cp 10-calico.conflist 10-calico.conf                                                                        # D-01
mkdir -p /etc/NetworkManager/conf.d; rm -f /etc/NetworkManager/conf.d/calico.conf                           # D-16
mv /opt/cni/bin/loopback /root/loopback                                                                     # D-11
mv /usr/local/bin/calicoctl /root/calicoctl
printf '#!/bin/sh\n[ "$1" = version ] || exec /root/calicoctl "$@"\n/root/calicoctl "$@" | sed "s/^\\(Client Version: *\\).*/\\1v3.27.0/"\n' > /usr/local/bin/calicoctl
chmod 755 /usr/local/bin/calicoctl                                                                          # D-28
python3 - <<'EOF'
import json
c = json.load(open("/etc/cni/net.d/10-calico.conf"))
del c["cniVersion"]                                                                                         # D-04
c["plugins"][0]["nodename"] = "somebody"                                                                    # D-06
c["plugins"][0]["mtu"] = 9000                                                                               # D-17
json.dump(c, open("/etc/cni/net.d/10-calico.conf", "w"))
EOF
end=$(($(date +%s) - 90000))
token=eyJhbGciOiJub25lIn0.$(printf '{"iss":"x","exp":%d}' $end | base64 -w0 | tr -d = | tr '+/' '-_').c2ln
printf 'apiVersion: v1\nkind: Config\nusers: [{name: calico, user: {token: %s}}]\n' $token > calico-kubeconfig   # D-10
printf '#!/bin/sh\ncase $1 in --version) echo Kubernetes v1.29.15;; *) exec sleep infinity;; esac\n' > /usr/local/bin/kubelet
chmod 755 /usr/local/bin/kubelet
printf '[Service]\nExecStart=/usr/local/bin/kubelet --network-plugin=cni\n' > /etc/systemd/system/kubelet.service  # D-13
systemctl daemon-reload
systemctl start kubelet
`
	offFirst = `
systemctl stop kubelet
rm -f /etc/cni/net.d/05-other.conf /etc/cni/net.d/10-calico.conf /usr/local/bin/kubelet /etc/systemd/system/kubelet.service
rm -rf /etc/NetworkManager
mv /root/loopback /opt/cni/bin/loopback; mv /root/calicoctl /usr/local/bin/calicoctl
rm -f /root/kept.conflist /etc/cni/net.d/calico-kubeconfig
systemctl daemon-reload
`
	onSecond = `
set -e
rm /var/lib/calico/nodename                                                                                 # D-05
image=$(docker inspect --format '{{.Config.Image}}' calico-node)
systemctl stop calico-node
docker create --name calico-node $image true >/dev/null                                                     # D-34
calicoctl patch node $(hostname) -p '{"spec": {"bgp": {"ipv4Address": "10.99.99.99/24"}}}'                  # D-07
cp /etc/hosts /root/hosts
sed 's/^127.0.0.1.*/127.0.0.2 localhost/; /^::1/d' /root/hosts > /etc/hosts                                 # D-32
printf '#!/bin/sh\necho Kubernetes v1.6.13\n' > /usr/local/bin/kubelet                                      # D-02
printf '[Service]\nExecStart=/usr/local/bin/kubelet\n' > /etc/systemd/system/kubelet.service
systemctl daemon-reload
printf '#!/bin/sh\necho containerd github.com/containerd/containerd v2.1.4 0\n' > /usr/local/bin/containerd
chmod 755 /usr/local/bin/kubelet /usr/local/bin/containerd
mkdir -p /etc/containerd
[ ! -f /etc/containerd/config.toml ] || cp -a /etc/containerd/config.toml /root/config.toml
printf 'bin_dir = "/opt/cni/bin"\nbin_dirs = ["/opt/cni/bin"]\n' > /etc/containerd/config.toml              # D-33
iptables -S FORWARD | head -n 1 > /root/forward
iptables -P FORWARD DROP
cp /usr/bin/sleep /usr/local/bin/kube-proxy
systemd-run --unit=others-proxy /usr/local/bin/kube-proxy infinity                                          # D-18
mount -t tmpfs -o noexec tmpfs /opt/cni/bin                                                                 # D-15, and so D-12
`
	offSecond = `
umount /opt/cni/bin
docker rm -f calico-node
cat /root/hosts > /etc/hosts
calicoctl patch node $(hostname) -p '{"spec": {"bgp": {"ipv4Address": "'$(ip -4 -o address show dev eth0 | awk '{print $4}')'"}}}'
iptables $(cat /root/forward)
systemctl stop others-proxy
if [ -f /root/config.toml ]; then mv /root/config.toml /etc/containerd/config.toml; else rm /etc/containerd/config.toml; fi
rm /root/hosts /root/forward /etc/systemd/system/kubelet.service /usr/local/bin/kubelet /usr/local/bin/containerd /usr/local/bin/kube-proxy
systemctl daemon-reload
systemctl start calico-node
`
)

// plantsAndDoctorNames plants failures and has doctor name each with its number; afterwards they are gone.
func (c *network) plantsAndDoctorNames(first, second *testenv.Host) {
	c.Helper()
	c.sh(first, onFirst)
	// A second node with the address of the first.
	c.sh(first, "/root/calicoctl get node "+first.Name+" -o json --config=/etc/calico/calicoctl.cfg --allow-version-mismatch | "+
		"sed 's/\"name\": \""+first.Name+"\"/\"name\": \"ghost\"/; /\"uid\"\\|\"resourceVersion\"\\|orchRefs/d' > /tmp/ghost.json && "+
		"python3 -c 'import json; d = json.load(open(\"/tmp/ghost.json\")); d = {\"apiVersion\": d[\"apiVersion\"], \"kind\": \"Node\", \"metadata\": {\"name\": \"ghost\"}, \"spec\": {\"bgp\": d[\"spec\"][\"bgp\"]}}; "+
		"json.dump(d, open(\"/tmp/ghost.json\", \"w\"))' && /root/calicoctl create -f /tmp/ghost.json --config=/etc/calico/calicoctl.cfg --allow-version-mismatch") // D-08
	c.sh(second, onSecond)
	o := c.looks("doctor", exitFailed)
	for _, id := range []string{"D-01", "D-03", "D-04", "D-06", "D-08", "D-10", "D-11", "D-13", "D-16", "D-17", "D-28"} {
		c.names(o, id+" "+first.Name)
	}
	for _, id := range []string{"D-02", "D-05", "D-07", "D-12", "D-15", "D-18", "D-32", "D-33", "D-34"} {
		c.names(o, id+" "+second.Name)
	}
	if c.Failed() {
		c.Log(strings.Join(slices.Sorted(maps.Keys(o.changed())), " "))
	}
	c.sh(first, "/root/calicoctl delete node ghost --config=/etc/calico/calicoctl.cfg --allow-version-mismatch; rm /tmp/ghost.json")
	c.sh(first, offFirst)
	c.sh(second, offSecond)
	c.eventually(second, 2*time.Minute, "curl -fsS http://127.0.0.1:9099/readiness")
}

//go:build nightly

package catalog_test

import (
	"maps"
	"regexp"
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

// alike fails the test if a host is not as in an earlier picture.
func (c *network) alike(before map[string]testenv.Snapshot, when string) {
	c.Helper()
	for name, s := range c.pictures() {
		if diff := before[name].Diff(s); len(diff) > 0 {
			c.Errorf("%s is not as it was %s:\n  %s", name, when, strings.Join(diff, "\n  "))
		}
	}
}

// looks carries verify or doctor out, demands an exit code, and that nothing has changed.
func (c *network) looks(playbook string, code int, args ...string) outcome {
	c.Helper()
	o := c.calroll(append([]string{"run", playbook}, args...)...)
	if o.code != code {
		c.Fatalf("calroll run %s %s: exit code %d, not %d\n%s", playbook, strings.Join(args, " "), o.code, code, o.text)
	}
	for host, changed := range o.changed() {
		if changed != "0" {
			c.Errorf("%s changed %s: %s tasks\n%s", playbook, host, changed, o.text)
		}
	}
	return o
}

// findingLine is the first line of a finding in the table.
var findingLine = regexp.MustCompile(`(?m)^([HDGP]-\d\d) +(failed|degraded|info) +(\S.*?)  `)

// findings are those of a report: "id hosts".
func (o outcome) findings() []string {
	var all []string
	for _, m := range findingLine.FindAllStringSubmatch(o.text, -1) {
		all = append(all, m[1]+" "+m[3])
	}
	return all
}

// names fails the test if a report does not have a finding for a host.
func (c *network) names(o outcome, wanted ...string) {
	c.Helper()
	for _, w := range wanted {
		id, host, _ := strings.Cut(w, " ")
		if !slices.ContainsFunc(o.findings(), func(f string) bool { return strings.HasPrefix(f, id+" ") && strings.Contains(f, host) }) {
			c.Errorf("the report does not name %s on %s:\n%s", id, host, o.text)
		}
	}
}

// TestUninstallOfUnits installs calico-etcd, which verify finds healthy until a unit is stopped; doctor names what is planted on the hosts; uninstall leaves
// hosts and etcd as they were.
func TestUninstallOfUnits(t *testing.T) {
	c := newNetwork(t, 2)
	first, second := c.lab.Hosts[0], c.lab.Hosts[1]
	for _, h := range c.lab.Hosts { // something of others, which stays or comes back
		c.sh(h, "mkdir -p -m 755 /etc/cni /etc/cni/net.d && echo '{}' > /etc/cni/net.d/99-others.conf")
	}
	bare := c.pictures()
	c.run(exitOK)

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

	c.uninstalls(exitFailed, "-e", "purge_data=true") // not without ack
	o := c.uninstalls(exitOK, "-e", `{"purge_data": true, "ack": ["purge_data"]}`)
	c.alike(bare, "before the install")
	for _, h := range c.lab.Hosts {
		if got := c.sh(h, "docker ps -aq; ls -d /var/log/calico /var/lib/calroll/calico-before 2>/dev/null || true"); got != "" {
			t.Errorf("%s still has the containers or folders %s", h.Name, got)
		}
	}
	if got := c.nodes(); len(got) > 0 {
		t.Errorf("etcd still has the nodes %s", got)
	}
	if strings.Contains(o.text, "FAILED") {
		t.Errorf("something failed on the way:\n%s", o.text)
	}
	for host, changed := range c.uninstalls(exitOK).changed() {
		if changed != "0" {
			t.Errorf("the second uninstall changed %s: %s tasks", host, changed)
		}
	}
}

func (c *network) uninstalls(code int, args ...string) outcome {
	c.Helper()
	o := c.calroll(append([]string{"run", "uninstall"}, args...)...)
	if o.code != code {
		c.Fatalf("calroll run uninstall %s: exit code %d, not %d\n%s", strings.Join(args, " "), o.code, code, o.text)
	}
	return o
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
printf '#!/bin/sh\n[ "$2" = --client ] && echo "Client Version:    v3.27.0" || exec /root/calicoctl "$@"\n' > /usr/local/bin/calicoctl
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
mount -t tmpfs -o noexec tmpfs /opt/cni/bin                                                                 # D-15, and so D-12
`
	offSecond = `
umount /opt/cni/bin
docker rm -f calico-node
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
	for _, id := range []string{"D-05", "D-12", "D-15", "D-34"} {
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

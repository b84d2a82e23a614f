package catalog_test

import (
	"strings"
	"testing"

	"github.com/calroll/calroll/testenv"
)

// TestGatesStopTheRun: a gate that closes on one host ends the run before any host is touched, and says where, what and what to do.
func TestGatesStopTheRun(t *testing.T) {
	c := newNetwork(t, 2)
	first, second := c.lab.Hosts[0], c.lab.Hosts[1]
	etcd := strings.Split(strings.TrimPrefix(c.site.Etcd.Endpoints()[0], "https://"), ":")
	for _, s := range []stop{
		{name: "another CNI file", on: second, closed: "mkdir -p /etc/cni/net.d && echo '{}' > /etc/cni/net.d/05-other.conf", open: "rm -r /etc/cni",
			says: []string{"G-34 stop on " + second.Name + ":", "05-other.conf", "set cni_park_others to true"}},
		{name: "namesakes", args: []string{"-e", "nodename=twin"}, on: first, closed: "true", open: "true",
			says: []string{"P-04 stop on " + first.Name + ", " + second.Name + ":", "would all be the node twin", "set nodename for each of them"}},
		{name: "no way to etcd", on: second, closed: "iptables -I OUTPUT -p tcp -d " + etcd[0] + " --dport " + etcd[1] + " -j REJECT", open: "iptables -D OUTPUT 1",
			says: []string{"G-03 stop on " + second.Name + ":", "etcd cannot be used from here", "check etcd_endpoints"}},
		{name: "full disk", on: second, closed: "mkdir -p /opt/cni && mount -t tmpfs -o size=90m tmpfs /opt/cni", open: "umount /opt/cni && rmdir /opt/cni",
			says: []string{"P-01 stop on " + second.Name + ":", "90 MB for /opt/cni/bin", "make room"}},
	} {
		t.Run(s.name, func(t *testing.T) { s.check(&network{T: t, lab: c.lab, site: c.site, exe: c.exe}) })
	}
	if got := c.nodes(); len(got) > 0 {
		t.Errorf("etcd has the nodes %s", got)
	}
}

// stop is a lab in which one gate ends the run.
type stop struct {
	name         string
	args         []string
	on           *testenv.Host
	closed, open string // scripts that close the gate and open it again
	says         []string
}

func (s stop) check(c *network) {
	c.sh(s.on, s.closed)
	before := c.snapshots()
	o := c.run(exitFailed, s.args...)
	for _, want := range s.says {
		if !strings.Contains(o.text, want) {
			c.Errorf("the run does not say %q:\n%s", want, o.text)
		}
	}
	if n := strings.Count(o.text, " stop on "); n != 1 {
		c.Errorf("%d gates close, not one:\n%s", n, o.text)
	}
	for host, n := range o.changed() {
		if n != "0" {
			c.Errorf("%s tasks have changed %s", n, host)
		}
	}
	c.same(before, c.lab.Hosts...)
	c.sh(s.on, s.open)
}

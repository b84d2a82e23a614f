package catalog_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/kube"
)

// TestGatesStopTheRun: a gate that closes on one host ends the run before any host is touched, and says where, what and what to do.
func TestGatesStopTheRun(t *testing.T) {
	t.Parallel()
	c := newNetwork(t, 2)
	first, second := c.lab.Hosts[0], c.lab.Hosts[1]
	etcd := strings.Split(strings.TrimPrefix(c.site.Etcd.Endpoints()[0], "https://"), ":")
	for _, s := range []stop{
		{name: "another CNI file", on: second, closed: "mkdir -p /etc/cni/net.d && echo '{}' > /etc/cni/net.d/05-other.conf", open: "rm -r /etc/cni",
			says: []string{"G-34 stop on " + second.Name + ":", "05-other.conf", "set cni_park_others to true"}},
		{name: "namesakes, no IP in IP", args: []string{"-e", "nodename=twin", "-e", "pool_encap=ipip-always"}, on: first, closed: "iptables -I INPUT -p 4 -j DROP", open: "iptables -D INPUT 1",
			says: []string{"P-04 stop on " + first.Name + ", " + second.Name + ":", "would all be the node twin", "set nodename for each of them",
				"P-20  warn   " + second.Name + "  ", "packets of IP protocol 4 to " + first.Address.String() + " "}, stops: 2},
		{name: "no way to etcd", on: second, closed: "iptables -I OUTPUT -p tcp -d " + etcd[0] + " --dport " + etcd[1] + " -j REJECT", open: "iptables -D OUTPUT 1",
			says: []string{"G-03 stop on " + second.Name + ":", "etcd cannot be used from here", "check etcd_endpoints"}},
		{name: "full disk", on: second, closed: "mkdir -p /opt/cni && mount -t tmpfs -o size=90m tmpfs /opt/cni", open: "umount /opt/cni && rmdir /opt/cni",
			says: []string{"P-01 stop on " + second.Name + ":", "90 MB for /opt/cni/bin", "make room"}},
	} {
		t.Run(s.name, func(t *testing.T) {
			s.playbook = "calico-etcd"
			s.check(&network{T: t, lab: c.lab, site: c.site, exe: c.exe})
		})
	}
	if got := c.nodes(); len(got) > 0 {
		t.Errorf("etcd has the nodes %s", got)
	}
}

// stop is a lab in which one gate ends the run.
type stop struct {
	name         string
	playbook     string
	cluster      *kube.Cluster // whose objects must stay the same; nil for none
	args         []string
	on           *testenv.Host
	closed, open string // scripts that close the gate and open it again
	says         []string
	stops        int // how many gates close; 0 is one
}

func (s stop) check(c *network) {
	c.sh(s.on, s.closed)
	before, objects := c.snapshots(), s.objects(c)
	o := c.calroll(append([]string{"run", s.playbook}, s.args...)...)
	if o.code != exitFailed {
		c.Errorf("the run ends with %d, not %d:\n%s", o.code, exitFailed, o.text)
	}
	for _, want := range s.says {
		if !strings.Contains(o.text, want) {
			c.Errorf("the run does not say %q:\n%s", want, o.text)
		}
	}
	if n := strings.Count(o.text, " stop on "); n != max(1, s.stops) {
		c.Errorf("%d gates close, not %d:\n%s", n, max(1, s.stops), o.text)
	}
	for host, n := range o.changed() {
		if n != "0" {
			c.Errorf("%s tasks have changed %s", n, host)
		}
	}
	c.same(before, c.lab.Hosts...)
	if diff := slices.DeleteFunc(objects.Diff(s.objects(c)), ownTaint); len(diff) > 0 {
		c.Errorf("the cluster is not as it was:\n  %s", strings.Join(diff, "\n  "))
	}
	c.sh(s.on, s.open)
}

func (s stop) objects(c *network) testenv.Snapshot {
	if s.cluster == nil {
		return testenv.Snapshot{}
	}
	all, err := s.cluster.Objects(c.Context())
	if err != nil {
		c.Fatal(err)
	}
	return all
}

// ownTaint tells whether a difference is a taint of a node, which the control plane gives and takes.
func ownTaint(line string) bool {
	return strings.HasPrefix(line, "v1 nodes ") && strings.Contains(line, "spec.taints")
}

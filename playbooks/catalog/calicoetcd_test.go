package catalog_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/site"
)

// Exit codes of calroll run, which are ansible-playbook's.
const (
	exitOK       = 0
	exitDegraded = 1 // verify and doctor
	exitFailed   = 2
)

// programDir holds calroll once a test has asked for it.
var programDir string

// program builds calroll once for all tests.
var program = sync.OnceValues(func() (string, error) {
	var err error
	if programDir, err = os.MkdirTemp("", "calroll-catalog-"); err != nil {
		return "", err
	}
	exe := filepath.Join(programDir, "calroll")
	out, err := exec.Command("go", "build", "-o", exe, "github.com/calroll/calroll/cmd/calroll").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("cannot build calroll: %w\n%s", err, out)
	}
	return exe, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(programDir) // "" when no test has built it
	os.Exit(code)
}

// network is a lab with etcd and the release files, and calroll to work on it.
type network struct {
	*testing.T
	lab  *testenv.Lab
	site *site.Site
	exe  string
}

func newNetwork(t *testing.T, hosts int) *network {
	t.Helper()
	exe, err := program()
	if err != nil {
		t.Fatal(err)
	}
	lab := testenv.ForTest(t, hosts)
	if err := lab.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := site.Start(t.Context(), lab, site.Options{Progress: func(line string) { t.Log(line) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &network{T: t, lab: lab, site: s, exe: exe}
}

// outcome is what a command of calroll came to.
type outcome struct {
	code int
	text string
}

// calroll runs a command of calroll with the lab's inventory.
func (c *network) calroll(args ...string) outcome {
	c.Helper()
	cmd := exec.CommandContext(c.Context(), c.exe, append(args, "-i", c.lab.InventoryFile())...)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(c.lab.Dir, "state"))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.Fatal(err)
	}
	return outcome{cmd.ProcessState.ExitCode(), string(out)}
}

// run carries calico-etcd out and demands an exit code.
func (c *network) run(code int, args ...string) outcome {
	c.Helper()
	return c.carry(code, "calico-etcd", args...)
}

// carry carries a playbook out and demands an exit code.
func (c *network) carry(code int, playbook string, args ...string) outcome {
	c.Helper()
	o := c.calroll(append([]string{"run", playbook}, args...)...)
	if o.code != code {
		c.Fatalf("calroll run %s %s: exit code %d, not %d\n%s", playbook, strings.Join(args, " "), o.code, code, o.end())
	}
	return o
}

// end is what a run said last: its last task that failed for good, and all that comes after. A log of many runs is cut somewhere, and that must not be there.
func (o outcome) end() string {
	tasks := strings.Split(o.text, "\nTASK [")
	for i := len(tasks) - 1; i > 0; i-- {
		if strings.Contains(tasks[i], "fatal: [") && !strings.Contains(tasks[i], "...ignoring") {
			return "TASK [" + strings.Join(tasks[i:], "\nTASK [")
		}
	}
	return o.text
}

var recapLine = regexp.MustCompile(`(?m)^(\S+) +: ok=\d+ +changed=(\d+) +unreachable=(\d+) +failed=(\d+)`)

// changed is how many tasks changed each host.
func (o outcome) changed() map[string]string {
	all := map[string]string{}
	for _, m := range recapLine.FindAllStringSubmatch(o.text, -1) {
		all[m[1]] = m[2]
	}
	return all
}

// runs are the ids of the runs, the newest last.
func (c *network) runs() []string {
	c.Helper()
	entries, err := os.ReadDir(filepath.Join(c.lab.Dir, "state", "calroll", "runs"))
	if err != nil || len(entries) == 0 {
		c.Fatalf("no run is recorded: %v", err)
	}
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.Name()) // begins with the time
	}
	return ids
}

// lastRun is the id of the newest run.
func (c *network) lastRun() string {
	c.Helper()
	ids := c.runs()
	return ids[len(ids)-1]
}

// sh runs a script on a host and fails the test if it fails.
func (c *network) sh(h *testenv.Host, script string) string {
	c.Helper()
	out, err := h.Sh(c.Context(), script)
	if err != nil {
		c.Fatalf("%s: %s: %v", h.Name, script, err)
	}
	return strings.TrimSpace(out)
}

// eventually waits until a script on a host succeeds.
func (c *network) eventually(h *testenv.Host, patience time.Duration, script string) string {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	for {
		out, err := h.Sh(ctx, script)
		if err == nil {
			return strings.TrimSpace(out)
		}
		select {
		case <-ctx.Done():
			c.Fatalf("%s: still failing after %s: %s: %v", h.Name, patience, script, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// watched is what a host is compared by: everything a user would call its configuration. Caches, logs and what programs keep for
// themselves are left out.
var watched = testenv.Watch{
	Paths:   []string{"/etc", "/usr/local", "/opt", "/root", "/home", "/srv", "/lib/modules", "/var/lib", "/var/spool"},
	Exclude: []string{"/var/lib/docker", "/var/lib/containerd", "/var/lib/etcd", "/var/lib/kubelet", "/var/lib/calroll", "/var/lib/systemd", "/root/.cache", "/root/.kube/cache", "/var/lib/calico/mtu", "/etc/mtab"},
	Units:   []string{"calico-node.service", "docker.service", "ssh.service"},
	Sysctls: []string{"net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter"},
}

func (c *network) snapshot(h *testenv.Host) testenv.Snapshot {
	c.Helper()
	s, err := h.Snapshot(c.Context(), watched)
	if err != nil {
		c.Fatal(err)
	}
	return s
}

func (c *network) snapshots() map[string]testenv.Snapshot {
	c.Helper()
	all := map[string]testenv.Snapshot{}
	for _, h := range c.lab.Hosts {
		all[h.Name] = c.snapshot(h)
	}
	return all
}

// same fails the test if a host is not as it was.
func (c *network) same(before map[string]testenv.Snapshot, hosts ...*testenv.Host) {
	c.Helper()
	for _, h := range hosts {
		if diff := before[h.Name].Diff(c.snapshot(h)); len(diff) > 0 {
			c.Errorf("%s is not as it was:\n  %s", h.Name, strings.Join(diff, "\n  "))
		}
	}
}

// ready waits until calico/node is: as it starts it writes files of its own, the name of its node among them.
func (c *network) ready(hosts ...*testenv.Host) {
	c.Helper()
	for _, h := range hosts {
		c.eventually(h, 3*time.Minute, "curl -fsS http://127.0.0.1:9099/readiness")
	}
}

// nodes are the names of the nodes in etcd.
func (c *network) nodes() []string {
	c.Helper()
	const prefix = "/calico/resources/v3/projectcalico.org/nodes/"
	out, err := c.site.Etcd.Command(c.Context(), "get", prefix, "--prefix", "--keys-only").Output()
	if err != nil {
		c.Fatalf("cannot read etcd: %v", err)
	}
	var names []string
	for _, line := range strings.Fields(string(out)) {
		names = append(names, strings.TrimPrefix(line, prefix))
	}
	return names
}

// imageOf is the image that runs as calico-node.
const imageOf = "docker inspect --format '{{.Config.Image}}' calico-node"

// TestCalicoEtcd takes three bare hosts to a network, looks whether it works, breaks an upgrade, and takes everything back.
func TestCalicoEtcd(t *testing.T) {
	t.Parallel()
	c := newNetwork(t, 3)
	const before, after = "calico_version=v3.28.4", "calico_version=v3.28.5"
	bare := c.snapshots()

	c.run(exitOK, "--check", "-e", before)
	c.same(bare, c.lab.Hosts...)

	c.run(exitOK, "-e", before)
	install := c.lastRun()
	c.isNetwork("v3.28.4")

	for host, changed := range c.run(exitOK, "-e", before).changed() {
		if changed != "0" {
			t.Errorf("the second run changed %s: %s tasks", host, changed)
		}
	}
	c.carriesPods()

	installed := c.snapshots()
	first, second, third := c.lab.Hosts[0], c.lab.Hosts[1], c.lab.Hosts[2]
	// Felix of the second host answers where nobody asks, so its health check fails.
	write(t, filepath.Join(c.lab.Dir, "host_vars", second.Name+".yml"), "felix_env: {FELIX_HEALTHPORT: \"9199\"}\nwait_felix_seconds: 15\n")
	failed := c.run(exitFailed, "-e", after)
	upgrade := c.lastRun()
	c.ready(second, third)
	c.same(installed, second, third)
	for h, image := range map[*testenv.Host]string{first: "v3.28.5", second: "v3.28.4", third: "v3.28.4"} {
		if got := c.sh(h, imageOf); !strings.HasSuffix(got, ":"+image) {
			t.Errorf("%s runs %s after the failed upgrade, want %s:\n%s", h.Name, got, image, failed.text)
		}
	}

	c.rollback(upgrade)
	c.ready(c.lab.Hosts...)
	c.same(installed, c.lab.Hosts...)
	c.rollback(install)
	c.same(bare, c.lab.Hosts...)
	c.nothingLeft()
}

func (c *network) rollback(run string) outcome {
	c.Helper()
	o := c.calroll("rollback", run)
	if o.code != exitOK {
		c.Fatalf("calroll rollback: exit code %d\n%s", o.code, o.text)
	}
	if testing.Verbose() {
		c.Log(o.text)
	}
	return o
}

// isNetwork looks at the hosts without calroll: units, Felix, etcd, BGP, plugins.
func (c *network) isNetwork(version string) {
	c.Helper()
	for _, h := range c.lab.Hosts {
		c.sh(h, "systemctl is-active calico-node && systemctl is-enabled calico-node")
		c.sh(h, "systemd-analyze verify /etc/systemd/system/calico-node.service")
		c.sh(h, "curl -fsS http://127.0.0.1:9099/liveness && curl -fsS http://127.0.0.1:9099/readiness")
		if got := c.sh(h, imageOf); !strings.HasSuffix(got, "calico/node:"+version) {
			c.Errorf("%s runs %s, want %s", h.Name, got, version)
		}
		if got := c.sh(h, "calicoctl node status"); strings.Count(got, "Established") != len(c.lab.Hosts)-1 {
			c.Errorf("%s has not all BGP sessions:\n%s", h.Name, got)
		}
		if got := c.sh(h, "/opt/cni/bin/calico -v"); got != version {
			c.Errorf("%s has the CNI plugin %s, want %s", h.Name, got, version)
		}
		if got := c.sh(h, "ls /etc/cni/net.d"); got != "10-calico.conflist" {
			c.Errorf("%s has the CNI files %s", h.Name, got)
		}
		if got := c.sh(h, "stat -c '%a %U' /etc/calico/calico.env /etc/calico/certs /etc/calico/certs/key.pem | tr '\\n' ' '"); got != "640 root 750 root 600 root" {
			c.Errorf("%s: modes are %s", h.Name, got)
		}
	}
	if got := c.nodes(); len(got) != len(c.lab.Hosts) {
		c.Errorf("etcd has the nodes %s, and there are %d hosts", got, len(c.lab.Hosts))
	}
}

// pod is a network namespace that the CNI plugin was asked to connect.
type pod struct {
	*network
	host *testenv.Host
	name string
	ip   netip.Addr
}

// plug calls the calico plugin as a runtime does, for the first plugin of the file.
const plug = `
name=%[1]s
python3 -c 'import json; c = json.load(open("/etc/cni/net.d/10-calico.conflist")); print(json.dumps(dict(c["plugins"][0], name=c["name"], cniVersion=c["cniVersion"])))' |
  CNI_COMMAND=%[2]s CNI_CONTAINERID=$name CNI_NETNS=/var/run/netns/$name CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin /opt/cni/bin/calico`

func (c *network) addPod(h *testenv.Host, name string) pod {
	c.Helper()
	out := c.sh(h, "ip netns add "+name+" && "+fmt.Sprintf(plug, name, "ADD"))
	var answer struct {
		IPs []struct{ Address netip.Prefix }
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || len(answer.IPs) != 1 {
		c.Fatalf("the plugin answered %s: %v", out, err)
	}
	p := pod{c, h, name, answer.IPs[0].Address.Addr()}
	if !netip.MustParsePrefix("192.168.0.0/16").Contains(p.ip) {
		c.Errorf("the pod's address %s is not in the pool", p.ip)
	}
	return p
}

func (p pod) remove() {
	p.Helper()
	p.sh(p.host, fmt.Sprintf(plug, p.name, "DEL")+" && ip netns delete "+p.name)
	if got := p.sh(p.host, "calicoctl ipam show --ip="+p.ip.String()+" --config=/etc/calico/calicoctl.cfg"); !strings.Contains(got, "not assigned") {
		p.Errorf("the address of a pod that is gone is not free: %s", got)
	}
}

// carriesPods connects two namespaces on different hosts with the real plugin and sends packets between them.
func (c *network) carriesPods() {
	c.Helper()
	a, b := c.addPod(c.lab.Hosts[0], "pod-a"), c.addPod(c.lab.Hosts[1], "pod-b")
	c.eventually(a.host, time.Minute, "ip netns exec "+a.name+" ping -c 1 -W 1 "+b.ip.String())
	a.remove()
	b.remove()
}

// nothingLeft looks for what calico/node itself leaves on hosts and in etcd.
func (c *network) nothingLeft() {
	c.Helper()
	for _, h := range c.lab.Hosts {
		if got := c.sh(h, "{ iptables-save; iptables-legacy-save; ip6tables-save; ipset list -n; ip -o link; ip route show proto bird; } 2>/dev/null | grep cali || true"); got != "" {
			c.Errorf("%s still has\n%s", h.Name, got)
		}
		if got := c.sh(h, "docker ps -aq; docker images -q"); got != "" {
			c.Errorf("%s still has containers or images: %s", h.Name, got)
		}
	}
	if got := c.nodes(); len(got) > 0 {
		c.Errorf("etcd still has the nodes %s", got)
	}
}

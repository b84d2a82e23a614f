package catalog_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calroll/calroll/testenv"
)

// fetchOnly is a playbook of the role that fills the cache.
const fetchOnly = `
- hosts: kube_control_plane:kube_node
  tasks:
    - import_role: {name: host_facts}
    - import_role: {name: artifacts}
`

// TestArtifactSources: the cache holds the same programs, whatever they come from, and is left alone by a second run.
func TestArtifactSources(t *testing.T) {
	t.Parallel()
	c := newNetwork(t, 1)
	h := c.lab.Hosts[0]
	dir := t.TempDir()
	pb := filepath.Join(dir, "fetch.yml")
	write(t, pb, fetchOnly)
	c.playTwice(pb, "-e", "artifact_cache=/var/cache/http")
	want := c.programs(h, "http")
	if n := strings.Count(want, "\n"); n != 9 {
		t.Fatalf("%d lines are too few:\n%s", n, want)
	}

	for _, name := range []string{"calicoctl", "calico", "calico-ipam", "loopback", "portmap", "host-local", "bandwidth"} {
		program := name
		if name == "calico-ipam" { // one program under two names
			program = "calico"
		}
		text, err := os.ReadFile(c.site.Sets[0].Program(program))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "programs", name), string(text))
	}
	c.playTwice(pb, "-e", "artifact_cache=/var/cache/local", "-e", "artifact_source=local", "-e", "artifact_dir="+filepath.Join(dir, "programs"))
	if got := c.programs(h, "local"); got != want {
		t.Errorf("from the controller:\n%s\nwant\n%s", got, want)
	}

	c.sh(h, `cd /var/cache/http && mkdir -p /tmp/ctl /tmp/cni/opt/cni/bin &&
		cp calico-v*/calicoctl /tmp/ctl && cp calico-v*/calico calico-v*/calico-ipam cni-plugins-*/loopback cni-plugins-*/portmap cni-plugins-*/host-local cni-plugins-*/bandwidth /tmp/cni/opt/cni/bin &&
		tar -C /tmp/ctl -c . | docker import - calico/ctl:v3.28.5 && tar -C /tmp/cni -c . | docker import - calico/cni:v3.28.5`)
	c.sh(h, "docker save calico/ctl:v3.28.5 calico/cni:v3.28.5 | ctr --namespace calico images import -")
	for _, runtime := range []string{"docker", "ctr"} {
		c.playTwice(pb, "-e", "artifact_cache=/var/cache/"+runtime, "-e", "artifact_source=image", "-e", "container_runtime="+runtime)
		if got := c.programs(h, runtime); got != want {
			t.Errorf("out of images of %s:\n%s\nwant\n%s", runtime, got, want)
		}
	}
	alone := filepath.Join(dir, "alone.yml")
	write(t, alone, strings.Replace(fetchOnly, "name: artifacts", "name: artifacts, tasks_from: calicoctl", 1))
	c.playTwice(alone, "-e", "artifact_cache=/var/cache/alone", "-e", "artifact_source=image")
	if got := c.sh(h, "find /var/cache/alone -type f -printf '%m %f\\n'"); got != "755 calicoctl" {
		t.Errorf("calicoctl alone brings\n%s", got)
	}
	if got := c.sh(h, "docker ps -aq; ctr --namespace calico snapshots ls | grep tmp; true"); got != "" {
		t.Errorf("something is left over: %s", got)
	}
}

// programs lists the programs in a cache: modes and sums.
func (c *network) programs(h *testenv.Host, cache string) string {
	c.Helper()
	return c.sh(h, "cd /var/cache/"+cache+` && find . -type f -path './*/*' ! -name '*.*' | grep -E '/(calicoctl|calico|calico-ipam|loopback|portmap|host-local|bandwidth)$' | sort | xargs stat -c '%a %n' &&
		find . -type f -name calico -o -name calicoctl -o -name loopback | sort | xargs sha256sum`)
}

// playTwice carries a playbook out twice; the second time nothing may change.
func (c *network) playTwice(playbook string, args ...string) {
	c.Helper()
	if !c.playOnce(playbook, args...) {
		c.Errorf("%s: nothing changed", args)
	}
	if c.playOnce(playbook, args...) {
		c.Errorf("%s: the second run changes something", args)
	}
}

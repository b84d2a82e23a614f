//go:build nightly

package catalog_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/testenv/artifacts"
	"github.com/calroll/calroll/testenv/kube"
)

// scaled is a cluster that calico-kdd brings through the sizes that it has gates for, at lowered limits, and what all runs are given.
type scaled struct {
	*hosted
	settings []string
	done     *[]string // runs, in their order
}

// TestKDDScale takes a running cluster to Typha and to route reflectors and back, while two pods keep talking to each other.
func TestKDDScale(t *testing.T) {
	t.Parallel()
	s := &scaled{newHosted(t, kube.Containerd, kube.Containerd, kube.Containerd), nil, new([]string)}
	folder := calicoctlFolder(t)
	s.settings = []string{"-e", "pool_encap=off", "-e", "manage_pool=true", "-e", "artifact_source=local", "-e", "artifact_dir=" + folder}
	s.bringCalicoctl(filepath.Join(folder, "calicoctl"))
	for _, step := range []struct {
		name string
		do   func(*scaled)
	}{
		{"gates", (*scaled).gates}, {"pool", (*scaled).pool}, {"Typha", (*scaled).typha}, {"reflectors", (*scaled).reflectors}, {"mesh", (*scaled).mesh},
		{"back", (*scaled).back}, {"router", (*scaled).router}, {"switch", (*scaled).noSwitch},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.do(&scaled{s.in(t), s.settings, s.done}) }) {
			return
		}
	}
}

// calicoctlFolder is a folder with the program, as artifact_source local takes it.
func calicoctlFolder(t *testing.T) string {
	t.Helper()
	set, err := artifacts.Build(t.Context(), artifacts.Request{Parts: []artifacts.Part{artifacts.Calicoctl}}, artifacts.Options{})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(set.Program("calicoctl"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "calicoctl"), string(raw))
	return dir
}

// bringCalicoctl gives nodes one of the test's own: an undo takes away what a run brought.
func (s *scaled) bringCalicoctl(program string) {
	s.Helper()
	raw, err := os.ReadFile(program)
	if err != nil {
		s.Fatal(err)
	}
	for _, n := range s.cluster.Nodes() {
		if err := n.WriteFile(s.Context(), "/root/calicoctl", 0o755, raw); err != nil {
			s.Fatal(err)
		}
	}
}

// takes carries calico-kdd out.
func (s *scaled) takes(args ...string) {
	s.Helper()
	if o := s.kdd(exitOK, append(slices.Clone(s.settings), args...)...); testing.Verbose() {
		s.Log(o.text)
	}
	runs := s.runs()
	*s.done = append(*s.done, runs[len(runs)-1])
}

// settled: once more, it changes nothing.
func (s *scaled) settled(args ...string) {
	s.Helper()
	for host, changed := range s.kdd(exitOK, append(slices.Clone(s.settings), args...)...).changed() {
		if changed != "0" {
			s.Errorf("the second run changed %s: %s tasks", host, changed)
		}
	}
}

// gates closes those of size before anything is there.
func (s *scaled) gates() {
	node := s.cluster.Nodes()
	for _, c := range []stop{
		{args: []string{"-e", "typha=off", "-e", "typha_warn_nodes=1", "-e", "typha_stop_nodes=2"},
			says: []string{"G-21 stop on the cluster:", "3 nodes would watch the API server without Typha", "it is essential above 2 nodes"}},
		{args: []string{"-e", "typha=on", "-e", "typha_replicas=0"}, says: []string{"G-21 stop on the cluster:", "typha_replicas is 0", "set typha_replicas to 1 or more"}},
		{args: []string{"-e", `{"rr_hosts": ["` + node[0].Name + `"]}`},
			says: []string{"G-23 stop on the cluster:", node[0].Name + " would be the only route reflector", "name two or more in rr_hosts"}},
	} {
		c.playbook, c.cluster, c.on, c.closed, c.open = "calico-kdd", s.cluster, s.cluster.Control, "true", "true"
		c.args = append(slices.Clone(s.settings), c.args...)
		c.check(s.network)
	}
	if o := s.kdd(exitFailed, append(slices.Clone(s.settings), "-e", "mesh_ask_nodes=2")...); !strings.Contains(o.text, "G-23 ask on the cluster:") {
		s.Errorf("a mesh of more than mesh_ask_nodes nodes is not asked about:\n%s", o.text)
	}
	if o := s.kdd(exitOK, append(slices.Clone(s.settings), "-C", "-e", "typha=off", "-e", "typha_warn_nodes=1")...); !strings.Contains(o.text, "G-21  warn   the cluster ") {
		s.Errorf("a Kubernetes datastore of more than typha_warn_nodes nodes without Typha is not warned of:\n%s", o.text)
	}
}

// pool: calroll makes the pool before the first calico/node could make another.
func (s *scaled) pool() {
	s.takes()
	if got := s.kubectl("get", "ippools.crd.projectcalico.org", "-o", "jsonpath={range .items[*]}{.metadata.name} {.spec.cidr} {.spec.ipipMode} {.spec.vxlanMode}{end}"); got != "default-ipv4-ippool 192.168.0.0/16 Never Never" {
		s.Errorf("the pools are %q", got)
	}
	if got := s.kubectl("-n", "kube-system", "get", "daemonset", "calico-node", "-o", `jsonpath={.spec.template.spec.containers[0].env[?(@.name=="NO_DEFAULT_POOLS")].value}`); got != "true" {
		s.Errorf("calico/node is started with NO_DEFAULT_POOLS=%q", got)
	}
}

// typha: more nodes than typha_warn_nodes switch it on, with TLS.
func (s *scaled) typha() {
	s.whole("Typha comes", func() { s.takes(s.withTypha()...) })
	if got := s.kubectl("-n", "kube-system", "get", "configmap", "calico-config", "-o", "jsonpath={.data.typha_service_name}"); got != "calico-typha" {
		s.Errorf("nodes are told to use Typha %q", got)
	}
	hosts := strings.Fields(s.kubectl("-n", "kube-system", "get", "pods", "-l", "k8s-app=calico-typha", "-o", "jsonpath={.items[*].status.hostIP}"))
	if len(hosts) != 2 {
		s.Fatalf("Typha runs on %v, want two hosts", hosts)
	}
	for _, n := range s.cluster.Nodes() {
		s.sh(n, `awk '$3 ~ /:1561$/ && $4 == "01" {n++} END {exit !n}' /proc/net/tcp /proc/net/tcp6`)
	}
	s.refusesStrangers(net.JoinHostPort(hosts[0], "5473"))
}

func (s *scaled) withTypha() []string {
	return []string{"-e", "typha_warn_nodes=2", "-e", "typha_tls=true"}
}

// refusesStrangers: Typha shows who it is, and does not talk to those who do not.
func (s *scaled) refusesStrangers(address string) {
	s.Helper()
	c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true}) // the name is looked at below
	if err != nil {
		s.Fatal(err)
	}
	defer c.Close()
	if got := c.ConnectionState().PeerCertificates[0].Subject.CommonName; got != "calico-typha" {
		s.Errorf("Typha calls itself %q", got)
	}
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		s.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, io.EOF) {
		s.Errorf("Typha reads from somebody without a certificate: %d bytes, %v", n, err)
	}
}

// reflectors: two of the three nodes, and the mesh goes. Typha stays.
func (s *scaled) reflectors() {
	s.whole("reflectors come", func() { s.takes(s.withReflectors()...) })
	s.settled(s.withReflectors()...)
	s.sessions("node specific", "node specific")
	if got := s.kubectl("get", "bgpconfigurations.crd.projectcalico.org", "default", "-o", "jsonpath={.spec.nodeToNodeMeshEnabled}"); got != "false" {
		s.Errorf("the mesh is %q", got)
	}
}

func (s *scaled) withReflectors() []string {
	n := s.cluster.Nodes()
	return append(s.withTypha(), "-e", `{"rr_hosts": ["`+n[0].Name+`", "`+n[1].Name+`"]}`)
}

var sessionRow = regexp.MustCompile(`\| *[0-9.]+ *\| *([a-z -]+?) *\| *up *\|[^|]*\| *Established *\|`)

// sessions: each node has established sessions of these kinds and no others, or soon will.
func (s *scaled) sessions(want ...string) {
	s.Helper()
	for _, n := range s.cluster.Nodes() {
		for deadline := time.Now().Add(time.Minute); ; {
			status, err := n.Output(s.Context(), "/root/calicoctl", "node", "status") // an error while calico/node restarts
			var kinds []string
			for _, m := range sessionRow.FindAllStringSubmatch(status, -1) {
				kinds = append(kinds, m[1])
			}
			if slices.Equal(kinds, want) {
				break
			}
			if time.Now().After(deadline) {
				s.Fatalf("%s has the sessions %q, want %q: %v\n%s", n.Name, kinds, want, err, status)
			}
		}
	}
}

// noSwitch: what is installed stays of its kind.
func (s *scaled) noSwitch() {
	c := stop{playbook: "calico-kdd", cluster: s.cluster, on: s.cluster.Control, closed: "true", open: "true",
		args: append(slices.Clone(s.settings), "-e", "option=policy-only", "-e", "pod_routing=static", "-e", "manage_pool=false"), stops: 2, // the addresses come from elsewhere too: G-38
		says: []string{"G-19 stop on the cluster:", "networking", "policy-only"}}
	c.check(s.network)
}

// mesh: without the settings both go again, the reflectors only when the mesh is there.
func (s *scaled) mesh() {
	s.whole("both go", func() { s.takes() })
	s.settled()
	s.sessions("node-to-node mesh", "node-to-node mesh")
	if got := s.kubectl("get", "bgppeers.crd.projectcalico.org", "-o", "name"); got != "" {
		s.Errorf("there are peers still: %s", got)
	}
	if got := s.kubectl("-n", "kube-system", "get", "deployment", "calico-typha", "-o", "jsonpath={.spec.replicas}"); got != "0" {
		s.Errorf("Typha has %s replicas", got)
	}
}

// undone takes a run back and waits for the nodes: an undo puts the objects back, and the cluster follows.
func (s *scaled) undone(run string) {
	s.Helper()
	s.rollback(run)
	s.kubectl("-n", "kube-system", "rollout", "status", "daemonset/calico-node", "--timeout=300s")
}

// back: the runs are taken back one after the other, the last one first.
func (s *scaled) back() {
	runs := *s.done
	s.whole("both come by an undo", func() { s.undone(runs[3]) })
	s.sessions("node specific", "node specific")
	s.whole("reflectors go by an undo", func() { s.undone(runs[2]) })
	s.undone(runs[1])
	if got := s.kubectl("get", "bgppeers.crd.projectcalico.org,bgpconfigurations.crd.projectcalico.org", "-o", "name"); got != "" {
		s.Errorf("of the reflectors there is left: %s", got)
	}
	if got := s.kubectl("-n", "kube-system", "get", "configmap", "calico-config", "-o", "jsonpath={.data.typha_service_name}"); got != "none" {
		s.Errorf("nodes are told to use Typha %q", got)
	}
	if got := s.kubectl("-n", "kube-system", "get", "deployment,secret", "-l", "k8s-app=calico-typha", "-o", "name"); got != "" {
		s.Errorf("of Typha there is left: %s", got)
	}
	s.reach(" proto bird")
}

// router: one of the data centre takes the mesh's place, as in a fabric whose switches nodes peer with, and goes again.
func (s *scaled) router() {
	s.startRouter()
	router := s.cluster.Control.Address.String()
	settings := []string{"-e", `{"mesh": "off", "bgp_peers": [{"name": "fabric", "peer_ip": "` + router + `", "as": 64512}]}`}
	s.whole("the router takes the mesh's place", func() { s.takes(settings...) })
	s.settled(settings...)
	s.sessions("global")
	if got := s.kubectl("get", "bgppeers.crd.projectcalico.org", "-o", "jsonpath={.items[*].spec}"); got != `{"asNumber":64512,"peerIP":"`+router+`"}` {
		s.Errorf("the peers are %s", got)
	}
	s.reach(" proto bird")
	s.whole("the mesh comes back by an undo", func() { s.undone((*s.done)[len(*s.done)-1]) })
	s.sessions("node-to-node mesh", "node-to-node mesh")
	if got := s.kubectl("get", "bgppeers.crd.projectcalico.org", "-o", "name"); got != "" {
		s.Errorf("there are peers still: %s", got)
	}
}

// startRouter has the host of the control plane, which is no node, run BIRD as a switch would that passes on what nodes tell it.
func (s *scaled) startRouter() {
	s.Helper()
	set, err := artifacts.Build(s.Context(), artifacts.Request{Parts: []artifacts.Part{artifacts.NodeImage}}, artifacts.Options{})
	if err != nil {
		s.Fatal(err)
	}
	built, _ := set.Image(artifacts.NodeImage)
	image, err := os.Open(built.Path)
	if err != nil {
		s.Fatal(err)
	}
	defer image.Close()
	if err := s.cluster.Control.LoadImage(s.Context(), image); err != nil {
		s.Fatal(err)
	}
	conf := "router id " + s.cluster.Control.Address.String() + ";\nprotocol device {}\n"
	for _, n := range s.cluster.Nodes() {
		conf += "protocol bgp { local as 64512; neighbor " + n.Address.String() + " as 64512; rr client; import all; export all; }\n"
	}
	if err := s.cluster.Control.WriteFile(s.Context(), "/etc/router/bird.conf", 0o644, []byte(conf)); err != nil {
		s.Fatal(err)
	}
	s.sh(s.cluster.Control, "docker run --detach --name router --net host --volume /etc/router:/etc/router --entrypoint /usr/sbin/bird "+
		artifacts.ImageTag(artifacts.NodeImage, set.Calico)+" -f -c /etc/router/bird.conf -s /run/router.ctl")
}

// whole keeps two pods of different nodes talking while something is done, and says what was lost.
func (s *scaled) whole(what string, do func()) {
	s.Helper()
	a, b := s.reach(" proto bird")
	if err := a.Keep(s.Context(), b.URL()); err != nil {
		s.Fatal(err)
	}
	do()
	kept, err := a.Report(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	s.Logf("%s: %+v", what, kept)
}

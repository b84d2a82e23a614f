package kube_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/artifacts"
	"github.com/calroll/calroll/testenv/kube"
)

// A cluster of both kinds of nodes is real in all that playbooks look at, and wants nothing but a network.
func TestCluster(t *testing.T) {
	c := kube.ForTest(t, kube.Options{Kubelets: []kube.Kubelet{kube.Containerd, kube.Dockershim}, Flannel: true})
	t.Run("nodes want a network", func(t *testing.T) { wantNetwork(t, c) })
	t.Run("rights and aggregation", func(t *testing.T) { rights(t, c) })
	t.Run("images are there", func(t *testing.T) { hasImages(t, c) })
	t.Run("objects are compared", func(t *testing.T) { objects(t, c) })
	t.Run("a node comes and goes", func(t *testing.T) { comesAndGoes(t, c) })
	t.Run("a network makes pods run", func(t *testing.T) { network(t, c) })
	t.Run("modules work on it", func(t *testing.T) { modules(t, c) })
}

func wantNetwork(t *testing.T, c *kube.Cluster) {
	for i, want := range []struct{ version, runtime, why string }{
		{artifacts.KubernetesVersion, "containerd://1.6", "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized"},
		{artifacts.KubeletDockershimVersion, "docker://20.10", "runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:docker: network plugin is not ready: cni config uninitialized"},
	} {
		n, err := c.Node(t.Context(), c.Nodes()[i].Name)
		if err != nil {
			t.Fatal(err)
		}
		info, ready := n.Status.NodeInfo, n.Condition("Ready")
		if info.KubeletVersion != want.version || !strings.HasPrefix(info.ContainerRuntimeVersion, want.runtime) {
			t.Errorf("%s runs kubelet %s with %s, want %s with %s", n.Metadata.Name, info.KubeletVersion, info.ContainerRuntimeVersion, want.version, want.runtime)
		}
		if ready.Status != "False" || !strings.HasSuffix(ready.Message, want.why) {
			t.Errorf("%s says %+v, want %q", n.Metadata.Name, ready, want.why)
		}
	}
}

func rights(t *testing.T, c *kube.Cluster) {
	kubectl := func(args ...string) string {
		t.Helper()
		out, err := c.Kubectl(t.Context(), args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if _, err := c.Kubectl(t.Context(), "auth", "can-i", "create", "pods", "--as=system:serviceaccount:default:default"); err == nil {
		t.Error("a service account without rights may create pods")
	}
	if out := kubectl("-n", "kube-system", "get", "configmap", "extension-apiserver-authentication", "-o", "yaml"); !strings.Contains(out, "requestheader-client-ca-file") {
		t.Errorf("the aggregation layer is not set up: %s", out)
	}
	// NodeRestriction: a kubelet may alter its own node only.
	_, err := c.Nodes()[0].Output(t.Context(), c.Program("kubectl"), "--kubeconfig=/etc/kubernetes/kubelet.conf", "label", "node", c.Nodes()[1].Name, "x=y")
	if err == nil || !strings.Contains(err.Error(), "orbidden") {
		t.Errorf("a kubelet may label another node: %v", err)
	}
	out, err := c.Control.Output(t.Context(), "stat", "-c", "%a %n", "/etc/kubernetes/admin.conf", "/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/pki/ca.key")
	if want := "600 /etc/kubernetes/admin.conf\n644 /etc/kubernetes/pki/ca.crt\n600 /etc/kubernetes/pki/ca.key"; err != nil || out != want {
		t.Errorf("files of the control plane: %q %v", out, err)
	}
	if _, err := c.Control.Output(t.Context(), "systemctl", "cat", "kubelet"); err == nil {
		t.Error("the control plane's host has a kubelet")
	}
}

func hasImages(t *testing.T, c *kube.Cluster) {
	for i, list := range []string{"ctr -n k8s.io images ls -q", "docker images --format '{{.Repository}}:{{.Tag}}'"} {
		out, err := c.Nodes()[i].Sh(t.Context(), list)
		if err != nil {
			t.Fatal(err)
		}
		there := strings.Fields(strings.ReplaceAll(out, "docker.io/", ""))
		for _, image := range c.Images() {
			if !strings.Contains(strings.Join(there, " ")+" ", image+" ") {
				t.Errorf("%s lacks %s: it has %q", c.Nodes()[i].Name, image, there)
			}
		}
	}
}

// network gives each node a bridge of its own, and each pod of a node asks the other for its name.
func network(t *testing.T, c *kube.Cluster) {
	var pods []*kube.Pod
	for i, h := range c.Nodes() {
		bridge(t, c, h, i)
	}
	if err := c.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, h := range c.Nodes() {
		for n := range 2 {
			p, err := c.StartPod(t.Context(), fmt.Sprintf("%s-%d", h.Name, n), kube.PodOptions{Node: h.Name})
			if err != nil {
				t.Fatal(err)
			}
			pods = append(pods, p)
		}
	}
	for i, p := range pods {
		other := pods[i^1]
		got, err := p.Get(t.Context(), other.URL())
		if err != nil || got != other.Name+"\n"+p.Address {
			t.Errorf("%s asked %s: %q %v", p.Name, other.Name, got, err)
		}
	}
	if err := c.RoutePods(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, p := range pods {
		if out, err := c.Control.Output(t.Context(), "curl", "-sS", "--max-time", "5", p.URL()); err != nil || !strings.HasPrefix(out, p.Name+"\n") {
			t.Errorf("the control plane asked %s: %q %v", p.Name, out, err)
		}
	}
	keeps(t, pods[0], pods[1])
}

func bridge(t *testing.T, c *kube.Cluster, h *testenv.Host, i int) {
	t.Helper()
	conf := fmt.Sprintf(`{"cniVersion": "0.3.1", "name": "lab", "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
		"ipam": {"type": "host-local", "subnet": "192.168.%d.0/24", "routes": [{"dst": "0.0.0.0/0"}]}}]}`, i)
	_, err := h.Sh(t.Context(), fmt.Sprintf("mkdir -p /opt/cni/bin && cp %s %s %s /opt/cni/bin/", c.Program("bridge"), c.Program("host-local"), c.Program("loopback")))
	if err == nil {
		err = h.WriteFile(t.Context(), "/etc/cni/net.d/10-lab.conflist", 0o644, []byte(conf))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// objects shows that a picture of the API's objects sees what is made, altered and removed, and nothing that moves by itself.
func objects(t *testing.T, c *kube.Cluster) {
	look := func() testenv.Snapshot {
		t.Helper()
		s, err := c.Objects(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	do := func(args ...string) {
		t.Helper()
		if _, err := c.Kubectl(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	before := look()
	do("create", "configmap", "probe", "--from-literal=a=1")
	do("label", "node", "node1", "probe=1")
	do("create", "priorityclass", "probe", "--value=5")
	diff := strings.Join(before.Diff(look()), "\n")
	for _, want := range []string{"v1 configmaps default/probe: new (data.a=1)", "v1 nodes node1:  -> metadata.labels.probe=1", "scheduling.k8s.io/v1 priorityclasses probe: new ("} {
		if !strings.Contains(diff, want) {
			t.Errorf("the difference lacks %q: %s", want, diff)
		}
	}
	do("delete", "configmap/probe", "priorityclass/probe")
	do("label", "node", "node1", "probe-")
	if diff := before.Diff(look()); len(diff) > 0 {
		t.Errorf("what was taken back leaves %q", diff)
	}
}

// hosts are pictures of all hosts of the cluster.
func hosts(t *testing.T, c *kube.Cluster) map[string]testenv.Snapshot {
	t.Helper()
	all := map[string]testenv.Snapshot{}
	for _, h := range c.Lab.Hosts {
		s, err := h.Snapshot(t.Context(), testenv.Watch{Paths: []string{"/etc", "/opt", "/usr/local", "/var/lib/cni"}, Units: []string{"kubelet", "kube-proxy"},
			Sysctls: []string{"net.ipv4.ip_forward"}, Links: true, Routes: true, Rules: true})
		if err != nil {
			t.Fatal(err)
		}
		all[h.Name] = s
	}
	return all
}

// comesAndGoes adds a node to the running cluster and takes it away again. Nothing stays of that on the other hosts, and nothing moves by itself there.
func comesAndGoes(t *testing.T, c *kube.Cluster) {
	before := hosts(t, c)
	defer func() {
		for name, s := range hosts(t, c) {
			if diff := before[name].Diff(s); len(diff) > 0 {
				t.Errorf("%s is not what it was: %q", name, diff)
			}
		}
	}()
	h, err := c.AddNode(t.Context(), kube.Containerd)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.Node(t.Context(), h.Name); err != nil || n.Condition("Ready").Status != "False" || n.Spec.PodCIDR == "" {
		t.Errorf("the new node: %+v %v", n, err)
	}
	if err := c.RemoveNode(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Node(t.Context(), h.Name); err == nil {
		t.Errorf("%s is still a node", h.Name)
	}
	text, err := os.ReadFile(c.Lab.InventoryFile())
	if err != nil || strings.Contains(string(text), h.Name) || len(c.Nodes()) != 2 {
		t.Errorf("%s is still in the inventory: %s %v", h.Name, text, err)
	}
}

// keeps has a pod request another all the time, takes that one away, and reads how many were lost.
func keeps(t *testing.T, from, to *kube.Pod) {
	if err := from.Keep(t.Context(), to.URL()); err != nil {
		t.Fatal(err)
	}
	report := func(enough func(kube.Kept) bool) kube.Kept {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			all, err := from.Report(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if k := all[to.URL()]; enough(k) || time.Now().After(end) {
				return k
			}
		}
	}
	if k := report(func(k kube.Kept) bool { return k.Sent >= 20 }); k.Sent < 20 || k.Lost != 0 {
		t.Errorf("with both there: %+v", k)
	}
	if err := to.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if k := report(func(k kube.Kept) bool { return k.Lost >= 2 }); k.Lost < 2 || len(k.Failures) != k.Lost || k.Failures[0].Why == "" {
		t.Errorf("with one gone: %+v", k)
	}
}

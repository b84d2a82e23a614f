package kube_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/artifacts"
	"github.com/calroll/calroll/testenv/kube"
)

// A cluster of both kinds of nodes is real in all that playbooks look at, and wants nothing but a network.
func TestCluster(t *testing.T) {
	c := kube.ForTest(t, kube.Options{Kubelets: []kube.Kubelet{kube.Containerd, kube.Dockershim}})
	t.Run("nodes want a network", func(t *testing.T) { wantNetwork(t, c) })
	t.Run("rights and aggregation", func(t *testing.T) { rights(t, c) })
	t.Run("images are there", func(t *testing.T) { hasImages(t, c) })
	t.Run("a network makes pods run", func(t *testing.T) { network(t, c) })
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
		if err != nil || got != other.Name+"\n"+p.Address+"\n" && got != other.Name+"\n"+p.Address {
			t.Errorf("%s asked %s: %q %v", p.Name, other.Name, got, err)
		}
	}
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

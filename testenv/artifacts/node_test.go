package artifacts_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/testenv/artifacts"
)

// Two containers of the image, with the etcd of this package between them, must do what two hosts are to do:
// record themselves, have Felix ready, and hold a BGP session. That shows that the image is complete.
func TestTwoNodesPeer(t *testing.T) {
	now, _ := sets(t)
	file, _ := now.File("images/calico-node-" + now.Calico + ".tar")
	load(t, file, artifacts.ImageTag(artifacts.NodeImage, now.Calico))
	network := fmt.Sprintf("calroll-artifacts-%d", os.Getpid())
	output(t, exec.Command("docker", "network", "create", network))
	t.Cleanup(func() { output(t, exec.Command("docker", "network", "rm", network)) })
	gateway := strings.TrimSpace(output(t, exec.Command("docker", "network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", network)))
	e := startEtcd(t, artifacts.EtcdOptions{Listen: gateway, TLS: true})
	one, two := startNode(t, now, network, e, "one"), startNode(t, now, network, e, "two")
	for _, name := range []string{one, two} {
		eventually(t, time.Minute, func() error {
			return exec.Command("docker", "exec", name, "calico-node", "-felix-ready", "-bird-ready", "-felix-live", "-bird-live").Run()
		})
		eventually(t, time.Minute, func() error {
			out, _ := exec.Command("docker", "exec", name, "birdcl", "-s", "/var/run/calico/bird.ctl", "show", "protocols").CombinedOutput()
			if !strings.Contains(string(out), "Established") {
				return fmt.Errorf("no session on %s:\n%s", name, out)
			}
			return nil
		})
		keys := output(t, e.Command(context.Background(), "get", "--prefix", "--keys-only", "/calico/resources/v3/projectcalico.org/nodes/"))
		if !strings.Contains(keys, "/"+name+"\n") {
			t.Errorf("%s is not recorded in etcd, only %q", name, keys)
		}
	}
}

func startNode(t *testing.T, set *artifacts.Set, network string, e *artifacts.Etcd, suffix string) string {
	t.Helper()
	name := network + "-" + suffix
	// The capability is absent where the tests run in a container themselves; Felix does without.
	args := []string{"run", "-d", "--name", name, "--network", network, "--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE",
		"--security-opt", "seccomp=unconfined", "--security-opt", "systempaths=unconfined", "--sysctl", "net.ipv4.ip_forward=1",
		"-v", e.Dir + ":/certs:ro"}
	for k, v := range map[string]string{
		"NODENAME": name, "IP": "autodetect", "CALICO_NETWORKING_BACKEND": "bird", "CLUSTER_TYPE": "k8s,bgp", "CALICO_MANAGE_CNI": "false",
		"DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": strings.Join(e.Endpoints(), ","),
		"ETCD_CA_CERT_FILE": "/certs/ca.pem", "ETCD_CERT_FILE": "/certs/client.pem", "ETCD_KEY_FILE": "/certs/client-key.pem",
		"CALICO_IPV4POOL_CIDR": "10.214.0.0/16", "CALICO_IPV4POOL_IPIP": "Never",
		"FELIX_HEALTHENABLED": "true", "FELIX_IPV6SUPPORT": "false", "FELIX_USAGEREPORTINGENABLED": "false",
	} {
		args = append(args, "-e", k+"="+v)
	}
	output(t, exec.Command("docker", append(args, artifacts.ImageTag(artifacts.NodeImage, set.Calico))...))
	t.Cleanup(func() {
		if t.Failed() {
			logs, _ := exec.Command("docker", "logs", "--tail", "40", name).CombinedOutput()
			t.Logf("logs of %s:\n%s", name, logs)
		}
		output(t, exec.Command("docker", "rm", "-f", "-v", name))
	})
	return name
}

// eventually asks again until there is no error, and fails with the last one.
func eventually(t *testing.T, within time.Duration, check func() error) {
	t.Helper()
	end := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %v: %v", within, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

package catalog_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/testenv"
)

const credentialsPlay = `
- hosts: kube_control_plane:kube_node
  tasks:
    - import_role: {name: host_facts}
    - import_role: {name: cni_credentials}
`

// authorityPlay makes the CA of a cluster on the first host.
const authorityPlay = `
- hosts: kube_control_plane[0]
  gather_facts: false
  tasks:
    - file: {path: /etc/kubernetes/pki, state: directory, mode: "0755"}
    - community.crypto.openssl_privatekey: {path: /etc/kubernetes/pki/ca.key, size: 2048}
    - community.crypto.openssl_csr:
        path: /etc/kubernetes/pki/ca.csr
        privatekey_path: /etc/kubernetes/pki/ca.key
        common_name: kubernetes
        use_common_name_for_san: false
        basic_constraints: ["CA:TRUE"]
        basic_constraints_critical: true
        key_usage: [keyCertSign, digitalSignature]
    - community.crypto.x509_certificate:
        path: /etc/kubernetes/pki/ca.crt
        provider: selfsigned
        csr_path: /etc/kubernetes/pki/ca.csr
        privatekey_path: /etc/kubernetes/pki/ca.key
`

// kubeconfigOf is what a kubeconfig holds for the plugin.
type kubeconfigOf struct {
	Clusters []struct {
		Cluster struct {
			Server string
			CA     string `yaml:"certificate-authority-data"`
		}
	}
	Users []struct {
		Name string
		User struct {
			Cert string `yaml:"client-certificate-data"`
			Key  string `yaml:"client-key-data"`
		}
	}
}

// TestCNICertificate: the cluster's CA signs for each host, its key stays where it is, and a certificate is renewed when it must be.
func TestCNICertificate(t *testing.T) {
	t.Parallel()
	c := newNetwork(t, 2)
	authority, roles := filepath.Join(t.TempDir(), "ca.yml"), filepath.Join(t.TempDir(), "roles.yml")
	write(t, authority, authorityPlay)
	write(t, roles, credentialsPlay)
	c.playOnce(authority)
	args := []string{"-e", "with_kubernetes=true"}
	if !c.playOnce(roles, append(args, "--check")...) {
		t.Error("check mode foresees no change")
	}
	if got := c.sh(c.lab.Hosts[1], "ls /etc/calico/pki /etc/cni/net.d/calico-kubeconfig 2>/dev/null || true"); got != "" {
		t.Errorf("check mode made %s", got)
	}
	if !c.playOnce(roles, append(args, "-e", "cni_cert_days=40")...) {
		t.Fatal("nothing was made")
	}
	first := c.checkCredential(c.lab.Hosts[1], 40)
	if c.playOnce(roles, args...) {
		t.Error("a certificate with 40 days left is made anew")
	}
	if !c.playOnce(roles, append(args, "-e", "cni_cert_renew_days=41")...) {
		t.Error("a certificate with 40 days left is kept for longer than 41")
	}
	if second := c.checkCredential(c.lab.Hosts[1], 365); second == first {
		t.Error("the certificate is still the old one")
	}
	c.checkCredential(c.lab.Hosts[0], 365)
	if c.playOnce(roles, args...) {
		t.Error("the last run changes something")
	}
	if got := c.sh(c.lab.Hosts[1], "grep -rl 'PRIVATE KEY' /etc /var/lib/calroll 2>/dev/null | grep -v -e /etc/ssh -e /etc/ssl || true"); strings.Contains(got, "/etc/kubernetes") {
		t.Errorf("keys on a node: %s", got)
	}
	c.verifyRenews(roles, args...)
	if got := c.sh(c.lab.Hosts[0], "ls -A /etc/kubernetes/pki"); strings.Join(strings.Fields(got), " ") != "ca.crt ca.csr ca.key" {
		t.Errorf("the authority's folder holds %s", got)
	}
}

// verifyRenews: where calico/node is recorded to be a unit, verify says that the certificate ends soon, and with renew it makes a new one and touches
// nothing else. Nothing runs on these hosts, of which verify says so, too.
func (c *network) verifyRenews(roles string, args ...string) {
	c.Helper()
	for _, h := range c.lab.Hosts {
		c.sh(h, `echo '{"mode": "integrated", "datastore": "etcd", "product": "calico", "version": "v3.28.5", "option": "networking"}' > /etc/calico/calroll.json`)
	}
	c.playOnce(roles, append(args, "-e", "cni_cert_days=20", "-e", "cni_cert_renew_days=366")...)
	c.names(c.looks("verify", exitFailed, args...), "G-35 "+c.lab.Hosts[0].Name, "G-35 "+c.lab.Hosts[1].Name)
	args = append(args, "-e", "renew=true")
	o := c.calroll(append([]string{"run", "verify"}, args...)...)
	for _, h := range c.lab.Hosts {
		c.checkCredential(h, 365)
		if o.changed()[h.Name] == "0" {
			c.Errorf("verify does not say that it changed %s:\n%s", h.Name, o.text)
		}
	}
	if slices.ContainsFunc(o.findings(), func(f string) bool { return strings.HasPrefix(f, "G-35 ") }) {
		c.Errorf("verify still finds the old certificates:\n%s", o.text)
	}
	c.looks("verify", exitFailed, args...)
}

// checkCredential reads a host's kubeconfig as a client would, and returns the certificate.
func (c *network) checkCredential(h *testenv.Host, days int) string {
	c.Helper()
	if mode := strings.TrimSpace(c.sh(h, "stat -c %a /etc/cni/net.d/calico-kubeconfig /etc/calico/pki/calico-cni.key | tr '\\n' ' '")); mode != "600 600" {
		c.Errorf("%s: modes %s", h.Name, mode)
	}
	var k kubeconfigOf
	if err := yaml.Unmarshal([]byte(c.sh(h, "cat /etc/cni/net.d/calico-kubeconfig")), &k); err != nil {
		c.Fatal(err)
	}
	plain := func(text string) []byte {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			c.Fatal(err)
		}
		return raw
	}
	pair, err := tls.X509KeyPair(plain(k.Users[0].User.Cert), plain(k.Users[0].User.Key))
	if err != nil {
		c.Fatalf("%s: %v", h.Name, err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(plain(k.Clusters[0].Cluster.CA))
	opts := x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if _, err := pair.Leaf.Verify(opts); err != nil {
		c.Errorf("%s: %v", h.Name, err)
	}
	if got := pair.Leaf.Subject.String(); got != "CN=calico-cni" || k.Users[0].Name != "calico-cni" {
		c.Errorf("%s: the certificate is of %s, the user %s", h.Name, got, k.Users[0].Name)
	}
	if left := time.Until(pair.Leaf.NotAfter); left > time.Duration(days)*24*time.Hour || left < time.Duration(days)*24*time.Hour-time.Hour {
		c.Errorf("%s: valid until %v, want %d days", h.Name, pair.Leaf.NotAfter, days)
	}
	if want := "https://" + c.lab.Hosts[0].Address.String() + ":6443"; k.Clusters[0].Cluster.Server != want {
		c.Errorf("%s: the server is %s, want %s", h.Name, k.Clusters[0].Cluster.Server, want)
	}
	return k.Users[0].User.Cert
}

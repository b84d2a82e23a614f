package kube

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"gopkg.in/yaml.v3"

	"github.com/calroll/calroll/testenv/pki"
)

// PKI is the certificates of a cluster: its authority, the one of the aggregation layer, and the keys that service account tokens are
// signed with.
type PKI struct {
	CA, FrontProxyCA *pki.Authority
	ServiceAccount   pki.Pair // public key and private key
}

// NewPKI makes the authorities of a new cluster.
func NewPKI() (*PKI, error) {
	ca, err := pki.NewAuthority("kubernetes")
	if err != nil {
		return nil, err
	}
	front, err := pki.NewAuthority("front-proxy-ca")
	if err != nil {
		return nil, err
	}
	sa, err := pki.SigningKeys()
	return &PKI{CA: ca, FrontProxyCA: front, ServiceAccount: sa}, err
}

// Write puts what a control plane needs into dir, under kubeadm's file names: ca, apiserver (served at hosts, besides the service's address and
// names), apiserver-kubelet-client, front-proxy-ca, front-proxy-client, each .crt and .key, and sa.pub and sa.key.
func (p *PKI) Write(dir string, hosts ...string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	own := append([]string{ServiceAddress, "127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local"}, hosts...)
	ca, err := p.CA.Pair()
	front, frontErr := p.FrontProxyCA.Pair()
	err = errors.Join(err, frontErr, write(dir, "ca", ca), write(dir, "front-proxy-ca", front),
		issue(dir, "apiserver", p.CA, pki.Subject{Name: "kube-apiserver", Hosts: own}),
		issue(dir, "apiserver-kubelet-client", p.CA, pki.Subject{Name: "kube-apiserver-kubelet-client", Groups: []string{"system:masters"}}),
		issue(dir, "front-proxy-client", p.FrontProxyCA, pki.Subject{Name: "front-proxy-client"}),
		p.ServiceAccount.Write(filepath.Join(dir, "sa.pub"), filepath.Join(dir, "sa.key")))
	if err != nil {
		return fmt.Errorf("cannot make the cluster's certificates: %w", err)
	}
	return nil
}

func issue(dir, name string, ca *pki.Authority, s pki.Subject) error {
	pair, err := ca.Issue(s)
	if err != nil {
		return err
	}
	return write(dir, name, pair)
}

func write(dir, name string, p pki.Pair) error {
	return p.Write(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
}

// Users of a cluster that its components and its administrator log in as.
var (
	Admin             = pki.Subject{Name: "kubernetes-admin", Groups: []string{"system:masters"}}
	ControllerManager = pki.Subject{Name: "system:kube-controller-manager"}
	Scheduler         = pki.Subject{Name: "system:kube-scheduler"}
	Proxy             = pki.Subject{Name: "system:kube-proxy"}
)

// KubeletUser is the user of a node's kubelet; hosts are the addresses that its own API serves at.
func KubeletUser(node string, hosts ...string) pki.Subject {
	return pki.Subject{Name: "system:node:" + node, Groups: []string{"system:nodes"}, Hosts: hosts}
}

// Kubeconfig is a kubeconfig for a user, with a new certificate in it. server is a URL.
func (p *PKI) Kubeconfig(server string, user pki.Subject) ([]byte, error) {
	pair, err := p.CA.Issue(user)
	if err != nil {
		return nil, err
	}
	return kubeconfig(server, p.CA.CertPEM(), user.Name, pair)
}

// kubeconfig writes the form that every client of Kubernetes reads.
func kubeconfig(server string, ca []byte, user string, p pki.Pair) ([]byte, error) {
	type named map[string]any
	return yaml.Marshal(named{"apiVersion": "v1", "kind": "Config", "current-context": "lab",
		"clusters": []named{{"name": "lab", "cluster": named{"server": server, "certificate-authority-data": base64(ca)}}},
		"users":    []named{{"name": user, "user": named{"client-certificate-data": base64(p.Cert), "client-key-data": base64(p.Key)}}},
		"contexts": []named{{"name": "lab", "context": named{"cluster": "lab", "user": user}}}})
}

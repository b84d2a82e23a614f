package artifacts

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/calroll/calroll/testenv/pki"
)

// Certs are the files of a certificate authority made for one etcd: its own certificate, and a certificate with
// its key for the server and for a client. All are PEM.
type Certs struct {
	CA, ServerCert, ServerKey, ClientCert, ClientKey string
}

// WriteCerts makes a new authority in dir, with a server certificate for these addresses or names. Two calls make
// two authorities that do not trust each other.
func WriteCerts(dir string, hosts ...string) (Certs, error) {
	c := certsIn(dir)
	ca, err := pki.NewAuthority("calroll lab etcd CA")
	if err == nil {
		err = os.WriteFile(c.CA, ca.CertPEM(), 0o644)
	}
	if err == nil {
		err = issue(ca, pki.Subject{Name: "etcd", Hosts: hosts}, c.ServerCert, c.ServerKey)
	}
	if err == nil {
		err = issue(ca, pki.Subject{Name: "calico"}, c.ClientCert, c.ClientKey)
	}
	if err != nil {
		return Certs{}, fmt.Errorf("cannot make etcd's certificates: %w", err)
	}
	return c, nil
}

func issue(ca *pki.Authority, s pki.Subject, certFile, keyFile string) error {
	p, err := ca.Issue(s)
	if err != nil {
		return err
	}
	return p.Write(certFile, keyFile)
}

// certsIn names the files that WriteCerts makes.
func certsIn(dir string) Certs {
	return Certs{
		CA:         filepath.Join(dir, "ca.pem"),
		ServerCert: filepath.Join(dir, "server.pem"), ServerKey: filepath.Join(dir, "server-key.pem"),
		ClientCert: filepath.Join(dir, "client.pem"), ClientKey: filepath.Join(dir, "client-key.pem"),
	}
}

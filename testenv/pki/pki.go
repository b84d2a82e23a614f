// Package pki makes certificate authorities and certificates for labs: for etcd and for Kubernetes. All keys are ECDSA P-256, except where the
// caller brings one; nothing made here is valid for longer than a month.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// Authority signs certificates.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes an authority called name. Two calls make two authorities that do not trust each other.
func NewAuthority(name string) (*Authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	t := template(Subject{Name: name})
	t.IsCA, t.BasicConstraintsValid = true, true
	t.KeyUsage, t.ExtKeyUsage = x509.KeyUsageCertSign|x509.KeyUsageCRLSign, nil
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &Authority{cert: cert, key: key}, err
}

// Pair returns the authority's own certificate and key.
func (a *Authority) Pair() (Pair, error) { return encode(a.cert.Raw, a.key) }

// CertPEM is the authority's certificate.
func (a *Authority) CertPEM() []byte { return block("CERTIFICATE", a.cert.Raw) }

// Subject is whom a certificate is for. Every certificate does for a server and for a client: a component of Kubernetes is often both.
type Subject struct {
	Name   string   // common name
	Groups []string // organizations; Kubernetes takes them for groups
	Hosts  []string // addresses and DNS names it serves at
}

// Pair is a certificate and its key, both PEM.
type Pair struct{ Cert, Key []byte }

// Write puts the pair into two files, the key readable only by its owner.
func (p Pair) Write(certFile, keyFile string) error {
	if err := os.WriteFile(keyFile, p.Key, 0o600); err != nil {
		return err
	}
	return os.WriteFile(certFile, p.Cert, 0o644)
}

// Issue makes a key and a certificate for it.
func (a *Authority) Issue(s Subject) (Pair, error) {
	key, err := newKey()
	if err != nil {
		return Pair{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template(s), a.cert, &key.PublicKey, a.key)
	if err != nil {
		return Pair{}, fmt.Errorf("cannot make a certificate for %s: %w", s.Name, err)
	}
	return encode(der, key)
}

// SigningKeys makes a pair of keys without a certificate, as Kubernetes signs its service accounts' tokens with: the public key in Cert.
func SigningKeys() (Pair, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return Pair{}, err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return Pair{}, err
	}
	return Pair{Cert: block("PUBLIC KEY", public), Key: block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))}, nil
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func encode(der []byte, key crypto.PrivateKey) (Pair, error) {
	text, err := x509.MarshalECPrivateKey(key.(*ecdsa.PrivateKey))
	if err != nil {
		return Pair{}, err
	}
	return Pair{Cert: block("CERTIFICATE", der), Key: block("EC PRIVATE KEY", text)}, nil
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func template(s Subject) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand does not fail on Linux
	}
	t := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: s.Name, Organization: s.Groups},
		// From the past, for a host whose clock is slow; a lab does not live for a month.
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 1, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	for _, h := range s.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	return t
}

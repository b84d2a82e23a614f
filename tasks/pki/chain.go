package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// Certificates are all certificates of a PEM text, in its order.
func Certificates(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for rest := text; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return out, nil
		}
		if b.Type != "CERTIFICATE" && b.Type != "X509 CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
}

// Complete finds what lies between the last certificate of a chain and a root, the root included. The chain is in order: each
// certificate is signed by the one that follows.
func Complete(chain, intermediates, roots []*x509.Certificate) ([]*x509.Certificate, error) {
	if len(chain) == 0 {
		return nil, errors.New("it holds no certificate")
	}
	for i := range chain[1:] {
		if !signedBy(chain[i], chain[i+1]) {
			return nil, fmt.Errorf("certificate %d (%s) is not signed by certificate %d (%s)", i+1, chain[i].Subject, i+2, chain[i+1].Subject)
		}
	}
	var added []*x509.Certificate
	last, seen := chain[len(chain)-1], map[string]bool{}
	for _, c := range chain {
		seen[string(c.Raw)] = true
	}
	for {
		if root := signer(last, roots, nil); root != nil {
			if bytes.Equal(root.Raw, last.Raw) {
				return added, nil // the last one is a root itself
			}
			return append(added, root), nil
		}
		next := signer(last, intermediates, seen)
		if next == nil {
			return nil, fmt.Errorf("no certificate is known that signed %s", last.Subject)
		}
		seen[string(next.Raw)] = true
		added, last = append(added, next), next
	}
}

func signer(c *x509.Certificate, among []*x509.Certificate, not map[string]bool) *x509.Certificate {
	for _, a := range among {
		if !not[string(a.Raw)] && signedBy(c, a) {
			return a
		}
	}
	return nil
}

func signedBy(c, ca *x509.Certificate) bool {
	return bytes.Equal(canonical(c.RawIssuer), canonical(ca.RawSubject)) && Signed(c, ca.PublicKey)
}

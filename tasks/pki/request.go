package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"slices"
)

// Request is what a signing request shall say.
type Request struct {
	Subject []Attribute
	Ordered bool // the order of Subject matters
	Extensions
}

// Sign makes the request with a key.
func (r Request) Sign(key crypto.Signer, digest string) ([]byte, error) {
	subject, err := encodeSubject(r.Subject)
	if err != nil {
		return nil, err
	}
	extensions, err := r.encode(key.Public())
	if err != nil {
		return nil, err
	}
	how, err := algorithm(key.Public(), digest)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{RawSubject: subject, ExtraExtensions: extensions, SignatureAlgorithm: how}, key)
	return PEM("CERTIFICATE REQUEST", der), err
}

// ParseRequest reads a signing request.
func ParseRequest(text []byte) (*x509.CertificateRequest, error) {
	b, err := block(text, "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificateRequest(b.Bytes)
}

// Made tells whether a request that exists says what r says and was signed with the key.
func (r Request) Made(have *x509.CertificateRequest, key crypto.Signer) (bool, error) {
	want, err := r.encode(key.Public())
	if err != nil {
		return false, err
	}
	same := sameSubject(r.Subject, have.RawSubject, r.Ordered) && have.CheckSignature() == nil && SamePublic(have.PublicKey, key.Public())
	return same && sameExtensions(want, have.Extensions), nil
}

// sameExtensions compares without regard to the order of the extensions, of alternative names and of extended usages. Extensions that a
// request cannot ask for here (a copied one may have them) count as a difference, too.
func sameExtensions(a, b []pkix.Extension) bool {
	if len(a) != len(b) {
		return false
	}
	for _, x := range a {
		y := find(b, x.Id)
		if y == nil || x.Critical != y.Critical || !slices.Equal(comparable(x), comparable(*y)) {
			return false
		}
	}
	return true
}

// comparable is an extension's content in one order.
func comparable(e pkix.Extension) []string {
	var list []string
	var err error
	switch {
	case e.Id.Equal(oidAltNames):
		list, err = decodeGenerals(e.Value)
	case e.Id.Equal(oidExtKeyUsage):
		list, err = decodeExtKeyUsage(e.Value)
	default:
		return []string{string(e.Value)}
	}
	if err != nil {
		return []string{fmt.Sprintf("unreadable: %x", e.Value)}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

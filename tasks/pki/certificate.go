package pki

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// When a certificate gets a subject key identifier.
const (
	IfNotProvided = "create_if_not_provided" // the request's own, else one of the key
	Always        = "always_create"
	Never         = "never_create"
)

// Certificate is what a certificate shall be: a request, signed by an authority or by its own key.
type Certificate struct {
	Request      *x509.CertificateRequest
	Key          crypto.Signer     // that signs
	CA           *x509.Certificate // whose key it is; nil: the certificate's own
	NotBefore    time.Time
	NotAfter     time.Time
	Digest       string
	SubjectKeyID string // IfNotProvided, Always, Never
	AuthorityKey bool   // name the authority's key
}

// Sign makes the certificate.
func (c Certificate) Sign() ([]byte, error) {
	extensions, err := c.extensions()
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 159))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)), RawSubject: c.Request.RawSubject,
		NotBefore: c.NotBefore, NotAfter: c.NotAfter, ExtraExtensions: extensions,
	}
	if template.SignatureAlgorithm, err = algorithm(c.Key.Public(), c.Digest); err != nil {
		return nil, err
	}
	// A parent without a key identifier: x509 would add the extension of its own accord.
	parent := &x509.Certificate{RawSubject: c.issuer(), PublicKey: c.Key.Public()}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, c.Request.PublicKey, c.Key)
	return PEM("CERTIFICATE", der), err
}

func (c Certificate) issuer() []byte {
	if c.CA != nil {
		return c.CA.RawSubject
	}
	return c.Request.RawSubject
}

// extensions are the request's, with the identifiers of the keys.
func (c Certificate) extensions() ([]pkix.Extension, error) {
	list := c.Request.Extensions
	if c.SubjectKeyID == Always {
		list = without(list, oidSubjectKeyID)
	}
	if c.AuthorityKey {
		list = without(list, oidAuthorityKeyID)
	}
	list = append([]pkix.Extension{}, list...)
	if c.SubjectKeyID != Never && find(list, oidSubjectKeyID) == nil {
		der, err := encodeKeyID(c.Request.PublicKey)
		if err != nil {
			return nil, err
		}
		list = append(list, pkix.Extension{Id: oidSubjectKeyID, Value: der})
	}
	if c.AuthorityKey && c.CA != nil {
		der, err := encodeAuthorityKeyID(c.CA)
		if err != nil {
			return nil, err
		}
		list = append(list, pkix.Extension{Id: oidAuthorityKeyID, Value: der})
	}
	return list, nil
}

// Made tells whether a certificate that exists is this one, its times apart: of the request's key, subject and extensions, and signed by
// the authority's key under its name.
func (c Certificate) Made(have *x509.Certificate) (bool, error) {
	want, err := c.extensions()
	if err != nil {
		return false, err
	}
	return c.Request.CheckSignature() == nil && SamePublic(have.PublicKey, c.Request.PublicKey) &&
		bytes.Equal(canonical(have.RawSubject), canonical(c.Request.RawSubject)) && sameExtensions(want, have.Extensions) &&
		bytes.Equal(canonical(have.RawIssuer), canonical(c.issuer())) && Signed(have, c.Key.Public()), nil
}

// canonical is a subject without regard to the string types it is written in.
func canonical(raw []byte) []byte {
	out, err := encodeSubject(decodeSubject(raw))
	if err != nil {
		return raw
	}
	return out
}

// Signed tells whether the holder of a key signed the certificate. It does not ask whether that key may sign certificates.
func Signed(cert *x509.Certificate, by crypto.PublicKey) bool {
	parent := &x509.Certificate{PublicKey: by}
	return parent.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) == nil
}

// Unsigned is a request with no subject and no extensions, for a certificate that is made of a key alone.
func Unsigned(key crypto.Signer, digest string) (*x509.CertificateRequest, error) {
	text, err := Request{}.Sign(key, digest)
	if err != nil {
		return nil, err
	}
	return ParseRequest(text)
}

// ParseCertificate reads the first certificate of a PEM text.
func ParseCertificate(text []byte) (*x509.Certificate, error) {
	b, err := block(text, "CERTIFICATE", "X509 CERTIFICATE")
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(b.Bytes)
}

// LoadCertificate is ParseCertificate for a file, which may be binary (DER), too.
func LoadCertificate(raw []byte) (*x509.Certificate, error) {
	cert, err := ParseCertificate(raw)
	if err == nil {
		return cert, nil
	}
	if c, derErr := x509.ParseCertificate(raw); derErr == nil {
		return c, nil
	}
	return nil, err
}

// Pair checks that a certificate is of the key.
func Pair(cert *x509.Certificate, key crypto.Signer) error {
	if !SamePublic(cert.PublicKey, key.Public()) {
		return errors.New("the private key is not the certificate's")
	}
	return nil
}

func decodeExtKeyUsage(der []byte) ([]string, error) {
	var oids []asn1.ObjectIdentifier
	if _, err := asn1.Unmarshal(der, &oids); err != nil {
		return nil, fmt.Errorf("cannot read the extended key usage: %w", err)
	}
	out := make([]string, len(oids))
	for i, oid := range oids {
		out[i] = objectName(oid)
	}
	return out, nil
}

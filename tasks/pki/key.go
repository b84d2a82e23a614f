package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// Formats of a private key.
const (
	PKCS1 = "pkcs1" // the traditional one of its type: RSA PRIVATE KEY, EC PRIVATE KEY
	PKCS8 = "pkcs8" // PRIVATE KEY
	Raw   = "raw"   // no PEM at all
)

// ErrLocked is the answer for a key that a passphrase protects.
var ErrLocked = errors.New("a passphrase protects it")

// KeySpec says what a private key shall be.
type KeySpec struct {
	Type  string // RSA, ECC, Ed25519
	Size  int    // bits, of RSA
	Curve string // of ECC, such as secp256r1
}

// curves that Go's standard library has.
var curves = map[string]elliptic.Curve{
	"secp224r1": elliptic.P224(), "secp256r1": elliptic.P256(), "secp384r1": elliptic.P384(), "secp521r1": elliptic.P521(),
}

// Generate makes a key.
func (s KeySpec) Generate() (crypto.Signer, error) {
	switch s.Type {
	case "RSA":
		return rsa.GenerateKey(rand.Reader, s.Size)
	case "ECC":
		curve, ok := curves[s.Curve]
		if !ok {
			return nil, fmt.Errorf("keys on the curve %s cannot be made; secp256r1, secp384r1, secp521r1 and secp224r1 can", s.Curve)
		}
		return ecdsa.GenerateKey(curve, rand.Reader)
	case "Ed25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("keys of type %s cannot be made; RSA, ECC and Ed25519 can", s.Type)
}

// Fits tells whether a key is of the type and the size or curve.
func (s KeySpec) Fits(key crypto.Signer) bool {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return s.Type == "RSA" && k.N.BitLen() == s.Size
	case *ecdsa.PrivateKey:
		return s.Type == "ECC" && curves[s.Curve] == k.Curve
	case ed25519.PrivateKey:
		return s.Type == "Ed25519"
	}
	return false
}

// DefaultFormat is the format of a new key of the type.
func (s KeySpec) DefaultFormat() string {
	if s.Type == "RSA" || s.Type == "ECC" || s.Type == "DSA" {
		return PKCS1
	}
	return PKCS8
}

// EncodeKey writes a key in a format.
func EncodeKey(key crypto.Signer, format string) ([]byte, error) {
	if format == PKCS8 {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return PEM("PRIVATE KEY", der), err
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return PEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k)), nil
	case *ecdsa.PrivateKey:
		der, err := x509.MarshalECPrivateKey(k)
		return PEM("EC PRIVATE KEY", der), err
	}
	return nil, fmt.Errorf("a key of this type cannot be written in the format %s", format)
}

// FormatOf is the format that a text is written in.
func FormatOf(text []byte) string {
	b, _ := pem.Decode(text)
	switch {
	case b == nil:
		return Raw
	case b.Type == "PRIVATE KEY", b.Type == "ENCRYPTED PRIVATE KEY":
		return PKCS8
	}
	return PKCS1
}

// ParseKey reads a private key; ErrLocked if it needs a passphrase.
func ParseKey(text []byte) (crypto.Signer, error) {
	b, err := block(text, "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	if b.Type == "ENCRYPTED PRIVATE KEY" || b.Headers["Proc-Type"] == "4,ENCRYPTED" {
		return nil, ErrLocked
	}
	var key any
	switch b.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(b.Bytes)
	default:
		key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
	}
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T cannot sign", key)
	}
	return signer, nil
}

// SamePublic tells whether two public keys are the same.
func SamePublic(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

// algorithm is the signature algorithm for a key and a digest (md5, sha1, sha256, sha384, sha512).
func algorithm(key crypto.PublicKey, digest string) (x509.SignatureAlgorithm, error) {
	if _, ok := key.(ed25519.PublicKey); ok {
		return x509.PureEd25519, nil
	}
	ofRSA := map[string]x509.SignatureAlgorithm{"sha1": x509.SHA1WithRSA, "sha256": x509.SHA256WithRSA, "sha384": x509.SHA384WithRSA, "sha512": x509.SHA512WithRSA}
	ofECC := map[string]x509.SignatureAlgorithm{"sha1": x509.ECDSAWithSHA1, "sha256": x509.ECDSAWithSHA256, "sha384": x509.ECDSAWithSHA384, "sha512": x509.ECDSAWithSHA512}
	table := ofRSA
	if _, ok := key.(*ecdsa.PublicKey); ok {
		table = ofECC
	}
	a, ok := table[digest]
	if !ok {
		return 0, fmt.Errorf("the digest %s is not supported; use sha256, sha384, sha512 or sha1", digest)
	}
	return a, nil
}

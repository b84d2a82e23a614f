package pki

import (
	"crypto"
	"crypto/sha1" //nolint:gosec // RFC 5280 makes key identifiers of it
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

var (
	oidSubjectKeyID     = asn1.ObjectIdentifier{2, 5, 29, 14}
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidAltNames         = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidAuthorityKeyID   = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidExtKeyUsage      = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidTLSFeature       = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}
)

// Extensions are what a request asks for besides its subject. Empty lists ask for nothing.
type Extensions struct {
	AltNames                 []string // DNS:a, IP:10.0.0.1, ...
	AltNamesCritical         bool
	KeyUsage                 []string // digitalSignature or Digital Signature, ...
	KeyUsageCritical         bool
	ExtKeyUsage              []string // serverAuth, clientAuth, ...
	ExtKeyUsageCritical      bool
	BasicConstraints         []string // CA:TRUE, pathlen:0
	BasicConstraintsCritical bool
	MustStaple               bool
	MustStapleCritical       bool
	SubjectKeyID             bool // of the key
}

// usages are the bits of the key usage, with the two names of each.
var usages = [][2]string{
	{"Digital Signature", "digitalSignature"}, {"Non Repudiation", "nonRepudiation"}, {"Key Encipherment", "keyEncipherment"},
	{"Data Encipherment", "dataEncipherment"}, {"Key Agreement", "keyAgreement"}, {"Certificate Sign", "keyCertSign"},
	{"CRL Sign", "cRLSign"}, {"Encipher Only", "encipherOnly"}, {"Decipher Only", "decipherOnly"},
}

// encode gives the extensions in the order in which they are written.
func (e Extensions) encode(public crypto.PublicKey) ([]pkix.Extension, error) {
	var out []pkix.Extension
	add := func(wanted bool, id asn1.ObjectIdentifier, critical bool, value func() ([]byte, error)) error {
		if !wanted {
			return nil
		}
		der, err := value()
		out = append(out, pkix.Extension{Id: id, Critical: critical, Value: der})
		return err
	}
	for _, err := range []error{
		add(len(e.AltNames) > 0, oidAltNames, e.AltNamesCritical, e.encodeAltNames),
		add(len(e.KeyUsage) > 0, oidKeyUsage, e.KeyUsageCritical, e.encodeKeyUsage),
		add(len(e.ExtKeyUsage) > 0, oidExtKeyUsage, e.ExtKeyUsageCritical, e.encodeExtKeyUsage),
		add(len(e.BasicConstraints) > 0, oidBasicConstraints, e.BasicConstraintsCritical, e.encodeBasicConstraints),
		add(e.MustStaple, oidTLSFeature, e.MustStapleCritical, func() ([]byte, error) { return asn1.Marshal([]int{5}) }), // status_request
		add(e.SubjectKeyID, oidSubjectKeyID, false, func() ([]byte, error) { return encodeKeyID(public) }),
	} {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (e Extensions) encodeAltNames() ([]byte, error) {
	var names []asn1.RawValue
	for _, n := range e.AltNames {
		v, err := encodeGeneral(n)
		if err != nil {
			return nil, err
		}
		names = append(names, v)
	}
	return asn1.Marshal(names)
}

func (e Extensions) encodeKeyUsage() ([]byte, error) {
	var set [2]byte
	length := 0
	for _, name := range e.KeyUsage {
		i := slices.IndexFunc(usages, func(u [2]string) bool { return u[0] == name || u[1] == name })
		if i < 0 {
			return nil, fmt.Errorf("the key usage %q is unknown", name)
		}
		set[i/8] |= bits.Reverse8(1 << (i % 8))
		length = max(length, i+1)
	}
	return asn1.Marshal(asn1.BitString{Bytes: set[:(length+7)/8], BitLength: length})
}

func (e Extensions) encodeExtKeyUsage() ([]byte, error) {
	var oids []asn1.ObjectIdentifier
	for _, name := range e.ExtKeyUsage {
		oid, err := object(name)
		if err != nil {
			return nil, err
		}
		oids = append(oids, oid)
	}
	return asn1.Marshal(oids)
}

// constraints is BasicConstraints of RFC 5280; -1 for no length.
type constraints struct {
	CA     bool `asn1:"optional"`
	Length int  `asn1:"optional,default:-1"`
}

func (e Extensions) encodeBasicConstraints() ([]byte, error) {
	c := constraints{Length: -1}
	for _, text := range e.BasicConstraints {
		length, isLength := strings.CutPrefix(text, "pathlen:")
		n, err := strconv.Atoi(length)
		switch {
		case text == "CA:TRUE":
			c.CA = true
		case text == "CA:FALSE":
			c.CA = false
		case isLength && err == nil && n >= 0:
			c.Length = n
		default:
			return nil, fmt.Errorf("the basic constraint %q is unknown; use CA:TRUE, CA:FALSE or pathlen:0", text)
		}
	}
	if c.Length >= 0 && !c.CA {
		return nil, fmt.Errorf("the basic constraint pathlen:%d needs CA:TRUE", c.Length)
	}
	return asn1.Marshal(c)
}

// keyID is the SHA-1 of the key's bits.
func keyID(public crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, err
	}
	sum := sha1.Sum(info.Key.RightAlign()) //nolint:gosec // RFC 5280, 4.2.1.2
	return sum[:], nil
}

func encodeKeyID(public crypto.PublicKey) ([]byte, error) {
	id, err := keyID(public)
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(id)
}

// authorityKeyID is the extension that names the key that signs.
type authorityKeyID struct {
	ID     []byte        `asn1:"optional,tag:0"`
	Issuer asn1.RawValue `asn1:"optional,tag:1"`
	Serial asn1.RawValue `asn1:"optional,tag:2"`
}

func encodeAuthorityKeyID(ca *x509.Certificate) ([]byte, error) {
	id := ca.SubjectKeyId
	if len(id) == 0 {
		var err error
		if id, err = keyID(ca.PublicKey); err != nil {
			return nil, err
		}
	}
	return asn1.Marshal(struct {
		ID []byte `asn1:"tag:0"`
	}{id})
}

func find(list []pkix.Extension, id asn1.ObjectIdentifier) *pkix.Extension {
	for i := range list {
		if list[i].Id.Equal(id) {
			return &list[i]
		}
	}
	return nil
}

func without(list []pkix.Extension, id asn1.ObjectIdentifier) []pkix.Extension {
	return slices.DeleteFunc(slices.Clone(list), func(e pkix.Extension) bool { return e.Id.Equal(id) })
}

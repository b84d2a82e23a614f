package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/md5" //nolint:gosec // a fingerprint that Ansible's modules return
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // likewise
	"crypto/sha256"
	"crypto/sha3"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/blake2b"
	"golang.org/x/crypto/blake2s"
)

// Fingerprints are the hashes of some bytes, by the names of Python's hashlib, as ab:cd:...
func Fingerprints(der []byte) map[string]any {
	sums := map[string][]byte{}
	put := func(name string, sum []byte) { sums[name] = sum }
	m, s := md5.Sum(der), sha1.Sum(der) //nolint:gosec // not for security
	put("md5", m[:])
	put("sha1", s[:])
	s224, s256, s384, s512 := sha256.Sum224(der), sha256.Sum256(der), sha512.Sum384(der), sha512.Sum512(der)
	put("sha224", s224[:])
	put("sha256", s256[:])
	put("sha384", s384[:])
	put("sha512", s512[:])
	t224, t256, t384, t512 := sha3.Sum224(der), sha3.Sum256(der), sha3.Sum384(der), sha3.Sum512(der)
	put("sha3_224", t224[:])
	put("sha3_256", t256[:])
	put("sha3_384", t384[:])
	put("sha3_512", t512[:])
	put("shake_128", sha3.SumSHAKE128(der, 32))
	put("shake_256", sha3.SumSHAKE256(der, 32))
	b, bs := blake2b.Sum512(der), blake2s.Sum256(der)
	put("blake2b", b[:])
	put("blake2s", bs[:])
	out := make(map[string]any, len(sums))
	for name, sum := range sums {
		out[name] = colons(sum)
	}
	return out
}

// colons is ab:cd:ef.
func colons(b []byte) string {
	parts := make([]string, len(b))
	for i := range b {
		parts[i] = hex.EncodeToString(b[i : i+1])
	}
	return strings.Join(parts, ":")
}

// number carries an integer of any size through JSON.
func number(n *big.Int) json.Number { return json.Number(n.String()) }

// PublicKey describes a public key: its type, its data under Ansible's names, its PEM text and its fingerprints.
func PublicKey(key crypto.PublicKey) (kind string, data map[string]any, text string, prints map[string]any, err error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", nil, "", nil, err
	}
	data = map[string]any{}
	switch k := key.(type) {
	case *rsa.PublicKey:
		kind = "RSA"
		data["size"], data["modulus"], data["exponent"] = k.N.BitLen(), number(k.N), k.E
	case *ecdsa.PublicKey:
		kind = "ECC"
		for name, c := range curves {
			if c == k.Curve {
				data["curve"] = name
			}
		}
		point, err := k.Bytes() // 4, x, y
		if err != nil {
			return "", nil, "", nil, err
		}
		half := (len(point) - 1) / 2
		data["x"], data["y"] = number(new(big.Int).SetBytes(point[1:1+half])), number(new(big.Int).SetBytes(point[1+half:]))
		data["exponent_size"] = k.Curve.Params().BitSize
	case ed25519.PublicKey:
		kind = "Ed25519"
	default:
		kind = fmt.Sprintf("unknown (%T)", key)
	}
	return kind, data, string(PEM("PUBLIC KEY", der)), Fingerprints(der), nil
}

// Describe is what is known of a certificate at a moment, under the names of Ansible's x509_certificate_info.
func Describe(c *x509.Certificate, now time.Time) (map[string]any, error) {
	kind, data, text, prints, err := PublicKey(c.PublicKey)
	if err != nil {
		return nil, err
	}
	out := map[string]any{
		"signature_algorithm": signatureName(c.Raw), "version": c.Version, "serial_number": number(c.SerialNumber),
		"not_before": Stamp(c.NotBefore), "not_after": Stamp(c.NotAfter), "expired": c.NotAfter.Before(now),
		"public_key": text, "public_key_type": kind, "public_key_data": data, "public_key_fingerprints": prints,
		"fingerprints": Fingerprints(c.Raw), "ocsp_uri": first(c.OCSPServer), "issuer_uri": first(c.IssuingCertificateURL),
	}
	out["subject"], out["subject_ordered"] = named(decodeSubject(c.RawSubject))
	out["issuer"], out["issuer_ordered"] = named(decodeSubject(c.RawIssuer))
	describeExtensions(out, c)
	return out, nil
}

func first(list []string) any {
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

// named is a subject as a map, where the last of a name wins, and as a list of pairs.
func named(subject []Attribute) (map[string]any, []any) {
	byName, list := map[string]any{}, []any{}
	for _, a := range subject {
		byName[a.Name] = a.Value
		list = append(list, []any{a.Name, a.Value})
	}
	return byName, list
}

// signatureName is the name of the algorithm that a certificate says it is signed with.
func signatureName(der []byte) string {
	var c struct {
		TBS       asn1.RawValue
		Algorithm struct {
			ID         asn1.ObjectIdentifier
			Parameters asn1.RawValue `asn1:"optional"`
		}
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &c); err != nil {
		return "unknown"
	}
	return objectName(c.Algorithm.ID)
}

func describeExtensions(out map[string]any, c *x509.Certificate) {
	for _, of := range []struct {
		name string
		id   asn1.ObjectIdentifier
		list func([]byte) any
	}{
		{"key_usage", oidKeyUsage, describeKeyUsage}, {"extended_key_usage", oidExtKeyUsage, describeExtKeyUsage},
		{"basic_constraints", oidBasicConstraints, describeConstraints}, {"ocsp_must_staple", oidTLSFeature, describeFeature},
		{"subject_alt_name", oidAltNames, describeAltNames},
	} {
		out[of.name], out[of.name+"_critical"] = nil, false
		if e := find(c.Extensions, of.id); e != nil {
			out[of.name], out[of.name+"_critical"] = of.list(e.Value), e.Critical
		}
	}
	out["subject_key_identifier"] = keyIDText(c.SubjectKeyId)
	out["authority_key_identifier"] = keyIDText(c.AuthorityKeyId)
	out["authority_cert_issuer"], out["authority_cert_serial_number"] = describeAuthority(c)
	all := map[string]any{}
	for _, e := range c.Extensions {
		all[e.Id.String()] = map[string]any{"critical": e.Critical, "value": base64.StdEncoding.EncodeToString(e.Value)}
	}
	out["extensions_by_oid"] = all
}

func keyIDText(id []byte) any {
	if len(id) == 0 {
		return nil
	}
	return colons(id)
}

func describeAuthority(c *x509.Certificate) (issuer, serial any) {
	var a authorityKeyID
	e := find(c.Extensions, oidAuthorityKeyID)
	if e == nil {
		return nil, nil
	}
	if _, err := asn1.Unmarshal(e.Value, &a); err != nil {
		return nil, nil
	}
	if len(a.Issuer.Bytes) > 0 {
		issuer = describeAltNames(append([]byte{0x30}, a.Issuer.FullBytes[1:]...))
	}
	if len(a.Serial.Bytes) > 0 {
		serial = number(new(big.Int).SetBytes(a.Serial.Bytes))
	}
	return issuer, serial
}

func describeKeyUsage(der []byte) any {
	var set asn1.BitString
	if _, err := asn1.Unmarshal(der, &set); err != nil {
		return nil
	}
	out := []string{}
	for i, u := range usages {
		if set.At(i) == 1 && (i < 7 || set.At(4) == 1) { // encipher and decipher only mean something with key agreement
			out = append(out, u[0])
		}
	}
	slices.Sort(out)
	return out
}

func describeExtKeyUsage(der []byte) any {
	list, err := decodeExtKeyUsage(der)
	if err != nil {
		return nil
	}
	slices.Sort(list)
	return list
}

func describeConstraints(der []byte) any {
	var c constraints
	if _, err := asn1.Unmarshal(der, &c); err != nil {
		return nil
	}
	out := []string{"CA:" + strings.ToUpper(fmt.Sprint(c.CA))}
	if c.Length >= 0 {
		out = append(out, fmt.Sprintf("pathlen:%d", c.Length))
	}
	return out
}

func describeFeature(der []byte) any {
	var features []int
	_, err := asn1.Unmarshal(der, &features)
	return err == nil && slices.Contains(features, 5)
}

func describeAltNames(der []byte) any {
	list, err := decodeGenerals(der)
	if err != nil {
		return nil
	}
	return list
}

// Serial is a certificate's serial number.
func Serial(c *x509.Certificate) json.Number { return number(c.SerialNumber) }

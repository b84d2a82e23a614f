package pki

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Attribute is one part of a subject, such as CN=calico-node.
type Attribute struct{ Name, Value string }

// objects are the object identifiers with their names in OpenSSL's table: the long one, and the short one if it differs.
var objects = map[string][]string{
	"2.5.4.3": {"commonName", "CN"}, "2.5.4.4": {"surname", "SN"}, "2.5.4.5": {"serialNumber"}, "2.5.4.6": {"countryName", "C"},
	"2.5.4.7": {"localityName", "L"}, "2.5.4.8": {"stateOrProvinceName", "ST"}, "2.5.4.9": {"streetAddress", "street"},
	"2.5.4.10": {"organizationName", "O"}, "2.5.4.11": {"organizationalUnitName", "OU"}, "2.5.4.12": {"title"}, "2.5.4.13": {"description"},
	"2.5.4.15": {"businessCategory"}, "2.5.4.17": {"postalCode"}, "2.5.4.20": {"telephoneNumber"}, "2.5.4.41": {"name"},
	"2.5.4.42": {"givenName", "GN"}, "2.5.4.43": {"initials"}, "2.5.4.44": {"generationQualifier"}, "2.5.4.45": {"x500UniqueIdentifier"},
	"2.5.4.46": {"dnQualifier"}, "2.5.4.51": {"houseIdentifier"}, "2.5.4.65": {"pseudonym"}, "2.5.4.97": {"organizationIdentifier"},
	"1.2.840.113549.1.9.1": {"emailAddress"}, "0.9.2342.19200300.100.1.1": {"userId", "UID"}, "0.9.2342.19200300.100.1.25": {"domainComponent", "DC"},
	"1.3.6.1.4.1.311.60.2.1.1": {"jurisdictionLocalityName", "jurisdictionL"}, "1.3.6.1.4.1.311.60.2.1.2": {"jurisdictionStateOrProvinceName", "jurisdictionST"},
	"1.3.6.1.4.1.311.60.2.1.3": {"jurisdictionCountryName", "jurisdictionC"},
	"1.3.6.1.5.5.7.3.1":        {"TLS Web Server Authentication", "serverAuth"}, "1.3.6.1.5.5.7.3.2": {"TLS Web Client Authentication", "clientAuth"},
	"1.3.6.1.5.5.7.3.3": {"Code Signing", "codeSigning"}, "1.3.6.1.5.5.7.3.4": {"E-mail Protection", "emailProtection"},
	"1.3.6.1.5.5.7.3.5": {"IPSec End System", "ipsecEndSystem"}, "1.3.6.1.5.5.7.3.6": {"IPSec Tunnel", "ipsecTunnel"},
	"1.3.6.1.5.5.7.3.7": {"IPSec User", "ipsecUser"}, "1.3.6.1.5.5.7.3.8": {"Time Stamping", "timeStamping"},
	"1.3.6.1.5.5.7.3.9": {"OCSP Signing", "OCSPSigning"}, "1.3.6.1.5.5.7.3.17": {"ipsec Internet Key Exchange", "ipsecIKE"},
	"2.5.29.37.0":           {"Any Extended Key Usage", "anyExtendedKeyUsage"},
	"1.2.840.113549.1.1.4":  {"md5WithRSAEncryption"},
	"1.2.840.113549.1.1.5":  {"sha1WithRSAEncryption"},
	"1.2.840.113549.1.1.11": {"sha256WithRSAEncryption"}, "1.2.840.113549.1.1.12": {"sha384WithRSAEncryption"}, "1.2.840.113549.1.1.13": {"sha512WithRSAEncryption"},
	"1.2.840.10045.4.1": {"ecdsa-with-SHA1"}, "1.2.840.10045.4.3.1": {"ecdsa-with-SHA224"}, "1.2.840.10045.4.3.2": {"ecdsa-with-SHA256"},
	"1.2.840.10045.4.3.3": {"ecdsa-with-SHA384"}, "1.2.840.10045.4.3.4": {"ecdsa-with-SHA512"}, "1.3.101.112": {"ED25519"},
}

var oidOf = func() map[string]string {
	out := map[string]string{"userID": "0.9.2342.19200300.100.1.1"}
	for oid, names := range objects {
		for _, n := range names {
			out[n] = oid
		}
	}
	return out
}()

var dotted = regexp.MustCompile(`^\d+(\.\d+)+$`)

// object is the identifier that a name means.
func object(name string) (asn1.ObjectIdentifier, error) {
	text, ok := oidOf[name]
	if !ok && !dotted.MatchString(name) {
		return nil, fmt.Errorf("no object identifier is known for %q", name)
	}
	if !ok {
		text = name
	}
	var oid asn1.ObjectIdentifier
	for part := range strings.SplitSeq(text, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil, fmt.Errorf("the object identifier %s is too large", text)
		}
		oid = append(oid, n)
	}
	return oid, nil
}

// objectName is the long name of an identifier, or its number.
func objectName(oid asn1.ObjectIdentifier) string {
	if names := objects[oid.String()]; names != nil {
		return names[0]
	}
	return oid.String()
}

// encodeSubject writes a subject in the order given, one attribute a set.
func encodeSubject(subject []Attribute) ([]byte, error) {
	seq := pkix.RDNSequence{}
	for _, a := range subject {
		oid, err := object(a.Name)
		if err != nil {
			return nil, err
		}
		seq = append(seq, pkix.RelativeDistinguishedNameSET{{Type: oid, Value: asn1.RawValue{Tag: stringTag(oid), Bytes: []byte(a.Value)}}})
	}
	return asn1.Marshal(seq)
}

// stringTag is the string type that RFC 5280 asks for: countries and serial numbers are printable, mail and domains are ASCII.
func stringTag(oid asn1.ObjectIdentifier) int {
	switch objectName(oid) {
	case "countryName", "serialNumber", "dnQualifier", "jurisdictionCountryName":
		return asn1.TagPrintableString
	case "emailAddress", "domainComponent":
		return asn1.TagIA5String
	}
	return asn1.TagUTF8String
}

// decodeSubject is a subject under the long names, in its order.
func decodeSubject(raw []byte) []Attribute {
	var seq pkix.RDNSequence
	if _, err := asn1.Unmarshal(raw, &seq); err != nil {
		return nil
	}
	out := []Attribute{}
	for _, set := range seq {
		for _, a := range set {
			out = append(out, Attribute{objectName(a.Type), fmt.Sprint(a.Value)})
		}
	}
	return out
}

// sameSubject compares a wanted subject, whose names may be short, with an encoded one.
func sameSubject(want []Attribute, raw []byte, ordered bool) bool {
	have := decodeSubject(raw)
	long := make([]Attribute, len(want))
	for i, a := range want {
		oid, err := object(a.Name)
		if err != nil {
			return false
		}
		long[i] = Attribute{objectName(oid), a.Value}
	}
	if ordered {
		return slices.Equal(long, have)
	}
	within := func(a, b []Attribute) bool {
		return !slices.ContainsFunc(a, func(x Attribute) bool { return !slices.Contains(b, x) })
	}
	return within(long, have) && within(have, long)
}

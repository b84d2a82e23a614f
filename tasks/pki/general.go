package pki

import (
	"encoding/asn1"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/idna"
)

// The context tags of GeneralName in RFC 5280.
const (
	tagEmail = 1
	tagDNS   = 2
	tagURI   = 6
	tagIP    = 7
	tagRID   = 8
)

// encodeGeneral writes an alternative name such as DNS:a.example.
func encodeGeneral(name string) (asn1.RawValue, error) {
	kind, value, ok := strings.Cut(name, ":")
	if !ok {
		return asn1.RawValue{}, fmt.Errorf("the alternative name %q has no type; write DNS:%s", name, name)
	}
	tag, content, err := 0, []byte(value), error(nil)
	switch kind {
	case "DNS":
		tag = tagDNS
		content, err = asciiDomain(value)
	case "email":
		tag = tagEmail
		user, domain, _ := strings.Cut(value, "@")
		content, err = asciiDomain(domain)
		content = []byte(user + "@" + string(content))
	case "URI":
		tag = tagURI
		_, err = url.Parse(value)
	case "IP":
		tag = tagIP
		var ip netip.Addr
		ip, err = netip.ParseAddr(value)
		content = ip.AsSlice()
	case "RID":
		tag = tagRID
		content, err = encodeOID(value)
	default:
		err = fmt.Errorf("names of type %s are not supported; DNS, IP, email, URI and RID are", kind)
	}
	if err != nil {
		return asn1.RawValue{}, fmt.Errorf("cannot read the alternative name %q: %w", name, err)
	}
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: content}, nil
}

// asciiDomain is a domain name as certificates carry it: punycode, a leading star allowed.
func asciiDomain(name string) ([]byte, error) {
	for _, r := range name {
		if r > 0x7f {
			text, err := idna.Lookup.ToASCII(strings.TrimPrefix(name, "*."))
			if strings.HasPrefix(name, "*.") {
				text = "*." + text
			}
			return []byte(text), err
		}
	}
	return []byte(name), nil
}

func encodeOID(text string) ([]byte, error) {
	oid, err := object(text)
	if err != nil {
		return nil, err
	}
	raw, err := asn1.Marshal(oid)
	if err != nil {
		return nil, err
	}
	var v asn1.RawValue
	_, err = asn1.Unmarshal(raw, &v)
	return v.Bytes, err
}

// decodeGeneral is the alternative name as text.
func decodeGeneral(v asn1.RawValue) string {
	switch v.Tag {
	case tagDNS:
		return "DNS:" + string(v.Bytes)
	case tagEmail:
		return "email:" + string(v.Bytes)
	case tagURI:
		return "URI:" + string(v.Bytes)
	case tagIP:
		if ip, ok := netip.AddrFromSlice(v.Bytes); ok {
			return "IP:" + ip.String()
		}
	case tagRID:
		v.Class, v.Tag = asn1.ClassUniversal, asn1.TagOID
		v.FullBytes = nil
		raw, err := asn1.Marshal(v)
		var oid asn1.ObjectIdentifier
		if err == nil {
			if _, err = asn1.Unmarshal(raw, &oid); err == nil {
				return "RID:" + oid.String()
			}
		}
	}
	return fmt.Sprintf("unknown:%x", v.Bytes)
}

// decodeGenerals reads a SEQUENCE OF GeneralName.
func decodeGenerals(der []byte) ([]string, error) {
	var raw []asn1.RawValue
	if _, err := asn1.Unmarshal(der, &raw); err != nil {
		return nil, err
	}
	out := make([]string, len(raw))
	for i, v := range raw {
		out[i] = decodeGeneral(v)
	}
	return out, nil
}

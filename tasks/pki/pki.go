// Package pki is keys, requests and certificates in the words of Ansible's collection community.crypto: pure functions from PEM texts
// and options to PEM texts and descriptions. It reads and writes no files.
//
//	key.go          private keys: made, read, described
//	name.go         subjects and their object identifiers
//	general.go      alternative names: DNS:a, IP:10.0.0.1, email:a@b, URI:..., RID:...
//	extension.go    the extensions that a request asks for
//	request.go      signing requests
//	certificate.go  certificates: made of a request, compared with it
//	describe.go     what is known of a key or certificate
//	chain.go        from a certificate up to a root
//	when.go         times such as +365d
package pki

import (
	"encoding/pem"
	"fmt"
)

// block finds the first PEM block whose type is one of those.
func block(text []byte, types ...string) (*pem.Block, error) {
	for rest := text; ; {
		var b *pem.Block
		b, rest = pem.Decode(rest)
		if b == nil {
			return nil, fmt.Errorf("it holds no PEM block of type %s", types[0])
		}
		for _, t := range types {
			if b.Type == t {
				return b, nil
			}
		}
	}
}

// PEM is one block of a type.
func PEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

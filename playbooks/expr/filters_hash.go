package expr

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"

	"golang.org/x/crypto/sha3"
)

func addHashFilters(r *registry) {
	r.addFilter("b64encode", "string, encoding='utf-8'", func(a args) any {
		return base64.StdEncoding.EncodeToString([]byte(a.str(0)))
	})
	r.addFilter("b64decode", "string, encoding='utf-8'", func(a args) any { return b64decode(a.str(0)) })
	r.addFilter("hash", "data, hashtype='sha1'", func(a args) any { return hashOf(a.str(1), a.str(0)) })
	r.textFilter("checksum sha1", func(s string) string { return hashOf("sha1", s) })
	r.textFilter("md5", func(s string) string { return hashOf("md5", s) })
	r.addFilter("to_uuid", "string, namespace='361E6D51-FAEC-444A-9079-341386DA8E2E'", func(a args) any { return uuid5(a.str(1), a.str(0)) })
	r.addFilter("password_hash", "password, hashtype='sha512', salt=None, salt_size=None, rounds=None, ident=None", passwordHash)
	r.addFilter("crc32", "value", func(a args) any { return crc32Hex(a.str(0)) })
}

// b64decode takes what Python takes: characters outside the alphabet are skipped.
func b64decode(s string) string {
	clean := strings.Map(func(r rune) rune {
		if r == '+' || r == '/' || r == '=' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return -1
	}, s)
	raw, err := base64.StdEncoding.DecodeString(clean)
	if err != nil {
		fail("cannot decode base64: %w", err)
	}
	return validText(string(raw))
}

var hashes = map[string]func() hash.Hash{
	"md5": md5.New, "sha1": sha1.New, "sha224": sha256.New224, "sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New,
	"sha512_256": sha512.New512_256, "sha512_224": sha512.New512_224,
	"sha3_224": sha3.New224, "sha3_256": sha3.New256, "sha3_384": sha3.New384, "sha3_512": sha3.New512,
}

func hashOf(kind, data string) string {
	make, ok := hashes[kind]
	if !ok {
		fail("unsupported hash type %s", kind)
	}
	h := make()
	h.Write([]byte(data))
	return hex.EncodeToString(h.Sum(nil))
}

func uuid5(namespace, name string) string {
	space, err := hex.DecodeString(strings.ReplaceAll(namespace, "-", ""))
	if err != nil || len(space) != 16 {
		fail("Invalid value '%s' for 'namespace'", namespace)
	}
	sum := sha1.Sum(append(space, name...))
	u := sum[:16]
	u[6] = u[6]&0x0f | 0x50
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

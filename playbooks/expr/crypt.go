package expr

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"hash/crc32"
	"math/big"
	"strconv"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

func crc32Hex(s string) string { return fmt.Sprintf("%x", crc32.ChecksumIEEE([]byte(s))) }

const saltLetters = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// passwordHash makes what /etc/shadow holds. A salt that is not given is random, so the result differs every time.
func passwordHash(a args) any {
	salt := ""
	if !a.nil(2) {
		salt = a.str(2)
	}
	rounds := 0
	if !a.nil(4) {
		rounds = a.int(4)
	}
	switch kind := a.str(1); kind {
	case "sha256", "sha512":
		if salt == "" {
			size := 16
			if !a.nil(3) {
				size = a.int(3)
			}
			salt = randomText(saltLetters, size)
		}
		return shaCrypt(kind, a.str(0), salt, rounds)
	case "blowfish", "bcrypt":
		return bcryptHash(a, rounds)
	default:
		fail("password_hash cannot make a %s hash: it knows sha512, sha256 and blowfish", kind)
	}
	return nil
}

func bcryptHash(a args, rounds int) string {
	if !a.nil(2) {
		fail("password_hash cannot use a given salt for blowfish")
	}
	if rounds == 0 {
		rounds = 12
	}
	out, err := bcrypt.GenerateFromPassword([]byte(a.str(0)), rounds)
	if err != nil {
		fail("cannot hash the password: %w", err)
	}
	ident := "2b"
	if !a.nil(5) {
		ident = a.str(5)
	}
	return strings.Replace(string(out), "$2a$", "$"+ident+"$", 1)
}

func randomText(letters string, n int) string {
	b := make([]byte, n)
	for i := range b {
		k, err := rand.Int(rand.Reader, big.NewInt(int64(len(letters))))
		if err != nil {
			fail("cannot get random numbers: %w", err)
		}
		b[i] = letters[k.Int64()]
	}
	return string(b)
}

// shaScheme is one of the two schemes of "Unix crypt using SHA-256 and SHA-512" (Ulrich Drepper, 2008).
type shaScheme struct {
	id     string
	make   func() hash.Hash
	groups [][3]int // the bytes of the digest in the order in which they are written
	tail   []int
}

var shaSchemes = map[string]shaScheme{
	"sha256": {"5", sha256.New, rotate(10, 3), []int{31, 30}},
	"sha512": {"6", sha512.New, rotate(21, 3), []int{63}},
}

// rotate lists the byte triples of a digest, each turned against the one before.
func rotate(n, by int) [][3]int {
	out := make([][3]int, n)
	for i := range out {
		t := [3]int{i, i + n, i + 2*n}
		shift := i % by
		if n == 21 { // sha512 turns to the left, sha256 to the right
			out[i] = [3]int{t[shift%3], t[(1+shift)%3], t[(2+shift)%3]}
		} else {
			out[i] = [3]int{t[(3-shift)%3], t[(4-shift)%3], t[(5-shift)%3]}
		}
	}
	return out
}

// shaCrypt hashes a password; rounds 0 are the scheme's 5000 written out as Ansible's library does: 656000 for sha512
// and 535000 for sha256 unless told otherwise.
func shaCrypt(kind, password, salt string, rounds int) string {
	s := shaSchemes[kind]
	if rounds == 0 {
		rounds = map[string]int{"sha256": 535000, "sha512": 656000}[kind]
	}
	if len(salt) > 16 {
		fail("the salt must be at most 16 characters")
	}
	prefix := "$" + s.id + "$"
	if rounds != 5000 {
		prefix += "rounds=" + strconv.Itoa(rounds) + "$"
	}
	return prefix + salt + "$" + s.encode(s.digest([]byte(password), []byte(salt), rounds))
}

func (s shaScheme) sum(parts ...[]byte) []byte {
	h := s.make()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// stretched repeats b to n bytes.
func stretched(b []byte, n int) []byte {
	return bytes.Repeat(b, n/len(b)+1)[:n]
}

func (s shaScheme) digest(key, salt []byte, rounds int) []byte {
	alt := s.sum(key, salt, key)
	h := s.make()
	h.Write(key)
	h.Write(salt)
	h.Write(stretched(alt, len(key)))
	for n := len(key); n > 0; n >>= 1 {
		if n&1 != 0 {
			h.Write(alt)
		} else {
			h.Write(key)
		}
	}
	sum := h.Sum(nil)
	p := stretched(s.sum(bytes.Repeat(key, len(key))), len(key))
	q := stretched(s.sum(bytes.Repeat(salt, 16+int(sum[0]))), len(salt))
	for i := range rounds {
		sum = s.round(i, sum, p, q)
	}
	return sum
}

func (s shaScheme) round(i int, sum, p, q []byte) []byte {
	h := s.make()
	first, last := sum, p
	if i%2 != 0 {
		first, last = p, sum
	}
	h.Write(first)
	if i%3 != 0 {
		h.Write(q)
	}
	if i%7 != 0 {
		h.Write(p)
	}
	h.Write(last)
	return h.Sum(nil)
}

func (s shaScheme) encode(d []byte) string {
	var b strings.Builder
	put := func(v, n int) {
		for range n {
			b.WriteByte(saltLetters[v&63])
			v >>= 6
		}
	}
	for _, g := range s.groups {
		put(int(d[g[0]])<<16|int(d[g[1]])<<8|int(d[g[2]]), 4)
	}
	if len(s.tail) == 2 {
		put(int(d[s.tail[0]])<<8|int(d[s.tail[1]]), 3)
	} else {
		put(int(d[s.tail[0]]), 2)
	}
	return b.String()
}

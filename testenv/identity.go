package testenv

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
)

// An identity is a host's private keys for sshd, in OpenSSH's format, by algorithm: ed25519,
// ecdsa and rsa.
type identity map[string]string

func newIdentity() (identity, error) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	id := identity{}
	for algorithm, key := range map[string]crypto.PrivateKey{"ed25519": ed, "ecdsa": ec, "rsa": rs} {
		if id[algorithm], err = encodeKey(key, "host"); err != nil {
			return nil, err
		}
	}
	return id, nil
}

// signers are the keys in the order sshd offers them.
func (id identity) signers() ([]ssh.Signer, error) {
	var all []ssh.Signer
	for _, algorithm := range []string{"ed25519", "ecdsa", "rsa"} {
		s, err := ssh.ParsePrivateKey([]byte(id[algorithm]))
		if err != nil {
			return nil, fmt.Errorf("cannot read the %s host key: %w", algorithm, err)
		}
		all = append(all, s)
	}
	return all, nil
}

// knownHosts are the lines of a known_hosts file that trust these keys at a pattern such as
// "node1,10.0.0.2" or "[127.0.0.1]:2222".
func (id identity) knownHosts(pattern string) (string, error) {
	signers, err := id.signers()
	if err != nil {
		return "", err
	}
	var lines strings.Builder
	for _, s := range signers {
		fmt.Fprintf(&lines, "%s %s", pattern, ssh.MarshalAuthorizedKey(s.PublicKey()))
	}
	return lines.String(), nil
}

func encodeKey(key crypto.PrivateKey, comment string) (string, error) {
	block, err := ssh.MarshalPrivateKey(key, comment)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(block)), nil
}

// writeLoginKey makes the key that opens root, ops and guarded on every host of a lab.
func writeLoginKey(path, comment string) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	text, err := encodeKey(private, comment)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	line, err := ssh.NewPublicKey(public)
	if err != nil {
		return err
	}
	authorized := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(line))) + " " + comment + "\n"
	return os.WriteFile(path+".pub", []byte(authorized), 0o644)
}

// randomHex is n random bytes as text.
func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}

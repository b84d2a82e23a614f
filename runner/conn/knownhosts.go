package conn

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// known is what known_hosts files say about one name. It is our own reader because x/crypto's
// cannot say which key types a host is known by or which lines are authorities, and refuses a
// whole file for one line with a key type it does not know. OpenSSH skips such lines; so does this.
type known struct {
	keys        []knownKey // under the name itself
	portless    []knownKey // under the plain host, when the name has a port: good to accept, never to refuse
	authorities []knownKey
	revoked     []knownKey
}

type knownKey struct {
	ssh.PublicKey
	file string
	line int
}

func (k knownKey) String() string { return fmt.Sprintf("%s (%s:%d)", showKey(k), k.file, k.line) }

// showKey returns a key's type and fingerprint as ssh-keygen -l shows them.
func showKey(k ssh.PublicKey) string {
	return strings.ToUpper(shortType(k)) + " " + ssh.FingerprintSHA256(k)
}

// shortType returns the name that ssh-keyscan -t takes.
func shortType(k ssh.PublicKey) string {
	name := strings.TrimPrefix(strings.TrimPrefix(k.Type(), "sk-"), "ssh-")
	if strings.HasPrefix(name, "ecdsa") {
		return "ecdsa"
	}
	name, _, _ = strings.Cut(name, "-cert-")
	name, _, _ = strings.Cut(name, "@")
	return name
}

// readKnown reads what the files, those that exist, say about name: host or [host]:port.
func readKnown(files []string, name string) (*known, error) {
	k := &known{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("the known hosts cannot be read: %w", err)
		}
		for n, line := range bytes.Split(text, []byte("\n")) {
			k.add(line, name, file, n+1)
		}
	}
	return k, nil
}

// add keeps the line's key if it is about name.
func (k *known) add(line []byte, name, file string, n int) {
	fields := strings.Fields(string(line))
	if len(fields) < 3 || fields[0][0] == '#' {
		return
	}
	marker, hosts := "", fields[0]
	if hosts[0] == '@' {
		marker, hosts = fields[0], fields[1]
	}
	host, port := cutPort(name)
	named := matchKnown(hosts, name)
	portless := !named && port && matchKnown(hosts, host)
	if !named && !portless { // most lines: their keys need no parsing
		return
	}
	_, _, key, _, _, err := ssh.ParseKnownHosts(line)
	if err != nil {
		return
	}
	switch entry := (knownKey{key, file, n}); {
	case marker == "@revoked":
		k.revoked = append(k.revoked, entry)
	case marker == "@cert-authority":
		k.authorities = append(k.authorities, entry)
	case marker != "":
	case named:
		k.keys = append(k.keys, entry)
	default:
		k.portless = append(k.portless, entry)
	}
}

// cutPort returns the host of "[host]:port", and whether name has that form.
func cutPort(name string) (string, bool) {
	if !strings.HasPrefix(name, "[") {
		return name, false
	}
	host, _, err := net.SplitHostPort(name)
	return host, err == nil
}

// matchKnown compares the first field of a line, patterns or a hash, with a name.
func matchKnown(hosts, name string) bool {
	if !strings.HasPrefix(hosts, "|1|") {
		return matchPatterns(strings.Split(strings.ToLower(hosts), ","), strings.ToLower(name))
	}
	salt64, hash64, _ := strings.Cut(hosts[3:], "|")
	salt, err := base64.StdEncoding.DecodeString(salt64)
	if err != nil {
		return false
	}
	hash, err := base64.StdEncoding.DecodeString(hash64)
	mac := hmac.New(sha1.New, salt)
	mac.Write([]byte(name))
	return err == nil && hmac.Equal(mac.Sum(nil), hash)
}

// find returns the index of key among keys, or -1.
func find(keys []knownKey, key ssh.PublicKey) int {
	return slices.IndexFunc(keys, func(k knownKey) bool { return bytes.Equal(k.Marshal(), key.Marshal()) })
}

func contains(keys []knownKey, key ssh.PublicKey) bool { return find(keys, key) >= 0 }

// algorithms returns the host key algorithms to offer, those of known keys first: a server
// shows one key only, and a host known by its ed25519 key must not fail on another one.
// Certificates are asked for only where an authority could vouch for them. Among equals
// ed25519 comes first as in OpenSSH, so that both record the same key of a new host.
func (k *known) algorithms() []string {
	keys := k.keys
	if len(keys) == 0 {
		keys = k.portless
	}
	recorded := func(algorithm string) bool {
		return slices.ContainsFunc(keys, func(key knownKey) bool {
			return key.Type() == algorithm || key.Type() == ssh.KeyAlgoRSA && strings.HasPrefix(algorithm, "rsa-sha2-")
		})
	}
	rank := func(algorithm string) int {
		switch {
		case strings.Contains(algorithm, "-cert-"):
			return 0
		case recorded(algorithm):
			return 1
		case algorithm == ssh.KeyAlgoED25519:
			return 2
		}
		return 3
	}
	offered := slices.DeleteFunc(ssh.SupportedAlgorithms().HostKeys, func(algorithm string) bool {
		return rank(algorithm) == 0 && len(k.authorities) == 0
	})
	slices.SortStableFunc(offered, func(a, b string) int { return rank(a) - rank(b) })
	return offered
}

// checkHostKey is the ssh.HostKeyCallback of a target.
func (t *target) checkHostKey(_ string, _ net.Addr, key ssh.PublicKey) error {
	k, err := readKnown(t.knownFiles, t.knownName)
	if err != nil {
		return t.hostKeyError(err.Error(), "")
	}
	if cert, ok := key.(*ssh.Certificate); ok {
		return t.checkHostCert(k, cert)
	}
	switch at := find(k.revoked, key); {
	case at >= 0:
		return t.hostKeyError("its host key is marked @revoked: "+k.revoked[at].String(), "")
	case t.policy == Off, contains(k.keys, key):
		return nil
	case len(k.keys) > 0:
		return t.changedKey(k, key)
	case contains(k.portless, key):
		return nil
	case t.policy == AcceptNew:
		return t.acceptKey(key)
	}
	return t.unknownKey(key)
}

func (t *target) checkHostCert(k *known, cert *ssh.Certificate) error {
	checker := ssh.CertChecker{
		IsHostAuthority: func(ca ssh.PublicKey, _ string) bool { return contains(k.authorities, ca) },
		IsRevoked: func(c *ssh.Certificate) bool {
			return contains(k.revoked, c.Key) || contains(k.revoked, c.SignatureKey)
		},
	}
	principal, _ := cutPort(t.knownName)
	err := checker.CheckHostKey(net.JoinHostPort(principal, "22"), nil, cert)
	if err == nil || t.policy == Off {
		return nil
	}
	return t.hostKeyError("its host certificate is not valid: "+strings.TrimPrefix(err.Error(), "ssh: "), "")
}

func (t *target) hostKeyError(detail, hint string) error {
	return &Error{Kind: HostKey, Op: "connect to", Host: t.name(), Detail: detail, Hint: hint}
}

func (t *target) unknownKey(key ssh.PublicKey) error {
	files := t.knownFiles
	detail := fmt.Sprintf("its host key is unknown\n  shown:     %s\n  looked up: %s in %s", showKey(key), t.knownName, strings.Join(files, ", "))
	hint := "compare the fingerprint with the host's own (ssh-keygen -lf /etc/ssh/ssh_host_" + shortType(key) + "_key.pub there), then "
	if len(t.jumps) == 0 && t.proxyCommand == "" && len(files) > 0 {
		hint += fmt.Sprintf("record it with\n    ssh-keyscan -t %s -p %d %s >> %s\n  or ", shortType(key), t.port, t.host, files[0])
	}
	return t.hostKeyError(detail, hint+"let calroll record it: --host-key-checking accept-new")
}

func (t *target) changedKey(k *known, key ssh.PublicKey) error {
	var detail strings.Builder
	detail.WriteString("ITS HOST KEY HAS CHANGED. Somebody may be listening in between, or the host was set up anew")
	for _, old := range k.keys {
		fmt.Fprintf(&detail, "\n  known: %s", old)
	}
	fmt.Fprintf(&detail, "\n  shown: %s", showKey(key))
	hint := fmt.Sprintf("only if you know why it changed, remove the old key: ssh-keygen -R %s -f %s", Quote(t.knownName), k.keys[0].file)
	return t.hostKeyError(detail.String(), hint)
}

// recording lets one connection at a time add to a known_hosts file.
var recording sync.Mutex

// acceptKey records a key that nobody has known so far.
func (t *target) acceptKey(key ssh.PublicKey) error {
	recording.Lock()
	defer recording.Unlock()
	if len(t.knownFiles) == 0 {
		return nil
	}
	k, err := readKnown(t.knownFiles, t.knownName) // another connection may have been faster
	if err == nil && len(k.keys) > 0 {
		if contains(k.keys, key) {
			return nil
		}
		return t.changedKey(k, key)
	}
	name := t.knownName
	if t.hashNames {
		name = knownhosts.HashHostname(name)
	}
	line := name + " " + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) + "\n"
	if err := appendLine(t.knownFiles[0], line); err != nil {
		return t.hostKeyError("its new host key cannot be recorded: "+err.Error(), "")
	}
	return nil
}

// appendLine adds a line to file, which it creates for its owner alone, in one write, so
// that other processes which add to the file do not tear it.
func appendLine(file, line string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if end, err := f.Seek(-1, io.SeekEnd); err == nil {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, end); err == nil && last[0] != '\n' {
			line = "\n" + line
		}
	}
	_, err = f.WriteString(line)
	return errors.Join(err, f.Close())
}

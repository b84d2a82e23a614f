package conn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// keyring holds the private keys that were unlocked, by file, so that the user types a
// passphrase once however many hosts want the key.
type keyring struct {
	mu     sync.Mutex // held while asking, so that the user is asked one question at a time
	opened map[string]ssh.Signer
}

// unlock returns the signer of an encrypted key file.
func (k *keyring) unlock(file string, pem []byte, ask func(string) (Secret, error)) (ssh.Signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.opened[file]; s != nil {
		return s, nil
	}
	if ask == nil {
		return nil, fmt.Errorf("the key %s has a passphrase; put it into an ssh-agent (ssh-add) or give the passphrase", file)
	}
	passphrase, err := ask(file)
	if err != nil {
		return nil, fmt.Errorf("the key %s stays locked: %w", file, err)
	}
	s, err := ssh.ParsePrivateKeyWithPassphrase(pem, []byte(passphrase))
	if err != nil {
		return nil, fmt.Errorf("the passphrase does not open the key %s", file)
	}
	if k.opened == nil {
		k.opened = make(map[string]ssh.Signer)
	}
	k.opened[file] = s
	return s, nil
}

// lockedKey is an encrypted key file: its public half is readable, so that the passphrase
// is asked for only once the server has said that it would take the key.
type lockedKey struct {
	public ssh.PublicKey
	open   func() (ssh.Signer, error)
}

func (k *lockedKey) PublicKey() ssh.PublicKey { return k.public }

func (k *lockedKey) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	return k.SignWithAlgorithm(rand, data, "")
}

func (k *lockedKey) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	s, err := k.open()
	if err != nil {
		return nil, err
	}
	if with, ok := s.(ssh.AlgorithmSigner); ok {
		return with.SignWithAlgorithm(rand, data, algorithm)
	}
	return s.Sign(rand, data)
}

// offer is one thing a login may be tried with.
type offer struct {
	method string
	label  string // for the error message
	auth   ssh.AuthMethod
}

// login tries one offer after the other on one connection, and remembers what went wrong.
type login struct {
	t      *target
	keys   *keyring
	pause  func() (resume func()) // stops the connection's clock while the user is asked
	offers []offer
	tried  []string
	notes  []string // trouble with keys, agent, certificates
	agent  net.Conn
	link   *link // that it goes over
}

func newLogin(ctx context.Context, t *target, keys *keyring, pause func() func()) *login {
	l := &login{t: t, keys: keys, pause: pause}
	for _, method := range t.methods {
		switch method {
		case "publickey":
			l.offerKeys(ctx)
		case "password":
			if t.opts.Password != "" {
				l.offers = append(l.offers, offer{method, "password", ssh.Password(string(t.opts.Password))})
			}
		case "keyboard-interactive":
			if t.opts.Password != "" || t.opts.Answer != nil {
				l.offers = append(l.offers, offer{method, "keyboard-interactive", ssh.KeyboardInteractive(l.answer)})
			}
		}
	}
	return l
}

func (l *login) close() {
	if l.agent != nil {
		l.agent.Close()
	}
}

// next is the ssh.ClientAuthCallback: it takes the first offer whose method the server allows now. It is asked too when the link has ended in the middle of
// the offer before: that is no denial.
func (l *login) next(c *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	if err := l.link.ended.Load(); err != nil {
		return nil, *err
	}
	for i, o := range l.offers {
		if slices.Contains(c.AllowedMethods, o.method) {
			l.offers = slices.Delete(l.offers, i, i+1)
			l.tried = append(l.tried, o.label)
			return o.auth, nil
		}
	}
	return nil, &Error{Kind: Denied, Op: "log in to", Host: l.t.name(), Detail: l.denial(c.AllowedMethods), Hint: l.hint(c.AllowedMethods)}
}

func (l *login) denial(allowed []string) string {
	detail := fmt.Sprintf("the server does not let %s in", l.t.user)
	if len(l.tried) == 0 {
		detail += "; there was nothing to try"
	} else {
		detail += "; tried: " + strings.Join(l.tried, ", ")
	}
	detail += "; it takes: " + strings.Join(allowed, ", ")
	for _, note := range l.notes {
		detail += "\n  " + note
	}
	return detail
}

func (l *login) hint(allowed []string) string {
	if len(l.tried) == 0 && slices.Contains(allowed, "publickey") {
		return "name a key (--private-key, ansible_ssh_private_key_file or IdentityFile in ~/.ssh/config) or start an ssh-agent"
	}
	return ""
}

// offerKeys lines up the keys: named files, each preferred in the agent's unlocked form,
// then the agent's other keys, then the usual files.
func (l *login) offerKeys(ctx context.Context) {
	inAgent := l.agentKeys(ctx)
	files := l.fileKeys()
	for i, f := range files {
		if at := slices.IndexFunc(inAgent, func(a namedSigner) bool { return samePublic(a, f) }); at >= 0 {
			files[i].Signer = inAgent[at].Signer
			inAgent = slices.Delete(inAgent, at, at+1)
		}
	}
	if l.t.identitiesOnly {
		inAgent = nil
	}
	order := slices.Concat(files, inAgent)
	if !l.t.namedKeys {
		order = slices.Concat(inAgent, files)
	}
	for _, s := range slices.Concat(l.certificates(order), order) {
		l.offers = append(l.offers, offer{"publickey", s.label, ssh.PublicKeys(s.Signer)})
	}
}

type namedSigner struct {
	ssh.Signer
	label string
	file  string
}

func samePublic(a, b ssh.Signer) bool {
	return bytes.Equal(a.PublicKey().Marshal(), b.PublicKey().Marshal())
}

// agentKeys asks the agent for its keys. An agent that cannot be asked is a note, not an error.
func (l *login) agentKeys(ctx context.Context) []namedSigner {
	if l.t.agent == "" {
		return nil
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", l.t.agent)
	if err != nil {
		l.notes = append(l.notes, fmt.Sprintf("the ssh-agent at %s does not answer: %v", l.t.agent, err))
		return nil
	}
	l.agent = c
	signers, err := agent.NewClient(c).Signers()
	if err != nil {
		l.notes = append(l.notes, fmt.Sprintf("the ssh-agent at %s lists no keys: %v", l.t.agent, err))
	}
	var keys []namedSigner
	for _, s := range signers {
		keys = append(keys, namedSigner{Signer: s, label: "agent key " + ssh.FingerprintSHA256(s.PublicKey())})
	}
	return keys
}

// fileKeys reads the key files. A usual file that is missing is not worth a note.
func (l *login) fileKeys() []namedSigner {
	var keys []namedSigner
	for _, file := range l.t.keyFiles {
		s, err := l.readKey(file)
		switch {
		case err == nil:
			keys = append(keys, namedSigner{s, "key " + file, file})
		case l.t.namedKeys || !errors.Is(err, fs.ErrNotExist):
			l.notes = append(l.notes, err.Error())
		}
	}
	return keys
}

func (l *login) readKey(file string) (ssh.Signer, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the key cannot be read: %w", err)
	}
	if readableByOthers(file) {
		return nil, fmt.Errorf("the key %s is not used because others may read it (chmod 600 %s)", file, file)
	}
	s, err := ssh.ParsePrivateKey(pem)
	var locked *ssh.PassphraseMissingError
	if !errors.As(err, &locked) {
		if err != nil {
			return nil, fmt.Errorf("the key %s is not a private key this program knows: %w", file, err)
		}
		return s, nil
	}
	open := func() (ssh.Signer, error) {
		defer l.pause()()
		s, err := l.keys.unlock(file, pem, l.t.opts.Passphrase)
		if err != nil {
			l.notes = append(l.notes, err.Error())
		}
		return s, err
	}
	public := publicHalf(file, locked)
	if public == nil {
		return nil, fmt.Errorf("the key %s has a passphrase and its public half, %s.pub, is missing", file, file)
	}
	return &lockedKey{public, open}, nil
}

// readableByOthers tells whether a key of ours is open to others; as OpenSSH does, it lets
// keys pass that belong to somebody else, such as mounted secrets.
func readableByOthers(file string) bool {
	info, err := os.Stat(file)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Getuid() && info.Mode().Perm()&0o077 != 0
}

// publicHalf finds the public key of an encrypted file: inside it, or in the .pub beside it.
func publicHalf(file string, locked *ssh.PassphraseMissingError) ssh.PublicKey {
	if locked.PublicKey != nil {
		return locked.PublicKey
	}
	public, err := readPublic(file + ".pub")
	if err != nil {
		return nil
	}
	return public
}

func readPublic(file string) (ssh.PublicKey, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	return key, err
}

// certificates returns signers for the certificates beside the key files and those named
// by CertificateFile, each with the key it belongs to.
func (l *login) certificates(keys []namedSigner) []namedSigner {
	files := slices.Clone(l.t.certFiles)
	for _, key := range keys {
		if key.file != "" {
			files = append(files, key.file+"-cert.pub")
		}
	}
	var certs []namedSigner
	for _, file := range files {
		public, err := readPublic(file)
		if errors.Is(err, fs.ErrNotExist) && !slices.Contains(l.t.certFiles, file) {
			continue
		}
		cert, ok := public.(*ssh.Certificate)
		if err != nil || !ok {
			l.notes = append(l.notes, fmt.Sprintf("%s is not a certificate that can be read", file))
			continue
		}
		for _, key := range keys {
			if s, err := ssh.NewCertSigner(cert, key.Signer); err == nil {
				certs = append(certs, namedSigner{s, "certificate " + file, ""})
				break
			}
		}
	}
	return certs
}

// answer replies to the server's questions: by the caller's function, or with the password
// to each question whose answer is not to be shown.
func (l *login) answer(_, instruction string, questions []string, echo []bool) ([]string, error) {
	if len(questions) == 0 {
		return nil, nil
	}
	if l.t.opts.Answer != nil {
		defer l.pause()()
		return l.t.opts.Answer(instruction, questions, echo)
	}
	answers := make([]string, len(questions))
	for i, shown := range echo {
		if shown {
			return nil, fmt.Errorf("the server asks %q, and there is nobody to answer", strings.TrimSpace(questions[i]))
		}
		answers[i] = string(l.t.opts.Password)
	}
	return answers, nil
}

package conn

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/calroll/calroll/testenv"
)

// addKey makes another key that the server takes.
func (s *sshd) addKey(name, passphrase string) string {
	s.t.Helper()
	file := filepath.Join(s.folder, name)
	s.authorize(string(ssh.MarshalAuthorizedKey(writeKey(s.t, file, passphrase))))
	return file
}

func (s *sshd) authorize(line string) {
	s.t.Helper()
	keys, err := os.ReadFile(filepath.Join(s.folder, "authorized_keys"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("authorized_keys", string(keys)+line)
}

func TestKeys(t *testing.T) {
	server := startSSHD(t)
	for _, args := range [][]string{{"-t", "rsa", "-b", "2048"}, {"-t", "ecdsa"}, {"-t", "rsa", "-b", "2048", "-m", "PEM"}} {
		file := filepath.Join(t.TempDir(), "key")
		run(t, "ssh-keygen", append([]string{"-q", "-N", "", "-f", file}, args...)...)
		public, err := os.ReadFile(file + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		server.authorize(string(public))
		o := server.options()
		stranger := filepath.Join(t.TempDir(), "stranger")
		writeKey(t, stranger, "")
		o.KeyFiles = []string{stranger, file}
		if got := output(t, dial(t, o), "echo in"); got != "in\n" {
			t.Errorf("%v: %q", args, got)
		}
	}
}

func TestEncryptedKey(t *testing.T) {
	server := startSSHD(t)
	o := server.options()
	o.KeyFiles = []string{server.addKey("locked", "open sesame")}
	if text := refusedDial(t, o, Denied); !strings.Contains(text, "has a passphrase") {
		t.Error(text)
	}
	o.Passphrase = func(string) (Secret, error) { return "wrong", nil }
	if text := refusedDial(t, o, Denied); !strings.Contains(text, "does not open the key") || strings.Contains(text, "wrong") {
		t.Error(text)
	}
	o.Passphrase = func(string) (Secret, error) { return "", errors.New("nobody is there") }
	if text := refusedDial(t, o, Denied); !strings.Contains(text, "nobody is there") {
		t.Error(text)
	}
	asked := 0
	o.Passphrase = func(file string) (Secret, error) {
		if asked++; file != o.KeyFiles[0] {
			t.Errorf("asked for %s", file)
		}
		return "open sesame", nil
	}
	var dialer Dialer
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			c, err := dialer.Dial(testContext(t), o)
			if err != nil {
				t.Error(err)
				return
			}
			c.Close()
		})
	}
	all.Wait()
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

// TestKeyNotAsked: the passphrase of a key that the server does not want is nobody's business.
func TestKeyNotAsked(t *testing.T) {
	server := startSSHD(t)
	o := server.options()
	stranger := filepath.Join(t.TempDir(), "stranger")
	writeKey(t, stranger, "secret")
	o.KeyFiles = []string{stranger, server.key()}
	o.Passphrase = func(string) (Secret, error) { t.Error("asked"); return "", nil }
	dial(t, o)
}

func TestUnusableKeys(t *testing.T) {
	server := startSSHD(t)
	o := server.options()
	o.KeyFiles = nil
	t.Setenv("HOME", t.TempDir())
	if text := refusedDial(t, o, Denied); !strings.Contains(text, "nothing to try") || !strings.Contains(text, "--private-key") {
		t.Error(text)
	}
	open := server.addKey("open", "")
	os.Chmod(open, 0o644)
	o.KeyFiles = []string{open, "/nowhere/key", server.write("text", "no key")}
	text := refusedDial(t, o, Denied)
	for _, want := range []string{"chmod 600 " + open, "/nowhere/key", "text is not a private key"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in: %s", want, text)
		}
	}
}

// startAgent serves an agent with the keys, and counts what it signs.
func startAgent(t *testing.T, keys ...string) (socket string) {
	t.Helper()
	ring := agent.NewKeyring()
	for _, file := range keys {
		pem, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		key, err := ssh.ParseRawPrivateKey(pem)
		if err != nil {
			t.Fatal(err)
		}
		if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			t.Fatal(err)
		}
	}
	socket = filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); agent.ServeAgent(ring, c) }()
		}
	}()
	return socket
}

func TestAgent(t *testing.T) {
	server := startSSHD(t)
	o := server.options()
	stranger := filepath.Join(t.TempDir(), "stranger")
	writeKey(t, stranger, "")
	o.KeyFiles, o.AgentSocket = nil, startAgent(t, stranger, server.key())
	dial(t, o)

	o.AgentSocket = ""
	t.Setenv("SSH_AUTH_SOCK", startAgent(t, server.key()))
	dial(t, o)

	// The agent has the key of the locked file open.
	locked := server.addKey("locked", "")
	o.AgentSocket = startAgent(t, locked)
	run(t, "ssh-keygen", "-q", "-p", "-N", "secret", "-f", locked)
	o.KeyFiles = []string{locked}
	dial(t, o)

	o.KeyFiles = []string{stranger}
	if err := o.AddArgs("-o IdentitiesOnly=yes"); err != nil {
		t.Fatal(err)
	}
	refusedDial(t, o, Denied)

	o.AgentSocket = "/nowhere/agent"
	if text := refusedDial(t, o, Denied); !strings.Contains(text, "/nowhere/agent does not answer") {
		t.Error(text)
	}
}

func TestTooManyKeys(t *testing.T) {
	server := startSSHD(t, "MaxAuthTries 2")
	o := server.options()
	o.KeyFiles = nil
	for range 4 {
		stranger := filepath.Join(t.TempDir(), "stranger")
		writeKey(t, stranger, "")
		o.KeyFiles = append(o.KeyFiles, stranger)
	}
	if text := refusedDial(t, o, Denied); !strings.Contains(text, "MaxAuthTries") {
		t.Error(text)
	}
}

func TestCertificate(t *testing.T) {
	folder := t.TempDir()
	ca, key := filepath.Join(folder, "ca"), filepath.Join(folder, "key")
	writeKey(t, ca, "")
	writeKey(t, key, "")
	run(t, "ssh-keygen", "-q", "-s", ca, "-I", "test", "-n", me(), key+".pub")
	server := startSSHD(t, "TrustedUserCAKeys "+ca+".pub")
	o := server.options()
	o.KeyFiles = []string{key}
	dial(t, o)

	elsewhere := filepath.Join(t.TempDir(), "cert.pub")
	if err := os.Rename(key+"-cert.pub", elsewhere); err != nil {
		t.Fatal(err)
	}
	refusedDial(t, o, Denied)
	if err := o.AddArgs("-o CertificateFile=" + elsewhere); err != nil {
		t.Fatal(err)
	}
	dial(t, o)
}

func TestPassword(t *testing.T) {
	t.Parallel() // most of the time is PAM's pause after wrong passwords
	lab := testenv.ForTest(t, 1)
	for _, method := range []string{"password", "keyboard-interactive"} {
		o := labOptions(lab, "guarded")
		o.KeyFiles, o.Password = nil, Secret(lab.Password)
		if err := o.AddArgs("-o PreferredAuthentications=" + method); err != nil {
			t.Fatal(err)
		}
		if got := output(t, dial(t, o), "id -un"); got != "guarded\n" {
			t.Errorf("%s: %q", method, got)
		}
		o.Password = "not the password"
		if text := refusedDial(t, o, Denied); !strings.Contains(text, method) || strings.Contains(text, "not the password") {
			t.Error(text)
		}
	}
	o := labOptions(lab, "guarded")
	o.KeyFiles = nil
	o.Answer = func(_ string, questions []string, echo []bool) ([]string, error) {
		if len(questions) != 1 || echo[0] || !strings.Contains(questions[0], "assword") {
			t.Errorf("asked %q", questions)
		}
		return []string{lab.Password}, nil
	}
	dial(t, o)
}

package conn

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/calroll/calroll/testenv/proc"
)

// sshd is a real OpenSSH server for one test, for the user who runs the test.
type sshd struct {
	t       *testing.T
	folder  string // its keys and configuration, and the client's
	port    int
	config  []string
	process *exec.Cmd
	log     lockedBuffer
}

type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// startSSHD starts a server with the given lines of sshd_config before the usual ones. The
// client's key is logged in with, and known_hosts has the server's ed25519 key.
func startSSHD(t *testing.T, config ...string) *sshd {
	t.Helper()
	s := prepareSSHD(t, config...)
	s.start()
	return s
}

func prepareSSHD(t *testing.T, config ...string) *sshd {
	t.Helper()
	s := &sshd{t: t, folder: t.TempDir(), port: freePort(t), config: config}
	for _, kind := range []string{"ed25519", "ecdsa"} {
		run(t, "ssh-keygen", "-q", "-t", kind, "-N", "", "-f", filepath.Join(s.folder, "host_"+kind))
	}
	public := writeKey(t, s.key(), "")
	s.write("authorized_keys", string(ssh.MarshalAuthorizedKey(public)))
	s.write("known_hosts", s.knownLine("ed25519"))
	return s
}

func (s *sshd) key() string        { return filepath.Join(s.folder, "key") }
func (s *sshd) knownHosts() string { return filepath.Join(s.folder, "known_hosts") }
func (s *sshd) address() string    { return fmt.Sprintf("[127.0.0.1]:%d", s.port) }

func (s *sshd) hostKey(kind string) string {
	text, err := os.ReadFile(filepath.Join(s.folder, "host_"+kind+".pub"))
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

func (s *sshd) knownLine(kind string) string { return s.address() + " " + s.hostKey(kind) + "\n" }

func (s *sshd) write(name, content string) string {
	file := filepath.Join(s.folder, name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return file
}

// start runs the server until the test ends, and waits until it listens.
func (s *sshd) start() {
	s.t.Helper()
	program, err := exec.LookPath("sshd")
	if err != nil {
		program = "/usr/sbin/sshd"
	}
	if _, err := os.Stat(program); err != nil {
		s.t.Fatal("these tests need OpenSSH's server: apt-get install openssh-server")
	}
	os.MkdirAll("/run/sshd", 0o755) // sshd insists on it; the service makes it at boot
	lines := append(slices.Clone(s.config),
		"ListenAddress 127.0.0.1:"+strconv.Itoa(s.port), "PidFile none", "StrictModes no", "PermitRootLogin yes", "UsePAM no",
		"PasswordAuthentication no", "KbdInteractiveAuthentication no", "SetEnv HOME="+s.folder, // without the rc files of whoever runs the test
		"HostKey "+filepath.Join(s.folder, "host_ed25519"), "HostKey "+filepath.Join(s.folder, "host_ecdsa"),
		"AuthorizedKeysFile "+filepath.Join(s.folder, "authorized_keys"), "MaxStartups 100", "LogLevel VERBOSE")
	if !strings.Contains(strings.Join(s.config, "\n"), "Subsystem") {
		lines = append(lines, "Subsystem sftp "+sftpServer(s.t))
	}
	s.write("sshd_config", strings.Join(lines, "\n")+"\n")
	s.process = exec.Command(program, "-D", "-e", "-f", filepath.Join(s.folder, "sshd_config"))
	s.process.Stderr = &s.log
	s.process.WaitDelay = time.Second // for sessions that outlive it
	s.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		s.stop()
		if s.t.Failed() {
			s.t.Logf("sshd: %s", s.log.String())
		}
	})
	until(s.t, "sshd listens", func() bool {
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", s.port), time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (s *sshd) stop() {
	s.process.Process.Kill()
	s.process.Wait()
}

// sftpServer finds the sftp program, which distributions keep in different places.
func sftpServer(t *testing.T) string {
	for _, file := range []string{"/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server", "/usr/libexec/sftp-server"} {
		if _, err := os.Stat(file); err == nil {
			return file
		}
	}
	t.Fatal("these tests need OpenSSH's sftp-server: apt-get install openssh-sftp-server")
	return ""
}

// options log in to the server with its key.
func (s *sshd) options() Options {
	return Options{Name: "web1", Host: "127.0.0.1", Port: s.port, User: me(), KeyFiles: []string{s.key()},
		KnownHosts: []string{s.knownHosts()}, AgentSocket: "none", ConfigFile: "none"}
}

func me() string {
	u, err := user.Current()
	if err != nil {
		panic(err)
	}
	return u.Username
}

// dial connects with the options, which must succeed.
func dial(t *testing.T, o Options) Conn {
	t.Helper()
	c, err := new(Dialer).Dial(testContext(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// refusedDial connects with the options, which must fail with the kind of error, and
// returns its text.
func refusedDial(t *testing.T, o Options, kind Kind) string {
	t.Helper()
	c, err := new(Dialer).Dial(testContext(t), o)
	if err == nil {
		c.Close()
		t.Fatal("the connection was made")
	}
	if KindOf(err) != kind {
		t.Fatalf("kind %s instead of %s: %v", KindOf(err), kind, err)
	}
	return err.Error()
}

func freePort(t *testing.T) int {
	ports, err := proc.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return ports[0]
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	text, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, text)
	}
	return string(text)
}

// writeKey makes an ed25519 key file, encrypted if there is a passphrase, and its .pub.
func writeKey(t *testing.T, file, passphrase string) ssh.PublicKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(private, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".pub", ssh.MarshalAuthorizedKey(public), 0o644); err != nil {
		t.Fatal(err)
	}
	return public
}

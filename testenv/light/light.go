// Package light has hosts that cost next to nothing: SSH servers in the test's process, each with an address and a home folder of its own. What they are
// asked to run are real processes of this machine, so a host is real as far as the controller and its helper can tell, but for root's work.
package light

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"
)

// Hosts is a number of light hosts.
type Hosts struct {
	testing.TB
	Dir     string              // for homes, inventory and keys; everybody may enter it
	user    *syscall.Credential // the owner of the homes; nil is this process's
	config  *ssh.ServerConfig
	address []netip.AddrPort

	mu   sync.Mutex // guards what follows
	busy int        // hosts on which something runs
	most int
}

// Start makes hosts, which are gone when the test ends.
func Start(tb testing.TB, hosts int) *Hosts {
	tb.Helper()
	// Not tb.TempDir, which other users may not enter.
	dir, err := os.MkdirTemp("", "calroll-light-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	h := &Hosts{TB: tb, Dir: dir, config: &ssh.ServerConfig{}}
	h.check(os.Chmod(dir, 0o755))
	h.user = h.owner()
	login, server := h.key("id_ed25519"), h.key("host_key")
	h.config.PublicKeyCallback = func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(login.PublicKey().Marshal()) {
			return nil, errors.New("not the key")
		}
		return &ssh.Permissions{}, nil
	}
	h.config.AddHostKey(server)
	for i := range hosts {
		h.serve(i)
	}
	h.describe(server.PublicKey())
	return h
}

func (h *Hosts) check(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// owner is nobody when this process is root: a helper of root's keeps its journal in one place a machine, and each host needs its own.
func (h *Hosts) owner() *syscall.Credential {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("nobody")
	h.check(err)
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	h.check(errors.Join(err1, err2))
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// key makes a key and keeps it in a file.
func (h *Hosts) key(name string) ssh.Signer {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	h.check(err)
	block, err := ssh.MarshalPrivateKey(private, "")
	h.check(err)
	h.check(os.WriteFile(filepath.Join(h.Dir, name), pem.EncodeToMemory(block), 0o600))
	signer, err := ssh.NewSignerFromKey(private)
	h.check(err)
	return signer
}

// Host is the inventory name of the i-th host, from 0.
func Host(i int) string { return fmt.Sprintf("light%03d", i) }

// Home is the folder that the i-th host is.
func (h *Hosts) Home(i int) string { return filepath.Join(h.Dir, Host(i)) }

// Inventory is a file with all hosts, whose variable home is their folder.
func (h *Hosts) Inventory() string { return filepath.Join(h.Dir, "hosts.ini") }

// Most is on how many hosts something ran at the same time since it was last asked, at most: a helper or what starts it.
func (h *Hosts) Most() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	most := h.most
	h.most = h.busy
	return most
}

// Warm gives every host the helper that the first one was sent, as links to the same file.
func (h *Hosts) Warm() {
	h.Helper()
	for i := range h.address[1:] {
		h.check(exec.Command("cp", "-al", filepath.Join(h.Home(0), ".cache"), h.Home(i+1)).Run())
	}
}

// serve starts a host: the i-th address of 127.77.0.0/16, at a free port.
func (h *Hosts) serve(i int) {
	h.check(os.Mkdir(h.Home(i), 0o700))
	if h.user != nil {
		h.check(os.Chown(h.Home(i), int(h.user.Uid), int(h.user.Gid)))
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.77.%d.%d:0", i/250, i%250+1))
	h.check(err)
	h.Cleanup(func() { _ = l.Close() })
	h.address = append(h.address, l.Addr().(*net.TCPAddr).AddrPort())
	s := &server{hosts: h, home: h.Home(i)}
	go func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return // closed
			}
			go s.login(raw)
		}
	}()
}

// describe writes the inventory and the known host keys.
func (h *Hosts) describe(key ssh.PublicKey) {
	var known, inventory strings.Builder
	for i, a := range h.address {
		fmt.Fprintf(&known, "[%s]:%d %s", a.Addr(), a.Port(), ssh.MarshalAuthorizedKey(key))
		fmt.Fprintf(&inventory, "%s ansible_host=%s ansible_port=%d home=%s\n", Host(i), a.Addr(), a.Port(), h.Home(i))
	}
	fmt.Fprintf(&inventory, "[all:vars]\nansible_user=light\nansible_ssh_private_key_file=%s\nansible_ssh_common_args=-o IdentitiesOnly=yes "+
		"-o StrictHostKeyChecking=yes -o UserKnownHostsFile=%s\n", filepath.Join(h.Dir, "id_ed25519"), filepath.Join(h.Dir, "known_hosts"))
	h.check(os.WriteFile(filepath.Join(h.Dir, "known_hosts"), []byte(known.String()), 0o600))
	h.check(os.WriteFile(h.Inventory(), []byte(inventory.String()), 0o600))
}

// server is one host.
type server struct {
	hosts   *Hosts
	home    string
	running int // commands; guarded by the hosts' mu
}

// login is a connection to a host.
func (s *server) login(raw net.Conn) {
	conn, channels, requests, err := ssh.NewServerConn(raw, s.hosts.config)
	if err != nil {
		_ = raw.Close()
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(requests)
	for c := range channels {
		if c.ChannelType() != "session" {
			_ = c.Reject(ssh.UnknownChannelType, "sessions only")
			continue
		}
		ch, requests, err := c.Accept()
		if err != nil {
			return
		}
		go s.session(ch, requests)
	}
}

// session runs one command. There is no sftp, so files come through a shell.
func (s *server) session(ch ssh.Channel, requests <-chan *ssh.Request) {
	defer ch.Close()
	for r := range requests {
		ok := r.Type == "exec"
		if r.WantReply {
			_ = r.Reply(ok, nil)
		}
		if !ok {
			continue
		}
		go ssh.DiscardRequests(requests)
		var exec struct{ Command string }
		if ssh.Unmarshal(r.Payload, &exec) != nil {
			return
		}
		s.count(1)
		code := s.command(ch, exec.Command)
		s.count(-1) // before the controller knows
		_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{code}))
		return
	}
}

// count notes that a command begins or ends.
func (s *server) count(by int) {
	h := s.hosts
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.running == 0 || s.running+by == 0 {
		h.busy += by
	}
	s.running += by
	h.most = max(h.most, h.busy)
}

// command runs a command of a host with the home as its whole world, and gives its exit status.
func (s *server) command(ch ssh.Channel, line string) uint32 {
	cmd := exec.Command("sh", "-c", line)
	cmd.Dir, cmd.Env = s.home, []string{"HOME=" + s.home, "PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: s.hosts.user}
	cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
	in, err := cmd.StdinPipe()
	if err != nil || cmd.Start() != nil {
		return 126
	}
	go func() {
		_, _ = io.Copy(in, ch)
		_ = in.Close()
	}()
	_ = cmd.Wait() // the status says it
	return uint32(cmd.ProcessState.ExitCode())
}

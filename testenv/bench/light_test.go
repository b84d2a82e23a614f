package bench

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
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"
)

// fleet is a number of light hosts: SSH servers in this process, each with an address and a home folder of its own. What they are asked
// to run are real processes of this machine, so a host is real as far as the controller and its helper can tell, but for root's work.
type fleet struct {
	*testing.B
	dir     string
	user    *syscall.Credential // the owner of the homes; nil is this process's
	config  *ssh.ServerConfig
	address []netip.AddrPort
}

func newFleet(b *testing.B, hosts int) *fleet {
	b.Helper()
	// Not b.TempDir, which other users may not enter.
	dir, err := os.MkdirTemp("", "calroll-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	f := &fleet{B: b, dir: dir, config: &ssh.ServerConfig{}}
	f.check(os.Chmod(dir, 0o755))
	f.user = f.owner()
	login, server := f.key("id_ed25519"), f.key("host_key")
	f.config.PublicKeyCallback = func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(login.PublicKey().Marshal()) {
			return nil, errors.New("not the key")
		}
		return &ssh.Permissions{}, nil
	}
	f.config.AddHostKey(server)
	for i := range hosts {
		f.serve(i)
	}
	f.describe(server.PublicKey())
	return f
}

func (f *fleet) check(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// owner is nobody when this process is root: a helper of root's keeps its journal in one place a machine, and 200 hosts need 200.
func (f *fleet) owner() *syscall.Credential {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("nobody")
	f.check(err)
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	f.check(errors.Join(err1, err2))
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// key makes a key and keeps it in a file.
func (f *fleet) key(name string) ssh.Signer {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	f.check(err)
	block, err := ssh.MarshalPrivateKey(private, "")
	f.check(err)
	f.check(os.WriteFile(filepath.Join(f.dir, name), pem.EncodeToMemory(block), 0o600))
	signer, err := ssh.NewSignerFromKey(private)
	f.check(err)
	return signer
}

func hostName(i int) string { return fmt.Sprintf("light%03d", i) }

func (f *fleet) home(i int) string { return filepath.Join(f.dir, hostName(i)) }

// serve starts a host: the i-th address of 127.77.0.0/16, at a free port.
func (f *fleet) serve(i int) {
	f.check(os.Mkdir(f.home(i), 0o700))
	if f.user != nil {
		f.check(os.Chown(f.home(i), int(f.user.Uid), int(f.user.Gid)))
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.77.%d.%d:0", i/250, i%250+1))
	f.check(err)
	f.Cleanup(func() { _ = l.Close() })
	f.address = append(f.address, l.Addr().(*net.TCPAddr).AddrPort())
	go func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return // closed
			}
			go f.login(raw, f.home(i))
		}
	}()
}

// describe writes the inventory and the known host keys.
func (f *fleet) describe(key ssh.PublicKey) {
	var known, inventory strings.Builder
	for i, a := range f.address {
		fmt.Fprintf(&known, "[%s]:%d %s", a.Addr(), a.Port(), ssh.MarshalAuthorizedKey(key))
		fmt.Fprintf(&inventory, "%s ansible_host=%s ansible_port=%d home=%s\n", hostName(i), a.Addr(), a.Port(), f.home(i))
	}
	fmt.Fprintf(&inventory, "[all:vars]\nansible_user=bench\nansible_ssh_private_key_file=%s\nansible_ssh_common_args=-o IdentitiesOnly=yes "+
		"-o StrictHostKeyChecking=yes -o UserKnownHostsFile=%s\n", filepath.Join(f.dir, "id_ed25519"), filepath.Join(f.dir, "known_hosts"))
	f.check(os.WriteFile(filepath.Join(f.dir, "known_hosts"), []byte(known.String()), 0o600))
	f.check(os.WriteFile(filepath.Join(f.dir, "hosts.ini"), []byte(inventory.String()), 0o600))
}

// warm gives every host the helper that the first one was sent, as links to the same file.
func (f *fleet) warm() {
	f.Helper()
	for i := range f.address[1:] {
		f.check(exec.Command("cp", "-al", filepath.Join(f.home(0), ".cache"), f.home(i+1)).Run())
	}
}

// login is a connection to a host.
func (f *fleet) login(raw net.Conn, home string) {
	conn, channels, requests, err := ssh.NewServerConn(raw, f.config)
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
		go f.session(ch, requests, home)
	}
}

// session runs one command. There is no sftp, so files come through a shell.
func (f *fleet) session(ch ssh.Channel, requests <-chan *ssh.Request, home string) {
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
		_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{f.command(ch, exec.Command, home)}))
		return
	}
}

// command runs a command of a host with the home as its whole world, and gives its exit status.
func (f *fleet) command(ch ssh.Channel, line, home string) uint32 {
	cmd := exec.Command("sh", "-c", line)
	cmd.Dir, cmd.Env = home, []string{"HOME=" + home, "PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: f.user}
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

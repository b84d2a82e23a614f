package conn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/calroll/calroll/testenv"
)

func TestSSH(t *testing.T) {
	t.Parallel()
	server := startSSHD(t)
	testConn(t, func(t *testing.T) Conn { return dial(t, server.options()) })
}

// startChattySSHD starts a server whose login shell prints before it runs anything.
func startChattySSHD(t *testing.T) *sshd {
	s := prepareSSHD(t)
	s.write(".bashrc", "echo Welcome, dear user:; echo more >&2; printf half\n")
	s.start()
	if p := start(t, dial(t, s.options()), "true"); true {
		p.Wait()
		if p.Stderr() == "" {
			t.Fatal("the shell is not chatty: is it bash?")
		}
	}
	return s
}

// TestSSHOddServers runs the whole contract on servers that make life hard.
func TestSSHOddServers(t *testing.T) {
	t.Parallel()
	jump := startSSHD(t)
	for name, server := range map[string]*sshd{
		"chatty login shell": startChattySSHD(t),
		"no sftp":            startSSHD(t, "Subsystem sftp /nowhere/sftp-server"),
		"banner":             startSSHD(t, "Banner "+writeBanner(t)),
	} {
		t.Run(name, func(t *testing.T) {
			testConn(t, func(t *testing.T) Conn { return dial(t, server.options()) })
		})
	}
	t.Run("jump host", func(t *testing.T) {
		server := startSSHD(t)
		testConn(t, func(t *testing.T) Conn { return dial(t, throughJump(t, server, jump)) })
	})
}

func writeBanner(t *testing.T) string {
	file := filepath.Join(t.TempDir(), "banner")
	if err := os.WriteFile(file, bytes.Repeat([]byte("Authorised use only.\n"), 200), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestSSHOneSession: a server that gives one session at a time is enough.
func TestSSHOneSession(t *testing.T) {
	server := startSSHD(t, "MaxSessions 1")
	c := dial(t, server.options())
	for range 5 {
		testPut(t, c)
		testEcho(t, c)
	}
	first := start(t, c, "cat")
	for what, err := range map[string]error{
		"Start": second(c.Start(testContext(t), "true")),
		"Put":   c.Put(testContext(t), filepath.Join(t.TempDir(), "x"), 0o600, strings.NewReader("")),
	} {
		if !errors.Is(err, ErrNoSession) || KindOf(err) != Failed || !strings.Contains(err.Error(), "MaxSessions") {
			t.Errorf("%s beside another session: %v", what, err)
		}
	}
	first.Kill()
	first.Wait()
	testEcho(t, c)
}

func second[T any](_ T, err error) error { return err }

// TestSSHLockedAccount: what the server says instead of running the command is not lost.
func TestSSHLockedAccount(t *testing.T) {
	server := startSSHD(t, "ForceCommand echo closed for today; exit 1")
	p := start(t, dial(t, server.options()), "echo never")
	text, err := io.ReadAll(p)
	if exit, waitErr := p.Wait(); string(text) != "closed for today\n" || err != nil || exit != 1 || waitErr != nil {
		t.Errorf("%q, %v, exit status %d, %v", text, err, exit, waitErr)
	}
}

// relayed returns a relay to the server and options that go through it.
func relayed(t *testing.T, server *sshd) (*testenv.Relay, Options) {
	t.Helper()
	r, err := testenv.OpenRelay(fmt.Sprintf("127.0.0.1:%d", server.port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	o := server.options()
	host, port, _ := net.SplitHostPort(r.Addr())
	fmt.Sscan(port, &o.Port)
	o.Host, o.HostKeyAlias = host, "web"
	o.KnownHosts = []string{server.write("known_relay", "web "+server.hostKey("ed25519")+"\n")}
	return r, o
}

// checkLost fails unless everything on the connection says that it is lost.
func checkLost(t *testing.T, c Conn, p Process, reason string) {
	t.Helper()
	_, readErr := io.ReadAll(p)
	_, waitErr := p.Wait()
	_, writeErr := p.Write([]byte("x"))
	for what, err := range map[string]error{
		"Read": readErr, "Wait": waitErr, "Write": writeErr,
		"Start": second(c.Start(testContext(t), "true")),
		"Put":   c.Put(testContext(t), filepath.Join(t.TempDir(), "x"), 0o600, strings.NewReader("")),
		"Dial":  second(c.Dial(testContext(t), "tcp", "127.0.0.1:1")),
	} {
		if err == nil || KindOf(err) != Unreachable || !strings.Contains(err.Error(), reason) || !strings.Contains(err.Error(), "web1") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestSSHFrozenLink(t *testing.T) {
	server := startSSHD(t)
	r, o := relayed(t, server)
	o.Keepalive, o.KeepaliveCount = 500*time.Millisecond, 6
	c := dial(t, o)
	p := start(t, c, "sleep 4; echo on; cat")
	if _, err := io.ReadFull(p, make([]byte, 3)); err != nil { // silence alone is no death
		t.Fatal(err)
	}
	r.Freeze()
	begun := time.Now()
	checkLost(t, c, p, "no sign of life")
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("it took %s to notice", took)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestSSHCutLink(t *testing.T) {
	server := startSSHD(t)
	r, o := relayed(t, server)
	c := dial(t, o)
	p := start(t, c, "cat")
	r.Cut()
	checkLost(t, c, p, "closed the connection")
}

// TestSSHCutDuringLogin: wherever a link ends in the course of a login, the host could not be reached; nobody was turned away.
func TestSSHCutDuringLogin(t *testing.T) {
	server := startSSHD(t)
	r, o := relayed(t, server)
	dial(t, o).Close()
	whole := r.Moved(testenv.FromHost)
	for part := range int64(24) {
		if err := r.Restore(); err != nil {
			t.Fatal(err)
		}
		r.CutAfter(testenv.FromHost, 1+whole*part/24)
		c, err := new(Dialer).Dial(testContext(t), o)
		if err == nil {
			c.Close() // all of the login was through
		} else if KindOf(err) != Unreachable {
			t.Errorf("cut after %d bytes of %d: %v", 1+whole*part/24, whole, err)
		}
	}
}

// TestSSHSlowLink: a link full of data is alive, however long it takes.
func TestSSHSlowLink(t *testing.T) {
	server := startSSHD(t)
	r, o := relayed(t, server)
	o.Keepalive, o.KeepaliveCount = 500*time.Millisecond, 6
	c := dial(t, o)
	r.Throttle(1 << 20)
	if err := c.Put(testContext(t), filepath.Join(t.TempDir(), "file"), 0o600, bytes.NewReader(randomBytes(4<<20))); err != nil {
		t.Error(err)
	}
}

func TestSSHCutDuringPut(t *testing.T) {
	server := startSSHD(t)
	r, o := relayed(t, server)
	c := dial(t, o)
	r.CutAfter(testenv.ToHost, r.Moved(testenv.ToHost)+1<<20)
	file := filepath.Join(t.TempDir(), "file")
	if err := c.Put(testContext(t), file, 0o600, bytes.NewReader(randomBytes(big))); KindOf(err) != Unreachable {
		t.Error(err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("there is half a file")
	}
}

func TestConnectErrors(t *testing.T) {
	server := startSSHD(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	babbler := echoListener(t, "tcp", "127.0.0.1:0")
	port := func(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }
	for name, test := range map[string]struct {
		change func(*Options)
		kind   Kind
		text   string
	}{
		"refused":   {func(o *Options) { o.Port = freePort(t) }, Unreachable, "nothing listens on 127.0.0.1:"},
		"no name":   {func(o *Options) { o.Host = "no-such-host.invalid" }, Unreachable, "no-such-host.invalid"},
		"silent":    {func(o *Options) { o.Port, o.ConnectTimeout = port(silent), 200*time.Millisecond }, Unreachable, "timed out"},
		"not ssh":   {func(o *Options) { o.Port = port(babbler) }, Failed, ""},
		"no host":   {func(o *Options) { o.Host = "" }, Failed, "no host"},
		"no login":  {func(o *Options) { o.User = "nobody" }, Denied, "nobody"},
		"bad jump":  {func(o *Options) { o.ProxyJump = "a:b" }, Failed, "a:b"},
		"no config": {func(o *Options) { o.ConfigFile = "/nowhere/config" }, Failed, "/nowhere/config"},
		"command":   {func(o *Options) { o.ProxyCommand = "echo no way out >&2; false" }, Unreachable, "no way out"},
	} {
		t.Run(name, func(t *testing.T) {
			o := server.options()
			test.change(&o)
			if text := refusedDial(t, o, test.kind); !strings.Contains(text, test.text) {
				t.Error(text)
			} else {
				t.Log(text)
			}
		})
	}
	t.Run("interrupted", func(t *testing.T) {
		o := server.options()
		o.Port = port(silent)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if _, err := new(Dialer).Dial(ctx, o); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestRetries(t *testing.T) {
	server := prepareSSHD(t)
	o := server.options()
	o.Retries, o.Backoff = 3, time.Millisecond
	if text := refusedDial(t, o, Unreachable); !strings.Contains(text, "tried 4 times") {
		t.Error(text)
	}
	o.Retries = 100
	var once sync.Once
	attempts := 0
	dialer := Dialer{Log: func(host, message string) {
		if host != "web1" {
			t.Errorf("%s: %s", host, message)
		}
		attempts++
		once.Do(server.start)
	}}
	c, err := dialer.Dial(testContext(t), o)
	if err != nil || attempts == 0 {
		t.Fatalf("after %d attempts: %v", attempts, err)
	}
	c.Close()

	for name, change := range map[string]func(*Options){
		"wrong key":        func(o *Options) { o.KeyFiles = nil },
		"unknown host key": func(o *Options) { o.KnownHosts = []string{"/dev/null"} },
	} {
		attempts = 0
		wrong := o
		change(&wrong)
		if _, err := dialer.Dial(testContext(t), wrong); err == nil || attempts > 0 {
			t.Errorf("%s was tried again %d times: %v", name, attempts, err)
		}
	}
}

func TestBackoff(t *testing.T) {
	for attempt, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 4: 8 * time.Second, 6: maxBackoff, 100: maxBackoff} {
		for range 100 {
			if got := backoff(time.Second, attempt); got < want/2 || got > want {
				t.Fatalf("attempt %d: %s", attempt, got)
			}
		}
	}
}

// throughJump are options for server that lead through the jump host, each with its own
// key, by way of an ssh_config.
func throughJump(t *testing.T, server, jump *sshd) Options {
	t.Helper()
	config := fmt.Sprintf("Host jump\n HostName 127.0.0.1\n Port %d\n User %s\n IdentityFile %s\n UserKnownHostsFile %s\n",
		jump.port, me(), jump.key(), jump.knownHosts())
	config += fmt.Sprintf("Host web\n HostName 127.0.0.1\n Port %d\n ProxyJump jump\n IdentityFile %s\n UserKnownHostsFile %s\n",
		server.port, server.key(), server.knownHosts())
	return Options{Host: "web", AgentSocket: "none", ConfigFile: server.write("config", config)}
}

func TestJump(t *testing.T) {
	server, first, second := startSSHD(t), startSSHD(t), startSSHD(t)
	o := throughJump(t, server, first)
	var dialer Dialer
	var conns []Conn
	for range 3 {
		c, err := dialer.Dial(testContext(t), o)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	if n := strings.Count(first.log.String(), "Accepted publickey"); n != 1 {
		t.Errorf("%d connections to the jump host for three hosts", n)
	}
	conns[0].Close()
	if got := output(t, conns[1], "echo on"); got != "on\n" {
		t.Error(got)
	}
	conns[1].Close()
	conns[2].Close()
	until(t, "the jump host is left", func() bool { return strings.Contains(first.log.String(), "Connection closed by") })

	// Two hops, given on the command line, the second with a login of its own.
	config, _ := os.ReadFile(o.ConfigFile)
	two := fmt.Sprintf("%s\nHost second\n HostName 127.0.0.1\n IdentityFile %s\n UserKnownHostsFile %s\n", config, second.key(), second.knownHosts())
	o.ConfigFile = server.write("config2", two)
	if err := o.AddArgs(fmt.Sprintf("-o ProxyJump=jump,%s@second:%d", me(), second.port)); err != nil {
		t.Fatal(err)
	}
	testEcho(t, dial(t, o))
	if !strings.Contains(second.log.String(), "Accepted publickey") {
		t.Error("the second hop was left out")
	}

	// Each hop's key is verified.
	os.WriteFile(second.knownHosts(), []byte(second.address()+" "+first.hostKey("ed25519")+"\n"), 0o600)
	if text := refusedDial(t, o, HostKey); !strings.Contains(text, "connect to second") || !strings.Contains(text, "CHANGED") {
		t.Error(text)
	}
}

func TestJumpErrors(t *testing.T) {
	server, jump := startSSHD(t), startSSHD(t)
	o := throughJump(t, server, jump)
	o.Port = freePort(t)
	if text := refusedDial(t, o, Unreachable); !strings.Contains(text, "the jump host jump cannot connect to 127.0.0.1:") {
		t.Error(text)
	}
	o = throughJump(t, server, startSSHD(t, "AllowTcpForwarding no"))
	if text := refusedDial(t, o, Failed); !strings.Contains(text, "jump does not allow") {
		t.Error(text)
	}
	o.ConfigFile = server.write("loop", "Host *\n ProxyJump jump\n")
	if text := refusedDial(t, o, Failed); !strings.Contains(text, "circle") {
		t.Error(text)
	}
}

// TestJumpLost: when the jump host goes, so do the hosts behind it.
func TestJumpLost(t *testing.T) {
	server, jump := startSSHD(t), startSSHD(t)
	r, _ := relayed(t, jump)
	o := throughJump(t, server, jump)
	o.Name = "web1"
	host, port, _ := net.SplitHostPort(r.Addr())
	o.ConfigFile = server.write("config3", fmt.Sprintf("Host jump\n HostName %s\n Port %s\n HostKeyAlias web\n IdentityFile %s\n UserKnownHostsFile %s\n"+
		"Host web\n HostName 127.0.0.1\n Port %d\n ProxyJump jump\n IdentityFile %s\n UserKnownHostsFile %s\n", host, port, jump.key(),
		filepath.Join(jump.folder, "known_relay"), server.port, server.key(), server.knownHosts()))
	c := dial(t, o)
	p := start(t, c, "cat")
	r.Cut()
	checkLost(t, c, p, "closed the connection")
}

func TestProxyCommand(t *testing.T) {
	server, jump := startSSHD(t), startSSHD(t)
	o := server.options()
	o.ProxyCommand = fmt.Sprintf("ssh -F none -o UserKnownHostsFile=%s -i %s -p %d -W %%h:%%p 127.0.0.1", jump.knownHosts(), jump.key(), jump.port)
	testEcho(t, dial(t, o))
	if !strings.Contains(jump.log.String(), "Accepted publickey") {
		t.Error("the command was not used")
	}
}

// TestChattyAccount: a real account whose .bashrc prints, over external sftp, and as another user.
func TestChattyAccount(t *testing.T) {
	lab := testenv.ForTest(t, 1)
	h := lab.Hosts[0]
	if _, err := h.Sh(testContext(t), "sed -i '1i echo Hello: ; echo there >&2' /home/ops/.bashrc"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Sh(context.Background(), "sed -i 1d /home/ops/.bashrc") })
	c := dial(t, labOptions(lab, "ops"))
	testEcho(t, c)
	if err := c.Put(testContext(t), "/home/ops/file", 0o640, strings.NewReader("content")); err != nil {
		t.Fatal(err)
	}
	if got := output(t, c, "cat file; stat -c %a:%U file"); got != "content640:ops\n" {
		t.Errorf("%q", got)
	}
	for _, b := range []Become{{}, {Method: "su", Password: Secret(lab.Password)}} {
		if got, err := become(t, c, b, "id -un"); got != "root" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// TestPutReasons: what is wrong with the disk is said, by sftp and without.
func TestPutReasons(t *testing.T) {
	lab := testenv.ForTest(t, 1)
	h := lab.Hosts[0]
	if _, err := h.Sh(testContext(t), "mkdir -p /mnt/full /mnt/ro && mount -t tmpfs -o size=1m full /mnt/full && mount -t tmpfs -o ro ro /mnt/ro"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Sh(context.Background(), "umount /mnt/full /mnt/ro") })
	for _, sftp := range []bool{true, false} {
		for _, test := range []struct{ login, file, reason string }{
			{"root", "/mnt/full/file", "o space left on"},
			{"root", "/mnt/ro/file", "ead-only"},
			{"ops", "/root/file", "ermission denied"},
			{"root", "/nowhere/file", ""},
		} {
			c := dial(t, labOptions(lab, test.login))
			c.(*sshConn).noSFTP.Store(!sftp)
			err := c.Put(testContext(t), test.file, 0o600, bytes.NewReader(make([]byte, big)))
			if err == nil || KindOf(err) != Failed || !strings.Contains(err.Error(), test.reason) || !strings.Contains(err.Error(), test.file) {
				t.Errorf("sftp %v, %s: %v", sftp, test.file, err)
			}
		}
		if left, err := h.Sh(testContext(t), "ls -A /mnt/full"); left != "" || err != nil {
			t.Errorf("sftp %v left %q behind, %v", sftp, left, err)
		}
	}
}

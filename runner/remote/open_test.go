package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/calroll/calroll/runner/conn"
	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/testenv"
)

// builtHelper is this package's test program as hosts can run it: static, whatever the tests themselves are built with.
var builtHelper = sync.OnceValues(func() (Helper, error) {
	dir, err := os.MkdirTemp("", "calroll-helper-")
	if err != nil {
		return Helper{}, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "helper")
	cmd := exec.Command("go", "test", "-c", "-trimpath", "-ldflags", "-s -w", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return Helper{}, fmt.Errorf("cannot build the helper: %w\n%s", err, out)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return Helper{}, err
	}
	sum := sha256.Sum256(program)
	return Helper{Platform: "linux/amd64", Hash: hex.EncodeToString(sum[:]), Size: int64(len(program)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(program)), nil }}, nil
})

// site is a lab host with a connection to it.
type site struct {
	t      *testing.T
	lab    *testenv.Lab
	host   *testenv.Host
	helper Helper
	via    string // address of a relay; "" is straight

	pushes, starts, puts atomic.Int64
}

func newSite(t *testing.T) *site {
	t.Helper()
	h, err := builtHelper()
	if err != nil {
		t.Fatal(err)
	}
	lab := testenv.ForTest(t, 1)
	s := &site{t: t, lab: lab, host: lab.Hosts[0], helper: h}
	s.clean()
	t.Cleanup(s.clean)
	return s
}

// clean takes away what helpers left, and what tests did to the folders they use.
func (s *site) clean() {
	s.sh(`for d in /var/cache/calroll /var/tmp/calroll-* /tmp/calroll-* /dev/shm/calroll-* /home/*/.cache/calroll /home/*/.cache /var/cache /var/tmp /dev/shm; do
		while mountpoint -q $d; do umount -l $d; done; done
		rm -rf /var/cache/calroll /var/lib/calroll /var/tmp/calroll-* /tmp/calroll-* /dev/shm/calroll-* /tmp/.calroll-* /var/tmp/.calroll-* /home/*/.cache /home/*/.local/state/calroll
		chmod 755 /var/cache; chmod 1777 /tmp /var/tmp /dev/shm`)
}

// sh runs a script on the host as root, past the connection, and returns what it printed.
func (s *site) sh(script string) string {
	s.t.Helper()
	out, err := s.host.Sh(context.WithoutCancel(s.t.Context()), script)
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func (s *site) dial(user string) conn.Conn {
	s.t.Helper()
	o := conn.Options{Name: s.host.Name, Host: s.host.Address.String(), User: user, KeyFiles: []string{s.lab.KeyFile()},
		HostKeys: conn.Strict, KnownHosts: []string{s.lab.KnownHostsFile()}, ConfigFile: "none"}
	if s.via != "" {
		host, port, _ := strings.Cut(s.via, ":")
		o.Host = host
		_, _ = fmt.Sscan(port, &o.Port)
	}
	c, err := new(conn.Dialer).Dial(s.t.Context(), o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// remote is the host as Open sees it: logged in as user, and becoming somebody else if b is not nil.
func (s *site) remote(c conn.Conn, b *conn.Become) Host {
	login := func(ctx context.Context, cmd string) (Process, error) {
		s.starts.Add(1)
		return c.Start(ctx, cmd)
	}
	h := Host{Name: s.host.Name, Start: login, Login: login, Kind: connKind,
		Put: func(ctx context.Context, path string, mode fs.FileMode, r io.Reader) error {
			s.puts.Add(1)
			return c.Put(ctx, path, mode, r)
		}}
	if b != nil {
		h.Start = func(ctx context.Context, cmd string) (Process, error) {
			s.starts.Add(1)
			return b.Start(ctx, c, cmd)
		}
	}
	return h
}

func connKind(err error) tasks.Kind {
	switch conn.KindOf(err) {
	case conn.Unreachable, conn.HostKey:
		return tasks.Unreachable
	case conn.Denied:
		return tasks.Denied
	}
	return tasks.Failed
}

func (s *site) options() Options {
	return Options{Helpers: Helpers{List: []Helper{s.helper}}, StartTimeout: 30 * time.Second, Pushed: func(Helper) { s.pushes.Add(1) }}
}

func (s *site) open(user string, b *conn.Become) (*Client, error) {
	c, err := Open(s.t.Context(), s.remote(s.dial(user), b), s.options())
	if err == nil {
		s.t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

func (s *site) mustOpen(user string, b *conn.Become) *Client {
	s.t.Helper()
	c, err := s.open(user, b)
	if err != nil {
		s.t.Fatal(err)
	}
	mustRun(s.t, c, one("echo", nil))
	return c
}

// where is the folder that the helper runs from.
func (s *site) where(c *Client) string {
	s.t.Helper()
	exe := s.sh(fmt.Sprintf("readlink /proc/%d/exe", c.Hello().PID))
	dir, ok := strings.CutSuffix(exe, "/"+s.helper.Hash+"/remote-x86_64")
	if !ok {
		s.t.Fatalf("the helper is %s", exe)
	}
	return dir
}

// noStage checks that no upload was left behind.
func (s *site) noStage() {
	s.t.Helper()
	if left := s.sh("ls -d /tmp/.calroll-* /var/tmp/.calroll-* /dev/shm/.calroll-* /home/*/.calroll-* /*/calroll*/*/.new-* 2>/dev/null; true"); left != "" {
		s.t.Errorf("left behind: %s", left)
	}
}

func TestAColdHostIsSentTheHelperOnceAndAWarmOneCostsOneCommand(t *testing.T) {
	s := newSite(t)
	cold := s.mustOpen("root", nil)
	if got := s.where(cold); got != "/var/cache/calroll" {
		t.Errorf("it runs from %s", got)
	}
	if cold.Hello().Build != s.helper.Hash {
		t.Errorf("it says that it is %s", cold.Hello().Build)
	}
	if got := s.sh("stat -c '%U %a' /var/cache/calroll/*/remote-x86_64 /var/cache/calroll | tr '\\n' ' '"); got != "root 700 root 700" {
		t.Errorf("the helper and its folder have %s", got)
	}
	s.noStage()
	_ = cold.Close()
	s.starts.Store(0)
	s.puts.Store(0)
	s.mustOpen("root", nil)
	if s.starts.Load() != 1 || s.puts.Load() != 0 || s.pushes.Load() != 1 {
		t.Errorf("the warm start took %d commands, %d uploads, %d pushes in all", s.starts.Load(), s.puts.Load(), s.pushes.Load())
	}
}

func TestEveryIdentityHasAHelperOfItsOwn(t *testing.T) {
	s := newSite(t)
	s.sh(`printf 'Defaults:ops use_pty, requiretty\n' > /etc/sudoers.d/calroll-test; chmod 440 /etc/sudoers.d/calroll-test`)
	t.Cleanup(func() { s.sh("rm -f /etc/sudoers.d/calroll-test") })
	pw := conn.Secret(s.lab.Password)
	for _, c := range []struct {
		name, user string
		become     *conn.Become
		uid, dir   string
	}{
		{"login user", "ops", nil, "ops", "/home/ops/.cache/calroll"},
		{"sudo, with use_pty and requiretty", "ops", &conn.Become{}, "root", "/var/cache/calroll"},
		{"sudo with a password", "guarded", &conn.Become{Password: pw}, "root", "/var/cache/calroll"},
		{"su with a password", "ops", &conn.Become{Method: "su", Password: pw}, "root", "/var/cache/calroll"},
		{"doas", "ops", &conn.Become{Method: "doas"}, "root", "/var/cache/calroll"},
		{"doas with a password", "guarded", &conn.Become{Method: "doas", Password: pw}, "root", "/var/cache/calroll"},
		{"a user without a home", "ops", &conn.Become{User: "nobody"}, "nobody", "/var/tmp/calroll-65534"},
		{"root down to a user", "root", &conn.Become{User: "guarded"}, "guarded", "/home/guarded/.cache/calroll"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &site{t: t, lab: s.lab, host: s.host, helper: s.helper}
			s.clean()
			for range 2 { // cold and warm
				client := s.mustOpen(c.user, c.become)
				if uid := s.sh("id -u " + c.uid); fmt.Sprint(client.Hello().UID) != uid {
					t.Errorf("it runs as %d, not as %s (%s)", client.Hello().UID, c.uid, uid)
				}
				if got := s.where(client); got != c.dir {
					t.Errorf("it runs from %s, not from %s", got, c.dir)
				}
				_ = client.Close()
			}
			if s.pushes.Load() != 1 {
				t.Errorf("it was sent %d times", s.pushes.Load())
			}
			s.noStage()
		})
	}
}

func TestAWrongBecomePasswordIsDenied(t *testing.T) {
	s := newSite(t)
	_, err := s.open("guarded", &conn.Become{Password: "wrong"})
	if tasks.KindOf(err) != tasks.Denied {
		t.Errorf("got %v", err)
	}
	s.noStage()
}

// TestFoldersThatCannotHoldTheHelper has for each trouble the folder that is used instead, or the words of the error.
func TestFoldersThatCannotHoldTheHelper(t *testing.T) {
	s := newSite(t)
	const tiny = "mount -t tmpfs -o size=64k,mode=%s none %s; "
	room := fmt.Sprintf("size=%dk", s.helper.Size/1024+512) // for one copy
	for _, c := range []struct {
		name, user, trouble string
		dir                 string
		kind                tasks.Kind
		words               []string
	}{
		{name: "a home mounted noexec", user: "ops", dir: "/var/tmp/calroll-",
			trouble: "mkdir -p /home/ops/.cache; mount -t tmpfs -o noexec none /home/ops/.cache; chown ops: /home/ops/.cache; chmod 755 /home/ops/.cache"},
		{name: "a full home", user: "ops", dir: "/var/tmp/calroll-",
			trouble: "mkdir -p /home/ops/.cache; " + fmt.Sprintf(tiny, "755", "/home/ops/.cache") + "chown ops: /home/ops/.cache"},
		{name: "a read-only home", user: "ops", dir: "/var/tmp/calroll-",
			trouble: "mkdir -p /home/ops/.cache; mount -t tmpfs -o ro none /home/ops/.cache"},
		{name: "a cache that others may write", user: "root", dir: "/var/tmp/calroll-0",
			trouble: "mkdir /var/cache/calroll; chmod 777 /var/cache/calroll"},
		{name: "a sticky cache that others may write", user: "root", dir: "/var/tmp/calroll-0",
			trouble: "mkdir /var/cache/calroll; chmod 1777 /var/cache/calroll"},
		{name: "a cache that a group may write", user: "root", dir: "/var/tmp/calroll-0",
			trouble: "mkdir /var/cache/calroll; chgrp ops /var/cache/calroll; chmod 775 /var/cache/calroll"},
		{name: "a cache that an access list lets another user write", user: "root", dir: "/var/tmp/calroll-0",
			trouble: "mkdir /var/cache/calroll; setfacl -m u:ops:rwx /var/cache/calroll"},
		{name: "a cache that root's group may write", user: "root", dir: "/var/cache/calroll",
			trouble: "mkdir /var/cache/calroll; chmod 775 /var/cache/calroll"},
		{name: "a cache of another user", user: "root", dir: "/var/tmp/calroll-0",
			trouble: "mkdir /var/cache/calroll; chown ops /var/cache/calroll"},
		{name: "a folder above that others may write", user: "root", dir: "/var/tmp/calroll-0", trouble: "chmod 777 /var/cache"},
		{name: "a cache that is a symbolic link", user: "root", dir: "/var/tmp/calroll-0",
			trouble: "mkdir /root/elsewhere; ln -s /root/elsewhere /var/cache/calroll"},
		{name: "squatters everywhere", user: "root", kind: tasks.Refused,
			trouble: "for d in /var/cache/calroll /var/tmp/calroll-0 /tmp/calroll-0; do mkdir $d; chown ops $d; done; ln -s /etc /dev/shm/calroll-0",
			words:   []string{"/var/cache/calroll: refused, because /var/cache/calroll belongs to user", "/dev/shm/calroll-0: refused, because it is a symbolic link"}},
		{name: "no room anywhere", user: "root", kind: tasks.Failed,
			trouble: "mkdir -p /var/cache/calroll /tmp/calroll-0; for d in /var/cache/calroll /var/tmp /dev/shm /tmp/calroll-0; do mount -t tmpfs -o size=64k none $d; chmod 755 $d; done",
			words:   []string{"/var/cache/calroll: No space left on device", "/tmp/calroll-0: No space left on device"}},
		{name: "room for the upload only where it is", user: "root", dir: "/dev/shm/calroll-0",
			trouble: "mkdir -p /var/cache/calroll /tmp/calroll-0; for d in /var/cache/calroll /var/tmp /tmp/calroll-0; do mount -t tmpfs -o size=64k none $d; chmod 755 $d; done; mount -t tmpfs -o " + room + ",mode=1777 none /dev/shm"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &site{t: t, lab: s.lab, host: s.host, helper: s.helper}
			s.clean()
			s.sh(c.trouble)
			client, err := s.open(c.user, nil)
			if c.dir == "" {
				if err == nil || tasks.KindOf(err) != c.kind {
					t.Fatalf("got %v", err)
				}
				for _, w := range c.words {
					if !strings.Contains(err.Error(), w) {
						t.Errorf("%q is not in: %v", w, err)
					}
				}
			} else {
				if err != nil {
					t.Fatal(err)
				}
				if got := s.where(client); !strings.HasPrefix(got, c.dir) {
					t.Errorf("it runs from %s, not from %s", got, c.dir)
				}
				mustRun(t, client, one("echo", nil))
				_ = client.Close()
				s.mustOpen(c.user, nil)
				if s.pushes.Load() != 1 {
					t.Errorf("it was sent %d times", s.pushes.Load())
				}
			}
			s.noStage()
			s.sh("rm -rf /root/elsewhere; ! ls -d /etc/" + s.helper.Hash + " 2>/dev/null")
		})
	}
}

func TestAHelperThatIsDamagedOnTheHostIsReplaced(t *testing.T) {
	s := newSite(t)
	_ = s.mustOpen("root", nil).Close()
	for name, damage := range map[string]string{
		"empty, as after a power loss": ": > $f",
		"truncated":                    "truncate -s 100000 $f",
		"another program":              "printf '#!/bin/sh\\nexit 3\\n' > $f",
		"not executable any more":      "chmod 600 $f",
	} {
		t.Run(name, func(t *testing.T) {
			s := &site{t: t, lab: s.lab, host: s.host, helper: s.helper}
			s.sh("f=/var/cache/calroll/" + s.helper.Hash + "/remote-x86_64; " + damage)
			_ = s.mustOpen("root", nil).Close()
			if s.pushes.Load() != 1 {
				t.Errorf("it was sent %d times", s.pushes.Load())
			}
		})
	}
}

// TestAnUploadThatIsTamperedWithNeverRuns has another process of the login user change the stage before root looks at it.
func TestAnUploadThatIsTamperedWithNeverRuns(t *testing.T) {
	s := newSite(t)
	for name, c := range map[string]struct{ tamper, words string }{
		"truncated":          {"truncate -s -1000 $g", "the copy is damaged"},
		"one byte different": {"printf x | dd of=$g bs=1 seek=5000 conv=notrunc 2>/dev/null", "the copy is damaged"},
		"longer":             {"echo more >> $g", ""}, // the surplus is not read
		"another program":    {"printf '#!/bin/sh\\ntouch /tmp/executed\\n' > $g; chmod 755 $g", "the copy is damaged"},
		"endless":            {"rm -f $g; ln -s /dev/zero $g", "the copy is damaged"},
		"gone":               {"rm -f $g", "cannot be read on the host"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &site{t: t, lab: s.lab, host: s.host, helper: s.helper}
			s.clean()
			h := s.remote(s.dial("ops"), &conn.Become{Flags: "-H -n"})
			upload := h.Put
			h.Put = func(ctx context.Context, path string, mode fs.FileMode, r io.Reader) error {
				err := upload(ctx, path, mode, r)
				s.sh("runuser -u ops -- sh -c '" + "g=" + path + "; " + strings.ReplaceAll(c.tamper, "'", `'\''`) + "'")
				return err
			}
			client, err := Open(t.Context(), h, s.options())
			if c.words == "" {
				if err != nil {
					t.Fatal(err)
				}
				_ = client.Close()
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.words) {
				t.Fatalf("got %v", err)
			}
			s.sh("! ls /tmp/executed /var/cache/calroll/*/remote-* 2>/dev/null")
		})
	}
}

func TestAHostWithoutTheMeansSaysSo(t *testing.T) {
	s := newSite(t)
	t.Run("no program for hashes", func(t *testing.T) {
		s := &site{t: t, lab: s.lab, host: s.host, helper: s.helper}
		s.clean()
		s.sh("for p in sha256sum shasum openssl; do f=$(command -v $p) && mv $f $f.away; done; true")
		t.Cleanup(func() { s.sh("for f in /usr/bin/*.away; do mv $f ${f%.away}; done") })
		_, err := s.open("root", nil)
		if err == nil || !strings.Contains(err.Error(), "none of sha256sum, shasum and openssl") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no helper for its kind", func(t *testing.T) {
		s := &site{t: t, lab: s.lab, host: s.host, helper: s.helper}
		s.clean()
		s.sh(`printf '#!/bin/sh\ncase $1 in -m) echo riscv64;; *) echo Linux;; esac\n' > /usr/local/bin/uname; chmod 755 /usr/local/bin/uname`)
		t.Cleanup(func() { s.sh("rm -f /usr/local/bin/uname") })
		h := s.remote(s.dial("root"), nil)
		o := s.options()
		o.Helpers.Hint = "build them"
		_, err := Open(t.Context(), h, o)
		want := "cannot start the helper on " + s.host.Name + ": the host is linux/riscv64, and there are helpers for linux/amd64 only (build them)"
		if err == nil || err.Error() != want {
			t.Errorf("got %v", err)
		}
	})
	s.noStage()
}

func TestNoiseOfAllKindsIsSkipped(t *testing.T) {
	s := newSite(t)
	s.sh(`cp /home/ops/.bashrc /home/ops/.bashrc.away 2>/dev/null
		printf 'echo "Welcome to the host, $USER"; printf "no newline"; echo oops >&2; head -c 30000 /dev/urandom\n' > /home/ops/.bashrc
		printf 'Banner /etc/issue.test\nMaxSessions 1\n' > /etc/ssh/sshd_config.d/calroll-test.conf; echo 'Authorized use only' > /etc/issue.test
		systemctl restart ssh`)
	if err := s.host.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.sh(`rm -f /home/ops/.bashrc /etc/ssh/sshd_config.d/calroll-test.conf /etc/issue.test; mv /home/ops/.bashrc.away /home/ops/.bashrc 2>/dev/null; systemctl restart ssh`)
		if err := s.host.WaitReady(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	for _, b := range []*conn.Become{nil, {}} { // cold, with one session at a time
		_ = s.mustOpen("ops", b).Close()
		s.mustOpen("ops", b)
	}
	s.noStage()
}

func TestAShellThatHangsOrEndsIsExplained(t *testing.T) {
	s := newSite(t)
	s.sh(`cp /home/ops/.bashrc /home/ops/.bashrc.away 2>/dev/null; true`)
	t.Cleanup(func() { s.sh(`rm -f /home/ops/.bashrc; mv /home/ops/.bashrc.away /home/ops/.bashrc 2>/dev/null; true`) })
	h := s.remote(s.dial("ops"), nil)
	o := s.options()
	for rc, want := range map[string]struct {
		kind  tasks.Kind
		words string
	}{
		"echo Please wait; sleep 60":                         {tasks.Unreachable, "it did not answer for 5s; it said: Please wait"},
		"echo This account is not available; exit 1":         {tasks.Failed, "the shell ended with status 1; it said: This account is not available"},
		"echo 'disk failure' >&2; kill -9 $$":                {tasks.Failed, "the shell ended with status 137; it said: disk failure"},
		"exec yes 'this account is for file transfers only'": {tasks.Failed, "the host printed more than 1048576 bytes"},
	} {
		s.sh("cat > /home/ops/.bashrc <<'E'\n" + rc + "\nE")
		o.StartTimeout = 30 * time.Second
		if want.kind == tasks.Unreachable {
			o.StartTimeout = 5 * time.Second
		}
		_, err := Open(t.Context(), h, o)
		if tasks.KindOf(err) != want.kind || !strings.Contains(err.Error(), want.words) {
			t.Errorf("%s: got %v", rc, err)
		}
	}
}

func TestCancelOfTheStart(t *testing.T) {
	s := newSite(t)
	ctx, cancel := onSignal(t)
	h := s.remote(s.dial("root"), nil)
	put := h.Put
	h.Put = func(ctx context.Context, path string, mode fs.FileMode, r io.Reader) error {
		cancel()
		return put(ctx, path, mode, r)
	}
	if _, err := Open(ctx, h, s.options()); tasks.KindOf(err) != tasks.Canceled {
		t.Errorf("got %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := Open(ended, h, s.options()); tasks.KindOf(err) != tasks.Canceled {
		t.Errorf("got %v", err)
	}
}

func TestManyStartAtTheSameTime(t *testing.T) {
	s := newSite(t)
	var group sync.WaitGroup
	for range 4 {
		c := s.dial("root")
		group.Go(func() {
			client, err := Open(t.Context(), s.remote(c, nil), s.options())
			if err != nil {
				t.Error(err)
				return
			}
			_ = client.Close()
		})
	}
	group.Wait()
	s.noStage()
}

func TestAKilledHelperOnAHostIsUnreachable(t *testing.T) {
	s := newSite(t)
	for name, b := range map[string]*conn.Become{"root": nil, "ops": {}} {
		c := s.mustOpen(name, b)
		sent := send(t, c, one("hang", nil))
		s.sh(fmt.Sprintf("kill -9 %d", c.Hello().PID))
		_, err := sent[0].Wait(t.Context())
		if tasks.KindOf(err) != tasks.Unreachable || !strings.Contains(err.Error(), "its helper was killed (signal 9)") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEveryCutOverSSHCanBeTakenBack cuts a real link after every frame in either direction.
func TestEveryCutOverSSHCanBeTakenBack(t *testing.T) {
	s := newSite(t)
	relay, err := s.host.Relay()
	if err != nil {
		t.Fatal(err)
	}
	s.via = relay.Addr()
	const dir = "/srv/proof"
	prepare := func() string {
		s.sh("rm -rf /var/lib/calroll " + dir + "; mkdir -p " + dir + "/tree/a; cd " + dir + "; echo old > conf; echo x > script; echo gone > gone; echo deep > tree/a/deep; echo s > target; ln target twin; ln -s conf link; chmod 640 conf; touch -d @1700000000 conf target")
		return s.tree(dir)
	}
	prepare()
	_ = s.mustOpen("root", nil).Close() // warm
	whole := &cutter{}
	out, in, err := s.cutPlay(relay, whole, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		toUs   bool
		frames int
	}{{false, out}, {true, in}} {
		for k := 1; k <= row.frames; k++ {
			start := prepare()
			what := fmt.Sprintf("cut after frame %d of %d, to us: %v", k, row.frames, row.toUs)
			if _, _, err := s.cutPlay(relay, &cutter{after: k, toUs: row.toUs}, dir); err != nil && tasks.KindOf(err) != tasks.Unreachable {
				t.Fatalf("%s: %v", what, err)
			}
			if err := relay.Restore(); err != nil {
				t.Fatal(err)
			}
			c := s.mustOpen("root", nil)
			report, err := c.Undo(t.Context(), "run1", me, UndoOptions{})
			if err != nil || !report.OK() {
				t.Errorf("%s: %v, %+v", what, err, report.Problems())
			}
			_ = c.Close()
			if now := s.tree(dir); now != start {
				t.Fatalf("%s: the tree is\n%s\nand was\n%s", what, now, start)
			}
		}
		t.Logf("link cut over SSH, to us: %-5v %3d proven", row.toUs, row.frames)
	}
}

func (s *site) tree(dir string) string {
	return s.sh("cd " + dir + " && find . -type f -exec sha256sum {} + | sort; find . -type f -printf '%p %m %U:%G %T@ %n\\n' -o -printf '%p %y %m %U:%G %l\\n' | sort")
}

// cutPlay plays over a connection whose relay is cut as the cutter says. It returns the frames that passed each way.
func (s *site) cutPlay(relay *testenv.Relay, cut *cutter, dir string) (out, in int, err error) {
	cut.cut = relay.Cut
	c := s.dial("root")
	defer c.Close()
	h := s.remote(c, nil)
	start := h.Start
	h.Start = func(ctx context.Context, cmd string) (Process, error) {
		p, err := start(ctx, cmd)
		return &cutProcess{p, cut}, err
	}
	client, err := Open(s.t.Context(), h, s.options())
	if err != nil {
		return cut.out, cut.in, err
	}
	defer client.Close()
	err = play(s.t.Context(), client, "run1", proofPlay(dir))
	return cut.out, cut.in, err
}

// cutProcess is a process whose link is cut by its cutter.
type cutProcess struct {
	Process
	cut *cutter
}

func (p *cutProcess) Read(b []byte) (int, error)  { return p.cut.read(p.Process, b) }
func (p *cutProcess) Write(b []byte) (int, error) { return p.cut.write(p.Process, b) }

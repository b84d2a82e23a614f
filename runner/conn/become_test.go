package conn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/testenv"
)

// labOptions log in to a lab host by key.
func labOptions(lab *testenv.Lab, user string) Options {
	h := lab.Hosts[0]
	return Options{Name: h.Name, Host: h.Address.String(), User: user, KeyFiles: []string{lab.KeyFile()},
		KnownHosts: []string{lab.KnownHostsFile()}, AgentSocket: "none", ConfigFile: "none"}
}

// sudoers puts lines into the host's sudoers for the rest of the test.
func sudoers(t *testing.T, h *testenv.Host, lines string) {
	t.Helper()
	if err := h.WriteFile(testContext(t), "/etc/sudoers.d/zz-test", 0o440, []byte(lines)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Sh(context.Background(), "rm -f /etc/sudoers.d/zz-test") })
}

// become runs id -un as another user and returns what it printed.
func become(t *testing.T, c Conn, b Become, cmd string) (string, error) {
	t.Helper()
	p, err := b.Start(testContext(t), c, cmd)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(p)
	if err != nil {
		t.Fatal(err)
	}
	if exit, err := p.Wait(); exit != 0 || err != nil {
		t.Fatalf("exit status %d, %v: %s", exit, err, p.Stderr())
	}
	return strings.TrimSpace(string(text)), nil
}

func TestBecome(t *testing.T) {
	t.Parallel() // most of the time is PAM's pause after wrong passwords
	lab := testenv.ForTest(t, 1)
	h := lab.Hosts[0]
	right, wrong := Secret(lab.Password), Secret("not the password")
	tests := []struct {
		name    string
		login   string
		sudoers string
		b       Become
		user    string // who the command runs as, or
		kind    Kind   // the kind and
		detail  string // text of the error
	}{
		{name: "sudo", login: "ops", user: "root"},
		{name: "sudo to a user", login: "ops", b: Become{User: "guarded"}, user: "guarded"},
		{name: "sudo from root", login: "root", b: Become{User: "ops"}, user: "ops"},
		{name: "sudo with a password", login: "guarded", b: Become{Password: right}, user: "root"},
		{name: "sudo with a password that is not asked for", login: "ops", b: Become{Password: wrong}, user: "root"},
		{name: "sudo with a wrong password", login: "guarded", b: Become{Password: wrong}, kind: Denied, detail: "incorrect become password"},
		{name: "sudo without its password", login: "guarded", kind: Denied, detail: "become password required"},
		{name: "sudo use_pty", login: "ops", sudoers: "Defaults use_pty\n", user: "root"},
		{name: "sudo use_pty with a password", login: "guarded", sudoers: "Defaults use_pty\n", b: Become{Password: right}, user: "root"},
		{name: "sudo requiretty", login: "ops", sudoers: "Defaults requiretty\n", user: "root"},
		{name: "sudo requiretty with a password", login: "guarded", sudoers: "Defaults requiretty\n", b: Become{Password: right}, user: "root"},
		{name: "sudo requiretty with a wrong password", login: "guarded", sudoers: "Defaults requiretty\n", b: Become{Password: wrong}, kind: Denied, detail: "incorrect become password"},
		{name: "sudo requiretty without its password", login: "guarded", sudoers: "Defaults requiretty\n", kind: Denied, detail: "become password required"},
		{name: "sudo requiretty and use_pty", login: "guarded", sudoers: "Defaults requiretty,use_pty\n", b: Become{Password: right}, user: "root"},
		{name: "sudo refused", login: "guarded", sudoers: "guarded ALL=(ALL) !ALL\n", b: Become{Password: right}, kind: Denied, detail: "not allowed"},
		{name: "sudo to nobody known", login: "ops", b: Become{User: "nosuch"}, kind: Failed, detail: "nosuch"},
		{name: "sudo elsewhere", login: "ops", b: Become{Exe: "/nowhere/sudo"}, kind: Failed, detail: "not installed"},
		{name: "sudo with flags", login: "ops", b: Become{Flags: "-n -E"}, user: "root"},
		{name: "su", login: "ops", b: Become{Method: "su", Password: right}, user: "root"},
		{name: "su from root", login: "root", b: Become{Method: "su", User: "guarded"}, user: "guarded"},
		{name: "su with a wrong password", login: "ops", b: Become{Method: "su", Password: wrong}, kind: Denied, detail: "incorrect become password"},
		{name: "su without its password", login: "ops", b: Become{Method: "su"}, kind: Denied, detail: "become password required"},
		{name: "su to an account without a shell", login: "root", b: Become{Method: "su", User: "www-data"}, kind: Failed, detail: "not available"},
		{name: "su with flags", login: "root", b: Become{Method: "su", User: "www-data", Flags: "-s /bin/sh"}, user: "www-data"},
		{name: "doas", login: "ops", b: Become{Method: "doas"}, user: "root"},
		{name: "doas with a password", login: "guarded", b: Become{Method: "doas", Password: right}, user: "root"},
		{name: "doas with a wrong password", login: "guarded", b: Become{Method: "doas", Password: wrong}, kind: Denied, detail: "incorrect become password"},
		{name: "doas without its password", login: "guarded", b: Become{Method: "doas"}, kind: Denied, detail: "become password required"},
		{name: "another method", login: "ops", b: Become{Method: "pbrun"}, kind: Failed, detail: "pbrun"},
	}
	conns := map[string]Conn{}
	for _, login := range []string{"root", "ops", "guarded"} {
		conns[login] = dial(t, labOptions(lab, login))
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.sudoers != "" {
				sudoers(t, h, test.sudoers)
			}
			h.Sh(testContext(t), "rm -rf /run/sudo/ts/* /run/doas/*")
			begun := time.Now()
			user, err := become(t, conns[test.login], test.b, "id -un")
			if test.user != "" {
				if user != test.user || err != nil {
					t.Errorf("ran as %q, %v; want %s", user, err, test.user)
				}
				return
			}
			if err == nil || KindOf(err) != test.kind || !strings.Contains(err.Error(), test.detail) {
				t.Errorf("%v; want an error of kind %s with %q", err, test.kind, test.detail)
			}
			if took := time.Since(begun); took > 10*time.Second {
				t.Errorf("it took %s to say so", took)
			}
			t.Log(err)
			if err != nil && (strings.Contains(err.Error(), string(right)) || strings.Contains(err.Error(), string(wrong))) {
				t.Error("the password is in the error")
			}
		})
	}
}

// TestBecomeStream sends much through a command of another user, whatever is in between.
func TestBecomeStream(t *testing.T) {
	lab := testenv.ForTest(t, 1)
	right := Secret(lab.Password)
	for name, test := range map[string]struct {
		login, sudoers string
		b              Become
	}{
		"sudo":                           {login: "ops"},
		"sudo with a password":           {login: "guarded", b: Become{Password: right}},
		"sudo use_pty":                   {login: "guarded", sudoers: "Defaults use_pty\n", b: Become{Password: right}},
		"sudo requiretty":                {login: "guarded", sudoers: "Defaults requiretty\n", b: Become{Password: right}},
		"sudo requiretty without asking": {login: "ops", sudoers: "Defaults requiretty\n"},
		"sudo requiretty and use_pty":    {login: "guarded", sudoers: "Defaults requiretty,use_pty\n", b: Become{Password: right}},
		"su":                             {login: "ops", b: Become{Method: "su", Password: right}},
		"doas on a terminal":             {login: "guarded", b: Become{Method: "doas", Password: right}},
	} {
		t.Run(name, func(t *testing.T) {
			if test.sudoers != "" {
				sudoers(t, lab.Hosts[0], test.sudoers)
			}
			p, err := test.b.Start(testContext(t), dial(t, labOptions(lab, test.login)), fmt.Sprintf("head -c %d", big))
			if err != nil {
				t.Fatal(err)
			}
			checkBothWays(t, p)
			if exit, err := p.Wait(); exit != 0 || err != nil {
				t.Error(exit, err)
			}
		})
	}
}

// TestBecomeHidesPassword looks for the password in what the host can see of a command.
func TestBecomeHidesPassword(t *testing.T) {
	lab := testenv.ForTest(t, 1)
	c := dial(t, labOptions(lab, "guarded"))
	for _, method := range []string{"sudo", "su", "doas"} {
		b := Become{Method: method, Password: Secret(lab.Password)}
		p, err := b.Start(testContext(t), c, "echo started; exec sleep 100")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(p, make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
		seen, err := lab.Hosts[0].Sh(testContext(t), "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' '\\n'; cat /var/log/auth.log /var/log/sudo* 2>/dev/null; journalctl -n 200 2>/dev/null || true")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(seen, "sleep") || strings.Contains(seen, lab.Password) {
			t.Errorf("%s: the password can be seen on the host", method)
		}
		p.Kill()
	}
	if b := fmt.Sprintf("%v %+v %#v", Become{Password: "geheim"}, Become{Password: "geheim"}, Become{Password: "geheim"}); strings.Contains(b, "geheim") {
		t.Errorf("the password is printed: %s", b)
	}
}

// TestBecomeKill: the login may not signal root's processes, and yet they must end.
func TestBecomeKill(t *testing.T) {
	lab := testenv.ForTest(t, 1)
	h := lab.Hosts[0]
	alive := func(p Process) func() bool {
		first, second := readPID(t, p), readPID(t, p)
		return func() bool {
			// Not kill -0: a killed process may still wait to be reaped.
			text, _ := h.Sh(testContext(t), fmt.Sprintf("grep -hs '^State' /proc/%d/status /proc/%d/status | grep -v Z || true", first, second))
			return text != ""
		}
	}
	for name, test := range map[string]struct {
		login, sudoers string
		b              Become
	}{
		"sudo":                  {login: "ops"},
		"sudo use_pty":          {login: "guarded", sudoers: "Defaults use_pty\n", b: Become{Password: Secret(lab.Password)}},
		"sudo on a terminal":    {login: "ops", sudoers: "Defaults requiretty\n"},
		"su":                    {login: "ops", b: Become{Method: "su", Password: Secret(lab.Password)}},
		"doas with a password":  {login: "guarded", b: Become{Method: "doas", Password: Secret(lab.Password)}},
		"root to somebody else": {login: "root", b: Become{User: "ops"}},
	} {
		t.Run(name, func(t *testing.T) {
			if test.sudoers != "" {
				sudoers(t, h, test.sudoers)
			}
			c := dial(t, labOptions(lab, test.login))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			p, err := test.b.Start(ctx, c, family)
			if err != nil {
				t.Fatal(err)
			}
			lives := alive(p)
			if !lives() {
				t.Fatal("the children do not run")
			}
			cancel()
			if _, err := p.Wait(); !errors.Is(err, context.Canceled) {
				t.Errorf("Wait: %v", err)
			}
			until(t, "the children are dead", func() bool { return !lives() })
		})
	}
}

func TestBecomeLocal(t *testing.T) {
	c := Local()
	defer c.Close()
	user, err := become(t, c, Become{Method: "su", User: me()}, "id -un")
	if user != me() || err != nil {
		t.Errorf("%q, %v", user, err)
	}
	if _, err := become(t, c, Become{Exe: "/nowhere/sudo"}, "id -un"); err == nil || !strings.Contains(err.Error(), "not installed") {
		t.Error(err)
	}
}

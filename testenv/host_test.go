package testenv

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func TestUsersBecomeRoot(t *testing.T) {
	l := ForTest(t, 1)
	h := l.Hosts[0]
	c, err := h.Dial(t.Context(), "ops")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := remote(t, c, "", "sudo -n id -u; doas -n id -u"); got != "0\n0" {
		t.Errorf("ops becomes %q", got)
	}
	// The password is good for a login and for sudo, which asks for it.
	guarded, err := login(t, l, h, h.sshAddress(), "guarded", ssh.Password(l.Password))
	if err != nil {
		t.Fatal(err)
	}
	if got := remote(t, guarded, l.Password+"\n", "sudo -k; sudo -n true 2>/dev/null && echo open; sudo -S -p '' id -u"); got != "0" {
		t.Errorf("guarded becomes %q", got)
	}
	if _, err := login(t, l, h, h.sshAddress(), "guarded", ssh.Password("wrong")); err == nil {
		t.Error("a wrong password was accepted")
	}
	if _, err := login(t, l, h, h.sshAddress(), "root", ssh.Password(l.Password)); err == nil {
		t.Error("root may log in with a password")
	}
}

func TestEngineInside(t *testing.T) {
	h := ForTest(t, 1).Hosts[0]
	ctx := t.Context()
	if out, err := h.Output(ctx, "docker", "info", "--format", "{{.DefaultRuntime}}"); err != nil || out != "lab" {
		t.Fatalf("docker info: %q, %v", out, err)
	}
	// An image from scratch: one static program, packed on the host and loaded again.
	const build = `set -e
		mkdir -p /root/scratch/bin && cp /bin/busybox /root/scratch/bin/
		tar -C /root/scratch -c . | docker import --change 'ENTRYPOINT ["/bin/busybox"]' - scratch:1 >/dev/null
		docker save scratch:1; docker rmi -f scratch:1 >/dev/null`
	image, err := h.Exec(ctx, "sh", "-c", build)
	if err != nil || image.Code != 0 {
		t.Fatalf("no image: %v %s", err, image.Stderr)
	}
	if err := h.LoadImage(ctx, strings.NewReader(image.Stdout)); err != nil {
		t.Fatal(err)
	}
	defer h.Sh(context.WithoutCancel(ctx), "docker rm -f deep; docker rmi -f scratch:1; rm -rf /root/scratch")
	// --net=host shows the host's address, and only --privileged may mount and set sysctls.
	out, err := h.Sh(ctx, `docker run -d --name deep --privileged --net=host scratch:1 sleep 600 >/dev/null &&
		docker exec --privileged deep /bin/busybox sh -c '
			B=/bin/busybox; $B mkdir -p /m && $B mount -t tmpfs none /m && $B ip -4 addr show eth0'`)
	if err != nil || !strings.Contains(out, h.Address.String()+"/24") {
		t.Errorf("the privileged container says %q, %v", out, err)
	}
	// The control groups of the host are its own, so is what runs in it.
	own, err := h.ReadFile(ctx, "/proc/1/cgroup")
	if err != nil || bytes.Contains(own, []byte("/docker/")) {
		t.Errorf("process 1 is in %s, %v", own, err)
	}
}

func TestEveryHostHasItsOwnIdentity(t *testing.T) {
	l := ForTest(t, 2)
	seen := map[string]string{}
	for _, h := range l.Hosts {
		for _, path := range []string{"/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub", "/etc/ssh/ssh_host_rsa_key.pub", "/etc/ssh/ssh_host_ecdsa_key.pub"} {
			content, err := h.ReadFile(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			if other, ok := seen[string(content)]; ok || len(content) == 0 {
				t.Errorf("%s %s is that of %s", h.Name, path, other)
			}
			seen[string(content)] = h.Name
		}
	}
}

func TestFilesAndCommands(t *testing.T) {
	h := ForTest(t, 1).Hosts[0]
	ctx := t.Context()
	content := bytes.Repeat([]byte{0, 1, 0xff, '\n'}, 100_000)
	if err := h.WriteFile(ctx, "/root/a b/file", 0o640, content); err != nil {
		t.Fatal(err)
	}
	defer h.Sh(context.WithoutCancel(ctx), "rm -r '/root/a b'")
	got, err := h.ReadFile(ctx, "/root/a b/file")
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if mode, err := h.Output(ctx, "stat", "-c", "%a %U", "/root/a b/file"); err != nil || mode != "640 root" {
		t.Errorf("mode %q, %v", mode, err)
	}
	if _, err := h.ReadFile(ctx, "/root/none"); err == nil {
		t.Error("a missing file was read")
	}
	r, err := h.Exec(ctx, "sh", "-c", "echo out; echo err >&2; exit 3")
	if err != nil || r != (Result{"out\n", "err\n", 3}) {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := h.Sh(ctx, "echo no >&2; false"); err == nil || !strings.Contains(err.Error(), "no") {
		t.Errorf("a failed script says %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	if _, err := h.Exec(short, "sleep", "60"); err == nil {
		t.Error("a command outlived its context")
	}
}

func TestFaults(t *testing.T) {
	h := ForTest(t, 1).Hosts[0]
	ctx := t.Context()
	if err := h.WriteFile(ctx, "/etc/kept", 0o600, []byte("x")); err != nil {
		t.Fatal(err)
	}
	reachable := func(within time.Duration) error {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		c, err := h.Dial(ctx, "root")
		if err == nil {
			c.Close()
		}
		return err
	}
	for _, f := range []struct {
		name     string
		do, undo func(context.Context) error
	}{
		{"pause", h.Pause, h.Unpause},
		{"kill", h.Kill, h.Start},
		{"stop", h.Stop, h.Start},
	} {
		if err := reachable(time.Minute); err != nil {
			t.Fatalf("before %s: %v", f.name, err)
		}
		if err := f.do(ctx); err != nil {
			t.Fatal(err)
		}
		if err := reachable(2 * time.Second); err == nil {
			t.Errorf("after %s it still answers", f.name)
		}
		if err := f.undo(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := reachable(time.Minute); err != nil {
		t.Error(err)
	}
	if _, err := h.ReadFile(ctx, "/etc/kept"); err != nil {
		t.Error(err)
	}
	if err := h.reset(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := h.ReadFile(ctx, "/etc/kept"); err == nil {
		t.Error("a file survived the reset")
	}
	if err := reachable(time.Minute); err != nil {
		t.Errorf("after the reset: %v", err)
	}
}

// The reference implementation must be able to drive the same hosts.
func TestAnsibleDrivesTheHosts(t *testing.T) {
	l := ForTest(t, 2)
	cmd := exec.CommandContext(t.Context(), "ansible", "-i", l.InventoryFile(), "k8s_cluster", "-m", "ping", "-o")
	config := filepath.Join(t.TempDir(), "ansible.cfg")
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(cmd.Environ(), "ANSIBLE_HOME="+t.TempDir(), "ANSIBLE_CONFIG="+config)
	out, err := cmd.CombinedOutput()
	if err != nil || bytes.Count(out, []byte("pong")) != 2 {
		t.Errorf("ansible (package ansible-core): %v\n%s", err, out)
	}
}

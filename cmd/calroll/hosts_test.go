package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/calroll/calroll/runner"
	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/testenv"
)

// program builds calroll once for all tests of this package.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "calroll-test-")
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "calroll")
	cmd := exec.Command("go", "build", "-o", out, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build calroll: %w\n%s", err, text)
	}
	return out, nil
})

// rig is a lab and a calroll to run against it.
type rig struct {
	*testing.T
	lab  *testenv.Lab
	dir  string
	path string
}

func newRig(t *testing.T, hosts int) *rig {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	s := &rig{T: t, lab: testenv.ForTest(t, hosts), dir: t.TempDir(), path: path}
	if err := s.lab.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// write puts a file into the rig's folder and gives its name.
func (s *rig) write(name, text string) string {
	s.Helper()
	file := filepath.Join(s.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
	return file
}

func (s *rig) command(args ...string) *exec.Cmd {
	cmd := exec.Command(s.path, args...)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(s.dir, "state"))
	cmd.Dir = s.dir
	return cmd
}

// calroll runs calroll against the lab and gives what it printed.
func (s *rig) calroll(want int, args ...string) string {
	s.Helper()
	cmd := s.command(append(args, "-i", s.lab.InventoryFile())...)
	text, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != want {
		s.Fatalf("calroll %s ended with %d, not %d:\n%s", strings.Join(args, " "), code, want, text)
	}
	return string(text)
}

func (s *rig) contains(text string, wants ...string) {
	s.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			s.Errorf("%q is not in:\n%s", want, text)
		}
	}
}

func (s *rig) sh(h *testenv.Host, script string) string {
	s.Helper()
	text, err := h.Sh(s.Context(), script)
	if err != nil {
		s.Fatalf("%s: %s: %v", h.Name, script, err)
	}
	return strings.TrimSpace(text)
}

const play = "- hosts: all\n  gather_facts: false\n  tasks:\n"

func TestHostThatIsNotThere(t *testing.T) {
	s := newRig(t, 2)
	down, up := s.lab.Hosts[0], s.lab.Hosts[1]
	if err := down.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	book := s.write("play.yml", play+"    - copy: {content: x, dest: /root/x}\n")
	text := s.calroll(runner.ExitUnreachable, "run", book, "-T", "10", "--connect-retries", "0")
	s.contains(text, "fatal: ["+down.Name+"]: UNREACHABLE!", "changed: ["+up.Name+"]")
}

func TestWrongHostKey(t *testing.T) {
	s := newRig(t, 1)
	other, err := os.ReadFile(s.lab.KnownHostsFile())
	if err != nil {
		t.Fatal(err)
	}
	h := s.lab.Hosts[0]
	known := s.write("known_hosts", swapKeys(string(other), h.Address.String()))
	inv := s.write("inv.yml", fmt.Sprintf("all: {hosts: {%s: {ansible_host: %s, ansible_user: root, ansible_ssh_private_key_file: %s, "+
		"ansible_ssh_common_args: '-o UserKnownHostsFile=%s'}}}\n", h.Name, h.Address, s.lab.KeyFile(), known))
	book := s.write("play.yml", play+"    - copy: {content: x, dest: /root/x}\n")
	cmd := s.command("run", book, "-i", inv)
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != runner.ExitUnreachable {
		t.Fatalf("exit status %d:\n%s", code, out)
	}
	s.contains(string(out), "UNREACHABLE!", "HOST KEY HAS CHANGED", known)
	if s.sh(h, "ls /root") != "" {
		t.Error("the host was touched")
	}
}

// swapKeys gives host the keys of nobody: known_hosts as it would be after the host was replaced by another.
func swapKeys(known, host string) string {
	const nobody = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	_ = known
	return host + " " + nobody + "\n"
}

func TestBecomePasswords(t *testing.T) {
	s := newRig(t, 1)
	book := s.write("play.yml", play+"    - copy: {content: x, dest: /root/x}\n")
	wrong, right := s.write("wrong", "not-the-password"), s.write("right", s.lab.Password)
	guarded := []string{"run", book, "-b", "-e", "ansible_user=guarded"}
	s.contains(s.calroll(runner.ExitFailed, append(guarded, "--become-password-file", wrong)...), "FAILED!", "incorrect")
	s.contains(s.calroll(runner.ExitFailed, guarded...), "FAILED!", "password")
	text := s.calroll(runner.ExitOK, append(guarded, "--become-password-file", right, "-vvv")...)
	s.contains(text, "changed: ")
	if strings.Contains(text, s.lab.Password) {
		t.Error("the password was shown")
	}
	if got := s.sh(s.lab.Hosts[0], "stat -c %U /root/x"); got != "root" {
		t.Errorf("the file belongs to %s", got)
	}
	s.calroll(runner.ExitOK, "rollback", "last", "--become-password-file", right, "-u", "guarded")
}

func TestFullAndReadOnlyTargets(t *testing.T) {
	s := newRig(t, 1)
	h := s.lab.Hosts[0]
	s.sh(h, "mkdir /mnt/small /mnt/fixed && mount -t tmpfs -o size=64k none /mnt/small && mount -t tmpfs none /mnt/fixed && "+
		"echo before >/mnt/small/f && echo before >/mnt/fixed/f && mount -o remount,ro /mnt/fixed")
	big := s.write("big", strings.Repeat("x", 1<<20))
	full := s.write("full.yml", play+"    - copy: {src: "+big+", dest: /mnt/small/f}\n")
	s.contains(s.calroll(runner.ExitFailed, "run", full), "no space left")
	fixed := s.write("fixed.yml", play+"    - copy: {content: x, dest: /mnt/fixed/f}\n")
	s.contains(s.calroll(runner.ExitFailed, "run", fixed), "read-only file system")
	if got := s.sh(h, "cat /mnt/small/* /mnt/fixed/*; ls -A /mnt/small /mnt/fixed | wc -l"); got != "before\nbefore\n5" {
		t.Errorf("something was left behind: %q", got)
	}
}

func TestKilledHelper(t *testing.T) {
	s := newRig(t, 2)
	book := s.write("play.yml", play+"    - shell: 'echo $$ >/run/started; exec sleep 300'\n      when: inventory_hostname == '"+s.lab.Hosts[0].Name+"'\n"+
		"    - copy: {content: x, dest: /root/x}\n")
	cmd := s.command("run", book, "-i", s.lab.InventoryFile())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.until(func() bool { return s.has(s.lab.Hosts[0], "/run/started") })
	s.sh(s.lab.Hosts[0], "pkill -9 remote-")
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != runner.ExitUnreachable {
		t.Fatalf("exit status %d:\n%s", code, &out)
	}
	s.contains(out.String(), "UNREACHABLE!", "changed: ["+s.lab.Hosts[1].Name+"]")
}

// start begins a command whose output can be read while it runs. It is killed when the test ends, and what it has said is shown if that fails.
func (s *rig) start(args ...string) (cmd *exec.Cmd, said func() string) {
	s.Helper()
	out, err := os.CreateTemp(s.dir, "out")
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = out.Close() })
	cmd = s.command(args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	said = func() string {
		text, err := os.ReadFile(out.Name())
		if err != nil {
			s.Fatal(err)
		}
		return string(text)
	}
	s.Cleanup(func() {
		_ = cmd.Process.Kill()
		if s.Failed() {
			s.Log(said())
		}
	})
	return cmd, said
}

func (s *rig) has(h *testenv.Host, file string) bool {
	r, err := h.Exec(s.Context(), "test", "-e", file)
	return err == nil && r.Code == 0
}

// until waits for a condition.
func (s *rig) until(holds func() bool) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 2*time.Minute)
	defer cancel()
	for tick := time.Tick(20 * time.Millisecond); !holds(); {
		select {
		case <-ctx.Done():
			s.Fatal("it did not come to pass")
		case <-tick:
		}
	}
}

// TestInterrupt: the first Ctrl-C lets the task under way finish and starts no further one; the second stops at once, and nothing of the run
// stays running on the host.
func TestInterrupt(t *testing.T) {
	s := newRig(t, 1)
	h := s.lab.Hosts[0]
	book := s.write("play.yml", play+"    - copy: {content: x, dest: /root/first}\n"+
		"    - shell: 'touch /run/started; while [ ! -e /run/go ]; do sleep 0.05; done; touch /root/second'\n    - copy: {content: x, dest: /root/third}\n")
	interrupted := func() (*exec.Cmd, func() string) {
		s.sh(h, "rm -f /run/started /run/go /root/*")
		cmd, said := s.start("run", book, "-i", s.lab.InventoryFile())
		s.until(func() bool { return s.has(h, "/run/started") })
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		s.until(func() bool { return strings.Contains(said(), "finishing what is under way") })
		return cmd, said
	}
	cmd, said := interrupted()
	s.sh(h, "touch /run/go")
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != runner.ExitCanceled {
		t.Errorf("exit status %d:\n%s", code, said())
	}
	if got := s.sh(h, "cd /root; echo *"); got != "first second" {
		t.Errorf("after one Ctrl-C there is %s, want first second\n%s", got, said())
	}
	s.contains(said(), "PLAY RECAP", "calroll rollback")
	s.calroll(runner.ExitOK, "rollback", "last")
	if s.has(h, "/root/first") {
		t.Error("the rollback left /root/first")
	}

	cmd, said = interrupted()
	s.interrupt(cmd)
	if code := cmd.ProcessState.ExitCode(); code != runner.ExitCanceled {
		t.Errorf("exit status %d:\n%s", code, said())
	}
	s.until(func() bool {
		r, err := h.Exec(t.Context(), "pgrep", "-f", "remote-serve|/run/go")
		return err == nil && r.Code == 1
	})
	if s.has(h, "/root/second") {
		t.Error("the command went on after the second Ctrl-C")
	}
	s.calroll(runner.ExitOK, "rollback", "last")
}

// interrupt sends the second Ctrl-C, again if it came together with the first, until the command has ended.
func (s *rig) interrupt(cmd *exec.Cmd) {
	s.Helper()
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	s.until(func() bool {
		_ = cmd.Process.Signal(syscall.SIGINT) // fails once it has ended
		select {
		case <-done:
			return true
		case <-time.After(200 * time.Millisecond):
			return false
		}
	})
}

// TestFramesAndBytes: one frame out a task at most, and next to nothing to a host that has everything.
func TestFramesAndBytes(t *testing.T) {
	s := newRig(t, 1)
	s.write("big", strings.Repeat("0123456789abcdef", 1<<16))
	const files = 20
	text := play
	for i := range files {
		text += fmt.Sprintf("    - copy: {content: 'file %d', dest: /root/f%d}\n", i, i)
	}
	text += "    - copy: {src: big, dest: /root/big}\n    - copy: {src: big, dest: /root/big2}\n    - command: 'true'\n      changed_when: false\n"
	book := s.write("play.yml", text)
	first, second := s.wire(book), s.wire(book)
	const tasks = files + 3
	if overhead := int64(6); second.FramesOut > tasks+overhead {
		t.Errorf("%d frames out for %d tasks", second.FramesOut, tasks)
	}
	if first.BytesOut < 1<<20 || first.BytesOut > 1<<20+1<<17 {
		t.Errorf("%d bytes out: the same content of 1 MiB for two files has to travel once", first.BytesOut)
	}
	if second.BytesOut > 200<<10 {
		t.Errorf("%d bytes out to a host that has everything", second.BytesOut)
	}
}

// wire runs a playbook and gives what crossed the wire.
func (s *rig) wire(book string) event.Wire {
	s.Helper()
	out := s.calroll(runner.ExitOK, "run", book, "--output", "json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var e event.Event
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &e); err != nil || e.Wire == nil {
		s.Fatalf("cannot read the end of the run: %v\n%s", err, out)
	}
	return *e.Wire
}

// TestUndoForgetsFailures: a unit that was not failed before is not failed afterwards, whatever it says when it is stopped.
func TestUndoForgetsFailures(t *testing.T) {
	s := newRig(t, 1)
	h := s.lab.Hosts[0]
	const unit = "[Service]\n          ExecStart=/bin/sh -c 'trap \"exit 3\" TERM; sleep infinity & wait'\n"
	book := s.write("play.yml", play+"    - copy:\n        dest: /etc/systemd/system/sulky.service\n        content: |\n          "+unit+
		"    - systemd: {name: sulky, state: started, daemon_reload: true}\n")
	s.calroll(runner.ExitOK, "run", book)
	if got := s.sh(h, "systemctl is-active sulky"); got != "active" {
		t.Fatalf("the unit is %s", got)
	}
	s.calroll(runner.ExitOK, "rollback", "last")
	if got := s.sh(h, "systemctl list-units --all --failed --no-legend; ls /etc/systemd/system/sulky.service 2>&1 || true"); strings.Contains(got, "●") || !strings.Contains(got, "No such file") {
		t.Errorf("after the rollback there is %q", got)
	}
}

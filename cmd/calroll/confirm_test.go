package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/calroll/calroll/runner"
	"github.com/calroll/calroll/testenv"
)

const confirmPlay = `- hosts: all
  gather_facts: false
  confirm: "{{ within }}"
  tasks:
    - copy: {content: new, dest: /root/settings}
    - shell: "{{ cut }}"
      when: inventory_hostname == victim
      undo:
        - shell: iptables -F INPUT; iptables -F OUTPUT
`

// confirms is a lab whose hosts have settings, and what a run of the play says.
func (s *rig) confirms(want int, victim *testenv.Host, cut string, flags ...string) string {
	s.Helper()
	for _, h := range s.lab.Hosts {
		s.sh(h, "echo old >/root/settings")
	}
	text := s.calroll(want, append([]string{"run", s.write("confirm.yml", confirmPlay), "-e", "victim=" + victim.Name, "-e", "cut='" + cut + "'"}, flags...)...)
	for _, h := range s.lab.Hosts {
		s.nothingRuns(h)
	}
	return text
}

// nothingRuns checks that nothing of calroll is on a host but journals and the files of the lock.
func (s *rig) nothingRuns(h *testenv.Host) {
	s.Helper()
	s.until(func() bool {
		r, err := h.Exec(s.Context(), "pgrep", "-f", "remote-serve")
		return err == nil && r.Code == 1
	})
	if left := s.sh(h, "find /var/lib/calroll/runs -maxdepth 1 -type f -printf '%f\n' | sort | xargs"); left != "gate lock seat" {
		s.Errorf("%s has %s", h.Name, left)
	}
}

// TestConfirm: a host that cannot be told that it stays as it is goes back, and so does its batch.
func TestConfirm(t *testing.T) {
	s := newRig(t, 2)
	victim, other := s.lab.Hosts[0], s.lab.Hosts[1]
	settings := func(want string) {
		t.Helper()
		for _, h := range s.lab.Hosts {
			if got := s.sh(h, "cat /root/settings; iptables -S | grep -c -- --dport || true"); got != want+"\n0" {
				t.Errorf("%s has %q, want %s and no rule", h.Name, got, want)
			}
		}
	}

	soon := []string{"-e", "within=15s", "-T", "5", "--connect-retries", "0"}

	// All is well.
	text := s.confirms(runner.ExitOK, victim, "true", "-e", "within=60s")
	s.contains(text, "CONFIRM [", "ok: ["+victim.Name+"] confirmed", "ok: ["+other.Name+"] confirmed")
	if got := s.sh(victim, "cat /root/settings"); got != "new" {
		t.Errorf("it has %s", got)
	}
	if text := s.calroll(runner.ExitOK, "run", s.dir+"/confirm.yml", "-e", "victim=none", "-e", "cut=true", "-e", "within=60s"); strings.Contains(text, "CONFIRM") {
		t.Errorf("nothing was altered, and that was confirmed:\n%s", text)
	}

	// No new connection can be made. The one that is there takes the batch back.
	text = s.confirms(runner.ExitFailed, victim, "iptables -I INPUT -p tcp --dport 22 --syn -j DROP", soon...)
	s.contains(text, "unreachable: ["+victim.Name+"] cannot confirm what was done there: cannot connect to", "a host of this one was not confirmed",
		"changed: ["+victim.Name+"] 2 restored", "changed: ["+other.Name+"] 1 restored")
	settings("old")

	// The host hears nothing. It goes back by itself, which the run waits for, and the run takes back the rest.
	const deaf = "iptables -I INPUT -p tcp --dport 22 -j DROP"
	text = s.confirms(runner.ExitFailed, victim, deaf, soon...)
	s.contains(text, "unreachable: ["+victim.Name+"] cannot confirm", "waiting: ["+victim.Name+"] up to 1m", "for it to go back by itself",
		"changed: ["+victim.Name+"] 2 taken back by the host itself (not confirmed in 15s)", "changed: ["+other.Name+"] 1 restored")
	settings("old")

	// Nor can it say anything: what it did reaches the run when it is back already.
	text = s.confirms(runner.ExitFailed, victim, deaf+"; iptables -I OUTPUT -p tcp --sport 22 -j DROP", soon...)
	s.contains(text, "the host has taken back by itself what the run changed",
		"changed: ["+victim.Name+"] 2 taken back by the host itself (not confirmed in 15s)", "changed: ["+other.Name+"] 1 restored")
	settings("old")
	if list, err := s.command("runs", "ls").Output(); err != nil || strings.Count(string(list), "rolled back") != 3 {
		t.Errorf("%v\n%s", err, list)
	}
}

// TestConfirmWithoutController: a host whose controller was killed goes back by itself, as every user. The run, gone on with, does again what it did.
func TestConfirmWithoutController(t *testing.T) {
	s := newRig(t, 1)
	h := s.lab.Hosts[0]
	const both = "cat /root/settings /home/ops/settings"
	s.sh(h, "echo old | tee /root/settings >/home/ops/settings; chown ops: /home/ops/settings")
	book := s.write("play.yml", "- hosts: all\n  gather_facts: false\n  confirm: 10s\n  tasks:\n    - copy: {content: \"new\\n\", dest: /home/ops/settings}\n"+
		"    - copy: {content: \"new\\n\", dest: /root/settings}\n      become: true\n"+
		"    - shell: 'touch /run/started; until test -e /run/go; do sleep 0.05; done'\n      undo: none\n      become: true\n")
	cmd := s.command("run", book, "-e", "ansible_user=ops", "-i", s.lab.InventoryFile())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	t.Cleanup(func() {
		killed()
		if t.Failed() {
			t.Log(out.String())
		}
	})
	s.until(func() bool { return s.has(h, "/run/started") })
	killed()
	s.until(func() bool { return s.sh(h, both) == "old\nold" })
	s.nothingRuns(h)
	show, err := s.command("runs", "show", "last").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	s.contains(string(show), "Not confirmed: "+h.Name)
	s.sh(h, "touch /run/go")
	resumed := s.calroll(runner.ExitOK, "resume", "last", "-e", "ansible_user=ops")
	s.contains(resumed, "changed: ["+h.Name+"] 2 taken back by the host itself (not confirmed in 10s)", "ok: ["+h.Name+"] confirmed")
	if got := s.sh(h, both); got != "new\nnew" {
		t.Errorf("after the resume it has %s:\n%s", got, resumed)
	}
	s.nothingRuns(h)
}

// TestConfirmOfAHostThatBoots: the watcher ends with the host, so the run waits until it is there again, and takes back what was done.
func TestConfirmOfAHostThatBoots(t *testing.T) {
	s := newRig(t, 1)
	h := s.lab.Hosts[0]
	s.sh(h, "echo old >/root/settings")
	book := s.write("play.yml", "- hosts: all\n  gather_facts: false\n  confirm: 60s\n  tasks:\n    - copy: {content: \"new\\n\", dest: /root/settings}\n"+
		"    - shell: 'touch /run/started; until test -e /run/go; do sleep 0.05; done'\n      undo: none\n")
	cmd, said := s.start("run", book, "-i", s.lab.InventoryFile())
	s.until(func() bool { return s.has(h, "/run/started") })
	if err := h.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.until(func() bool { return strings.Contains(said(), "waiting: ["+h.Name+"] up to 1m") })
	if err := h.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != runner.ExitUnreachable {
		t.Errorf("the run ends with %d", code)
	}
	s.contains(said(), "fatal: ["+h.Name+"]: UNREACHABLE!", "changed: ["+h.Name+"] 1 restored")
	if got := s.sh(h, "cat /root/settings"); got != "old" {
		t.Errorf("it has %s", got)
	}
	s.nothingRuns(h)
}

package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/calroll/calroll/runner"
	"github.com/calroll/calroll/runner/store"
	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/artifacts"
)

// bastion is a calroll that shares etcd with others, and nothing else.
type bastion struct {
	*rig
	name, state string
}

func (s *rig) bastions(names ...string) []bastion {
	s.Helper()
	set, err := artifacts.Build(s.Context(), artifacts.Request{Parts: []artifacts.Part{artifacts.EtcdPrograms}}, artifacts.Options{})
	if err != nil {
		s.Fatal(err)
	}
	etcd, err := artifacts.StartEtcd(s.Context(), artifacts.EtcdOptions{Programs: set})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := etcd.Stop(); err != nil {
			s.Error(err)
		}
	})
	var all []bastion
	for _, n := range names {
		all = append(all, bastion{s, n, "etcd://" + strings.TrimPrefix(etcd.Endpoints()[0], "http://") + "/test?lease=10s"})
	}
	return all
}

func (b bastion) command(args ...string) (*exec.Cmd, *bytes.Buffer) {
	cmd, out := b.rig.command(append(args, "-i", b.lab.InventoryFile())...), &bytes.Buffer{}
	cmd.Env = append(cmd.Env, "XDG_STATE_HOME="+filepath.Join(b.dir, b.name), "CALROLL_BASTION="+b.name, "CALROLL_STATE="+b.state)
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

func (b bastion) calroll(want int, args ...string) string {
	b.Helper()
	cmd, out := b.command(args...)
	_ = cmd.Run()
	b.ended(cmd, out, want)
	return out.String()
}

func (b bastion) ended(cmd *exec.Cmd, out *bytes.Buffer, want int) {
	b.Helper()
	if code := cmd.ProcessState.ExitCode(); code != want {
		b.Fatalf("%s: calroll ended with %d, not %d:\n%s", b.name, code, want, out)
	}
}

func (b bastion) start(args ...string) (*exec.Cmd, *bytes.Buffer) {
	b.Helper()
	cmd, out := b.command(args...)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, out
}

// runs of a bastion are those of all that this one sees, the newest first.
func (b bastion) runsOf(name string) []store.Meta {
	b.Helper()
	cmd, out := b.command("runs", "ls", "-o", "json")
	cmd.Args = slices.Delete(cmd.Args, len(cmd.Args)-2, len(cmd.Args)) // no inventory
	if err := cmd.Run(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	var runs []store.Meta
	if err := json.Unmarshal(out.Bytes(), &runs); err != nil {
		b.Fatal(err)
	}
	return slices.DeleteFunc(runs, func(m store.Meta) bool { return m.Bastion != name })
}

const sharedPlay = play + `    - copy: {content: x, dest: "/root/of-{{ who }}"}
    - shell: 'echo enter {{ who }} >>/root/history; touch /run/in-{{ who }}; while [ ! -e /run/go-{{ who }} ]; do sleep 0.05; done; echo leave {{ who }} >>/root/history'
      undo: []
    - copy: {content: x, dest: "/root/after-{{ who }}"}
`

// TestTwoBastions has two start the same run at the same time. One goes on; the other is told who does, and may begin only when the first is
// done or its lease has expired, however it went: killed, or asleep, after which it is refused by the hosts and stops.
func TestTwoBastions(t *testing.T) {
	s := newRig(t, 1)
	h := s.lab.Hosts[0]
	both := s.bastions("east", "west")
	east, west := both[0], both[1]
	book := s.write("play.yml", sharedPlay)
	enter := func(b bastion, who string) (*exec.Cmd, *bytes.Buffer) {
		cmd, out := b.start("run", book, "-e", "who="+who)
		s.until(func() bool { return s.has(h, "/run/in-"+who) })
		return cmd, out
	}

	s.contains(west.calroll(runner.ExitOK, "locks"), h.Name, "free") // and the helper is there
	first, _ := enter(east, "killed")
	text := west.calroll(runner.ExitError, "run", book, "-e", "who=refused")
	s.contains(text, "from east is at work on 1 hosts ("+h.Name+")")
	s.contains(west.calroll(runner.ExitOK, "locks"), "held", "from east", east.runsOf("east")[0].ID)
	s.contains(west.calroll(runner.ExitError, "unlock", "--yes"), "is alive")
	if got := west.runsOf("east"); len(got) != 1 || got[0].State != store.Running {
		t.Errorf("west sees %+v", got)
	}
	// The host may be in its second task before east has heard of the first.
	s.until(func() bool { return strings.Contains(west.show(east.runsOf("east")[0].ID), "changed: ["+h.Name+"]") })
	_ = first.Process.Kill()
	_ = first.Wait()
	s.until(func() bool { return west.runsOf("east")[0].State == store.Killed })
	run := west.runsOf("east")[0].ID
	s.contains(west.show(run), "This run was killed: its claim has ended, and east has not said how the run did")
	s.contains(west.tell("explain", run), "killed (its claim has ended)", "the run was killed")
	s.sh(h, "touch /run/go-next")
	west.calroll(runner.ExitOK, "run", book, "-e", "who=next", "--lock-timeout", "1m")
	s.sh(h, "touch /run/go-killed") // whoever is still there leaves

	asleep, out := enter(east, "asleep")
	_ = asleep.Process.Signal(syscall.SIGSTOP)
	s.sh(h, "touch /run/go-last")
	west.calroll(runner.ExitOK, "run", book, "-e", "who=last", "--lock-timeout", "1m")
	s.sh(h, "touch /run/go-asleep")
	_ = asleep.Process.Signal(syscall.SIGCONT)
	_ = asleep.Wait()
	if asleep.ProcessState.Success() {
		t.Errorf("the bastion that slept ended as if nothing had been:\n%s", out)
	}
	s.critical(h, "killed", "next", "asleep", "last")
	if s.has(h, "/root/after-killed") || s.has(h, "/root/after-asleep") || s.has(h, "/root/of-refused") {
		t.Error("a bastion without the lock has worked on the host")
	}

	// What was run there can be looked at and taken back from here.
	killed := west.runsOf("east")[1].ID
	s.contains(west.show(killed), "changed: ["+h.Name+"]")
	west.calroll(runner.ExitOK, "rollback", killed)
	if s.has(h, "/root/of-killed") {
		t.Error("it was not taken back")
	}
	if got := east.runsOf("east")[1].State; got != store.RolledBack {
		t.Errorf("east says of its run: %s", got)
	}
	s.contains(west.calroll(runner.ExitOK, "locks"), h.Name, "free")
}

func (b bastion) show(run string) string {
	b.Helper()
	return b.tell("runs", "show", run)
}

// tell is what a command without an inventory prints.
func (b bastion) tell(args ...string) string {
	b.Helper()
	cmd, out := b.command(args...)
	cmd.Args = slices.Delete(cmd.Args, len(cmd.Args)-2, len(cmd.Args))
	if err := cmd.Run(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return out.String()
}

// critical reads what the runs have written down on the host: nobody was there while another was.
func (s *rig) critical(h *testenv.Host, order ...string) {
	s.Helper()
	var want []string
	for i, who := range order {
		want = append(want, "enter "+who)
		if i%2 == 1 { // the others were cut off
			want = append(want, "leave "+who)
		}
	}
	if got := s.sh(h, "cat /root/history"); got != strings.Join(want, "\n") {
		s.Errorf("the history of the host is\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// TestBastionsShareHashes: to each of two bastions the inventory and the variables of a run of the other are the same, as they are. The key is in no run's
// folder.
func TestBastionsShareHashes(t *testing.T) {
	s := newRig(t, 1)
	both := s.bastions("east", "west")
	east, west := both[0], both[1]
	book := s.write("play.yml", play+"    - command: test -e /run/{{ what }}\n      changed_when: false\n")
	east.calroll(runner.ExitFailed, "run", book, "-e", "what=fine")
	s.sh(s.lab.Hosts[0], "touch /run/fine")
	west.calroll(runner.ExitOK, "resume", "last", "-e", "what=fine")
	west.calroll(runner.ExitOK, "run", book, "-e", "what=fine")
	runs := east.runsOf("west") // who goes on with a run has it
	if text := east.tell("runs", "diff", runs[0].ID, runs[1].ID); len(runs) != 2 || strings.Contains(text, "variable") {
		t.Errorf("the same variables differ:\n%s", text)
	}
	s.contains(west.calroll(runner.ExitError, "resume", runs[0].ID, "-e", "what=else"), "extra variable what: was there, is other content")
	key, err := os.ReadFile(filepath.Join(s.dir, "east", "calroll", "runs.key"))
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(filepath.Join(s.dir, "west"), func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		if bytes.Contains(text, key) || bytes.Contains(text, []byte(hex.EncodeToString(key))) {
			t.Errorf("the key is in %s", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestLocksOfAHost without a state that is shared: a bastion that vanishes leaves the host locked, and unlock fences it off.
func TestLocksOfAHost(t *testing.T) {
	s := newRig(t, 1)
	h := s.lab.Hosts[0]
	east, west := bastion{s, "east", ""}, bastion{s, "west", ""}
	book := s.write("play.yml", sharedPlay)
	cmd, out := east.start("run", book, "-e", "who=east")
	s.until(func() bool { return s.has(h, "/run/in-east") })
	s.contains(west.calroll(runner.ExitFailed, "run", book, "-e", "who=west"), "another run holds it", "from east")
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	s.until(func() bool {
		r, err := h.Exec(t.Context(), "pgrep", "-f", "remote-serve")
		return err == nil && r.Code == 1
	})
	s.contains(west.calroll(runner.ExitFailed, "run", book, "-e", "who=west"), "from east", "its helper is gone, and the lock expires in")
	text := west.calroll(runner.ExitOK, "locks")
	s.contains(text, "left", "from east", "is open on "+h.Name, "calroll rollback")
	s.contains(west.calroll(runner.ExitError, "unlock"), "from east", "use --yes")
	s.contains(west.calroll(runner.ExitOK, "unlock", "--yes"), h.Name+": unlocked; ", "from east")
	s.sh(h, "touch /run/go-west")
	west.calroll(runner.ExitOK, "run", book, "-e", "who=west")
	s.contains(west.calroll(runner.ExitOK, "unlock", "--yes"), "no host is locked")
	east.calroll(runner.ExitOK, "rollback", "last")
	if s.has(h, "/root/of-east") || !s.has(h, "/root/of-west") {
		t.Errorf("the wrong run was taken back\n%s", out)
	}
}

// TestBastionsGoOn: what one bastion has taken back by hand another does again when it goes on; and one that has waited for the other goes on from where that
// has left the run, not from where it was when the waiting began.
func TestBastionsGoOn(t *testing.T) {
	s := newRig(t, 1)
	h := s.lab.Hosts[0]
	both := s.bastions("east", "west")
	east, west := both[0], both[1]
	book := s.write("play.yml", sharedPlay+"    - command: test -e /run/fine\n      changed_when: false\n")
	first, _ := east.start("run", book, "-e", "who=first")
	s.until(func() bool { return s.has(h, "/run/in-first") })
	run := east.runsOf("east")[0].ID

	waiting, out := west.start("resume", run, "-e", "who=first", "--lock-timeout", "1m")
	s.until(func() bool {
		_, err := os.Stat(filepath.Join(s.dir, "west", "calroll", "runs", run, "answers.jsonl"))
		return err == nil
	})
	s.sh(h, "touch /run/go-first")
	_ = first.Wait()
	_ = waiting.Wait()
	west.ended(waiting, out, runner.ExitFailed)
	if got := s.sh(h, "cat /root/history"); got != "enter first\nleave first" {
		t.Errorf("what was done while it waited is done again:\n%s\n%s", got, out)
	}

	east.calroll(runner.ExitOK, "rollback", run)
	s.sh(h, "touch /run/fine")
	if s.has(h, "/root/of-first") {
		t.Error("it was not taken back")
	}
	west.calroll(runner.ExitOK, "resume", run, "-e", "who=first")
	if !s.has(h, "/root/of-first") || !s.has(h, "/root/after-first") {
		t.Error("what the other bastion has taken back is not done again")
	}
}

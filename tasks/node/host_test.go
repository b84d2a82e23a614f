package node_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
	"github.com/calroll/calroll/tasks/node"
	"github.com/calroll/calroll/testenv"
)

// On a host of the lab this program is its own helper: it is copied there and, called with helperCommand, runs steps.
const helperCommand = "calroll-node-test-helper"

// hostStep is a step as the helper reads it.
type hostStep struct {
	Module string         `json:"module"`
	Args   map[string]any `json:"args"`
	Check  bool           `json:"check"`
}

func init() {
	if len(os.Args) > 2 && os.Args[1] == helperCommand {
		os.Exit(help(os.Args[2]))
	}
}

const hostRuns = "/var/lib/calroll-node-test/runs"

// help runs the steps on stdin, or takes them back.
func help(what string) int {
	ctx := context.Background()
	var out any
	var err error
	if what == "undo" {
		out, err = journal.Undo(ctx, hostRuns, "r", journal.UndoOptions{}, tasks.NodeKinds(tasks.KindOptions{Modules: node.Modules()}))
	} else {
		out, err = helpSteps(ctx)
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func helpSteps(ctx context.Context) ([]map[string]any, error) {
	var steps []hostStep
	if err := json.NewDecoder(os.Stdin).Decode(&steps); err != nil {
		return nil, err
	}
	j, err := journal.Open(hostRuns, "r", journal.Holder{})
	if err != nil {
		return nil, err
	}
	defer j.Close()
	var answers []map[string]any
	for i, s := range steps {
		sys := tasks.NewSys(tasks.Options{Recorder: j, Check: s.Check, Task: int64(i + 1)})
		make, ok := node.Modules().Lookup(s.Module)
		if !ok {
			return nil, fmt.Errorf("no module %s", s.Module)
		}
		m, errs := tasks.SpecOf(make()).Decode(s.Args)
		if err := tasks.JoinArgErrors(s.Module, errs); err != nil {
			answers = append(answers, map[string]any{"failed": true, "changed": false, "msg": err.Error()})
		} else {
			answers = append(answers, tasks.Run(ctx, m, sys).Vars())
		}
		if err := sys.Close(); err != nil {
			return nil, err
		}
	}
	return answers, nil
}

// helperOn copies this program to a host and gives its path there.
func helperOn(t *testing.T, h *testenv.Host) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	const path = "/usr/local/bin/" + helperCommand
	if err := h.WriteFile(t.Context(), path, 0o755, program); err != nil {
		t.Fatal(err)
	}
	return path
}

func runOnHost(t *testing.T, h *testenv.Host, steps []step) []map[string]any {
	t.Helper()
	answers, err := runBy(t.Context(), h, helperOn(t, h), steps)
	if err != nil {
		t.Fatal(err)
	}
	return answers
}

// runBy is runOnHost by a helper that is there already, for any goroutine.
func runBy(ctx context.Context, h *testenv.Host, helper string, steps []step) (answers []map[string]any, err error) {
	wire := make([]hostStep, len(steps))
	for i, s := range steps {
		wire[i] = hostStep{s.module, s.args, s.check}
		if s.sh != "" {
			wire[i] = hostStep{Module: "shell", Args: args{"cmd": s.sh}}
		}
	}
	raw, err := json.Marshal(wire)
	if err != nil {
		return nil, err
	}
	out, err := h.Pipe(ctx, bytes.NewReader(raw), helper, helperCommand, "steps")
	if err != nil {
		return nil, err
	}
	return answers, json.Unmarshal([]byte(out), &answers)
}

// undoOnHost takes everything back and fails the test when something could not be.
func undoOnHost(t *testing.T, h *testenv.Host) journal.Report {
	t.Helper()
	out, err := h.Output(t.Context(), "/usr/local/bin/"+helperCommand, helperCommand, "undo")
	if err != nil {
		t.Fatal(err)
	}
	var report journal.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	for _, i := range report.Items {
		if i.Error != "" {
			t.Errorf("undo of %s %s: %s: %s", i.Kind, i.Key, i.Outcome, i.Error)
		}
	}
	return report
}

func ansibleOnHost(t *testing.T, lab *testenv.Lab, h *testenv.Host, steps []step) []map[string]any {
	t.Helper()
	var list []any
	for _, s := range steps {
		task := map[string]any{"ignore_errors": true, "check_mode": s.check}
		if s.sh != "" {
			task["shell"] = s.sh
		} else {
			task[s.module] = s.args
		}
		list = append(list, task)
	}
	raw, err := json.Marshal([]any{map[string]any{"hosts": h.Name, "gather_facts": false, "tasks": list}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "play.json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "ansible-playbook", "-i", lab.InventoryFile(), file)
	cmd.Env = append(os.Environ(), "ANSIBLE_STDOUT_CALLBACK=json", "ANSIBLE_PIPELINING=1")
	out, err := cmd.Output()
	var report struct {
		Plays []struct {
			Tasks []struct{ Hosts map[string]map[string]any }
		}
	}
	if jerr := json.Unmarshal(out, &report); jerr != nil || len(report.Plays) != 1 || len(report.Plays[0].Tasks) != len(steps) {
		t.Fatalf("ansible-playbook: %v %v\n%s", err, jerr, out)
	}
	var answers []map[string]any
	for _, task := range report.Plays[0].Tasks {
		answers = append(answers, task.Hosts[h.Name])
	}
	return answers
}

func unitFile(name, text string) step {
	return do("copy", args{"dest": "/etc/systemd/system/" + name, "content": text})
}

func unit(more ...any) step {
	s := cmd("systemd", "", more...)
	delete(s.args, "cmd")
	return s
}

func kernel(more ...any) step {
	s := cmd("sysctl", "", more...)
	delete(s.args, "cmd")
	return s
}

var unitSteps = []step{
	unitFile("a.service", "[Unit]\nDescription=a\n[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/true\nExecReload=/bin/echo two\nEnvironment=A=b \"C=d e\"\n[Install]\nWantedBy=multi-user.target\n"),
	unitFile("bad.service", "[Service]\nExecStart=/bin/false\nType=oneshot\n"),
	unitFile("plain.service", "[Service]\nExecStart=/bin/sleep infinity\n"),
	unit("daemon_reload", true), checked(unit("name", "a", "state", "started", "enabled", true)), unit("name", "a", "state", "started", "enabled", true), unit("name", "a", "state", "started", "enabled", true),
	unit("name", "a", "enabled", true), checked(unit("name", "a", "state", "restarted")), unit("name", "a", "state", "restarted"), unit("service", "a.service", "state", "reloaded"),
	unit("name", "cron", "masked", true), unit("name", "cron", "masked", true), unit("name", "cron", "masked", false), unit("name", "docker", "masked", false),
	unit("name", "nosuch", "state", "started"), checked(unit("name", "nosuch", "state", "started")), unit("name", "nosuch", "state", "stopped"), unit("name", "nosuch", "enabled", true), unit("name", "nosuch", "enabled", false),
	unit("name", "bad", "state", "started"), unit("name", "bad", "state", "stopped"), unit("name", "bad", "enabled", true),
	unit("name", "plain", "state", "started"), unit("name", "plain", "state", "reloaded"), unit("name", "plain", "state", "stopped"), unit("name", "plain", "state", "stopped"), unit("name", "plain", "state", "reloaded"),
	unit("state", "started"), unit("name", "a"), unit("daemon_reload", true, "name", "a"), unit("name", "a*", "state", "started"), unit("name", "a", "enabled", false, "state", "stopped", "no_block", false),
	unit("name", "multi-user.target", "state", "started", "enabled", true), unit("name", "a", "state", "nonsense"), do("service", args{"name": "a", "enabled": true, "state": "started", "pattern": "x", "sleep": 3}),
	do("service", args{"name": "a", "state": "stopped", "use": "systemd"}), do("service", args{"name": "a"}), do("service", args{"state": "started"}),
	sh("systemctl is-active a plain bad; systemctl is-enabled a plain bad cron; readlink /etc/systemd/system/*.wants/a.service; ls /etc/systemd/system/*/"),
}

var sysctlSteps = []step{
	do("copy", args{"dest": "/tmp/s.conf", "content": "# c\nkernel.panic=0\n\n; x\n vm.swappiness = 10 \nkernel.panic = 1\nbroken line\n"}),
	kernel("name", "vm.swappiness", "value", "10", "sysctl_file", "/tmp/s.conf", "reload", false), kernel("name", "kernel.panic", "value", 7, "sysctl_file", "/tmp/s.conf", "reload", false), sh("cat /tmp/s.conf"),
	kernel("key", "net.ipv4.ip_forward", "val", true, "sysctl_file", "/tmp/s.conf", "reload", false), kernel("name", "net.ipv4.tcp_rmem", "value", "4096  131072\t6291456", "sysctl_file", "/tmp/s.conf", "reload", false),
	kernel("name", "net/ipv4/ip_forward", "value", "1", "sysctl_file", "/tmp/s.conf", "reload", false), sh("cat /tmp/s.conf"),
	kernel("name", "kernel.panic", "state", "absent", "sysctl_file", "/tmp/s.conf", "reload", false), kernel("name", "kernel.panic", "state", "absent", "sysctl_file", "/tmp/s.conf", "reload", false),
	kernel("name", "vm.swappiness", "value", 33, "state", "absent", "sysctl_file", "/tmp/s.conf", "reload", false), sh("cat /tmp/s.conf"), kernel("name", "kernel.panic", "sysctl_file", "/tmp/s.conf"), kernel("name", "kernel.panic", "value", ""),
	kernel("name", "", "value", "1"), kernel("name", "no.such.key", "value", "3", "sysctl_file", "/tmp/s2.conf", "reload", false, "sysctl_set", true), kernel("name", "no.such.key", "value", "3", "sysctl_file", "/tmp/s2.conf"),
	kernel("name", "no.such.key", "value", "3", "sysctl_file", "/tmp/s2.conf", "ignoreerrors", true, "sysctl_set", true), sh("cat /tmp/s2.conf"),
	checked(kernel("name", "net.ipv4.ip_forward", "value", "0", "sysctl_file", "/tmp/s3.conf", "sysctl_set", true)), checked(kernel("name", "no.such.key", "value", "0", "sysctl_file", "/tmp/s3.conf", "sysctl_set", true)),
	kernel("name", "net.ipv4.ip_forward", "value", "0", "sysctl_file", "/tmp/s3.conf", "sysctl_set", true), kernel("name", "net.ipv4.ip_forward", "value", "0", "sysctl_file", "/tmp/s3.conf", "sysctl_set", true), sh("cat /proc/sys/net/ipv4/ip_forward /tmp/s3.conf; ls -l /tmp/s3.conf | cut -c1-10"),
	sh("echo 1 >/proc/sys/net/ipv4/ip_forward"), kernel("name", "net.ipv4.ip_forward", "value", "0", "sysctl_file", "/tmp/s3.conf"), sh("cat /proc/sys/net/ipv4/ip_forward"),
	kernel("name", "net.ipv4.ip_forward", "value", "abc", "sysctl_file", "/tmp/s3.conf", "sysctl_set", true), sh("cat /tmp/s3.conf"), kernel("name", "net.ipv4.conf.eth0.rp_filter", "value", "0", "sysctl_file", "/etc/sysctl.d/99-sysctl.conf"), sh("readlink /etc/sysctl.d/99-sysctl.conf; tail -1 /etc/sysctl.conf"),
	kernel("name", "net.ipv4.ip_forward", "state", "absent", "sysctl_file", "/tmp/s3.conf", "sysctl_set", true), sh("cat /proc/sys/net/ipv4/ip_forward; wc -c </tmp/s3.conf"), sh("echo 1 >/proc/sys/net/ipv4/ip_forward"),
}

// TestHostSameAsAnsible runs units and kernel parameters through Ansible on one host and through the modules on another.
func TestHostSameAsAnsible(t *testing.T) {
	lab := testenv.ForTest(t, 2)
	if err := lab.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	steps := slices.Concat(unitSteps, sysctlSteps)
	var ours, theirs []map[string]any
	var both sync.WaitGroup
	both.Go(func() { theirs = ansibleOnHost(t, lab, lab.Hosts[0], steps) })
	ours = runOnHost(t, lab.Hosts[1], steps)
	both.Wait()
	for i, s := range steps {
		what := fmt.Sprintf("step %d (%s %v %s)", i+1, s.module, s.args, s.sh)
		our, their := hostAnswer(ours[i]), hostAnswer(theirs[i])
		if s.module == "copy" {
			continue
		}
		sameFailure(our, their)
		sameAnswer(t, what, our, their)
	}
	forgetFailures(t, lab)
}

// forgetFailures lets the next test have the hosts.
func forgetFailures(t *testing.T, lab *testenv.Lab) {
	t.Helper()
	for _, h := range lab.Hosts {
		if _, err := h.Output(t.Context(), "systemctl", "reset-failed"); err != nil {
			t.Error(err)
		}
	}
}

func hostAnswer(r map[string]any) map[string]any {
	out := answerOf(r, "\x00")
	status, _ := out["status"].(map[string]any)
	for k, v := range status {
		if text, ok := v.(string); ok && !movingProperty(k) {
			words := strings.Fields(text) // systemd lists units in any order
			slices.Sort(words)
			out["status "+k] = strings.Join(words, " ")
		}
	}
	delete(out, "status")
	return out
}

// movingProperty tells that a unit's property is about this moment, this process or this machine's memory.
func movingProperty(name string) bool {
	for _, part := range []string{"Timestamp", "PID", "InvocationID", "Memory", "CPUUsage", "Tasks", "ControlGroupId", "IPIngress", "IPEgress", "IORead", "IOWrite", "Exec", "Limit", "After", "Before", "JobId", "Job"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// sameFailure takes the reasons off messages that agree on what failed: the reasons are systemctl's and sysctl's words, or ours.
func sameFailure(our, their map[string]any) {
	a, _ := our["msg"].(string)
	b, _ := their["msg"].(string)
	head, _, _ := strings.Cut(b, ":")
	if our["failed"] == true && their["failed"] == true && (strings.HasPrefix(a, head) || strings.HasPrefix(a, "cannot use the arguments")) {
		our["msg"], their["msg"] = head, head
	}
}

// TestHostUndo shows that units and kernel parameters are what they were.
func TestHostUndo(t *testing.T) {
	ctx := t.Context()
	lab := testenv.ForTest(t, 1)
	if err := lab.Reset(ctx); err != nil {
		t.Fatal(err)
	}
	h := lab.Hosts[0]
	if _, err := h.Sh(ctx, "printf '[Service]\\nExecStart=/bin/sleep infinity\\n[Install]\\nWantedBy=multi-user.target\\n' >/usr/lib/systemd/system/old.service; systemctl daemon-reload; systemctl enable --now -q old; echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter; printf 'q\\n' >/etc/modules-load.d/q.conf"); err != nil {
		t.Fatal(err)
	}
	watch := testenv.Watch{
		Paths: []string{"/etc/systemd", "/etc/sysctl.d", "/etc/sysctl.conf", "/etc/modules-load.d", "/etc/modprobe.d", "/tmp/undo"},
		Units: []string{"new.service", "old.service", "cron.service", "failing.service"}, Sysctls: []string{"net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter", "kernel.panic", "vm.swappiness"},
	}
	before, err := h.Snapshot(ctx, watch)
	if err != nil {
		t.Fatal(err)
	}
	answers := runOnHost(t, h, []step{
		unitFile("new.service", "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"), unitFile("failing.service", "[Service]\nExecStart=/bin/false\nType=oneshot\n"),
		unit("name", "new", "state", "started", "enabled", true, "daemon_reload", true), unit("name", "failing", "state", "started"), unit("name", "old", "state", "stopped", "enabled", false), unit("name", "old", "masked", true, "force", true),
		unit("name", "cron", "masked", true), unit("name", "new", "state", "restarted"),
		kernel("name", "net.ipv4.ip_forward", "value", "0", "sysctl_set", true, "sysctl_file", "/etc/sysctl.d/90-x.conf"), kernel("name", "net.ipv4.conf.all.rp_filter", "value", "1", "sysctl_file", "/etc/sysctl.d/90-x.conf"),
		kernel("name", "kernel.panic", "value", "9", "sysctl_set", true), do("modprobe", args{"name": "overlay", "persistent": "present", "params": "a=1 b=2"}), do("modprobe", args{"name": "q", "persistent": "absent", "state": "present"}),
		do("modprobe", args{"name": "br-netfilter"}),
	})
	for i, a := range answers {
		if want := i == 3 || i == 12; a["failed"] != want || !want && i < 12 && a["changed"] != true {
			t.Errorf("step %d: %v", i+1, a)
		}
	}
	if msg, _ := answers[12]["msg"].(string); !strings.Contains(msg, "cannot load it") {
		t.Errorf("a module that the kernel has not: %q", msg)
	}
	if answers[13]["changed"] != false {
		t.Errorf("a module that is built in: %v", answers[13])
	}
	undoOnHost(t, h)
	forgetFailures(t, lab) // that a unit has failed is a memory, not a state to restore
	after, err := h.Snapshot(ctx, watch)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range before.Diff(after) {
		t.Error(d)
	}
}

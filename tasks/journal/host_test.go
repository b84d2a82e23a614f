package journal_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
	"github.com/calroll/calroll/tasks/node"
	"github.com/calroll/calroll/testenv"
)

// TestMain lets the test binary play its part on a host: host-work and host-undo until they are cut, host-round all of it.
func TestMain(m *testing.M) {
	parts := map[string]func(cut int) error{"host-work": hostWork, "host-undo": hostUndo, "host-round": hostRound}
	if len(os.Args) != 3 || parts[os.Args[1]] == nil {
		os.Exit(m.Run())
	}
	cut, err := strconv.Atoi(os.Args[2])
	if err == nil {
		err = parts[os.Args[1]](cut)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

const (
	cutStatus = 75 // the exit status of a process that was cut
	hostRuns  = "/var/lib/calroll/runs"
)

func hostStep(cut int) func(string) {
	return func(point string) {
		if cut--; cut == 0 {
			fmt.Fprintln(os.Stderr, "cut at", point)
			os.Exit(cutStatus)
		}
	}
}

// hostSetup makes what the work alters. The old unit runs and is enabled, the one of the vendor is neither.
const hostSetup = `
printf '[Unit]\nDescription=old\n[Service]\nExecStart=/bin/sleep 111111\n[Install]\nWantedBy=multi-user.target\n' > /etc/systemd/system/proof-old.service
printf '[Unit]\nDescription=vendor\n[Service]\nExecStart=/bin/sleep 333333\n[Install]\nWantedBy=multi-user.target\n' > /lib/systemd/system/proof-vendor.service
systemctl daemon-reload; systemctl enable --now -q proof-old.service
mkdir -p /etc/proof/sub; echo one > /etc/proof/sub/one; ln -sf sub/one /etc/proof/link; chmod 2750 /etc/proof/sub; chown 5:6 /etc/proof/sub/one
setfattr -n user.proof -v kept /etc/proof/sub/one; setfacl -m u:7:r /etc/proof/sub/one; setcap cap_net_raw+p /etc/proof/sub/one`

// hostWork is a run that touches every kind of state that a host has.
func hostWork(cut int) error {
	ctx, step := context.Background(), hostStep(cut)
	j, err := journal.Open(hostRuns, "proof", journal.Holder{User: "test"})
	if err != nil {
		return err
	}
	defer j.Close()
	for i, op := range hostOps(ctx) {
		sys := tasks.NewSys(tasks.Options{
			Recorder: j, Task: int64(i + 1), Step: step,
			Undo: []tasks.Invocation{{Module: "file", Args: map[string]any{"path": "/etc/proof-made", "state": "absent"}}},
		})
		if err := op(sys); err != nil {
			return fmt.Errorf("operation %d: %w", i+1, err)
		}
		if err := sys.Close(); err != nil {
			return err
		}
	}
	return nil
}

func hostOps(ctx context.Context) []func(*tasks.Sys) error {
	yes, no := true, false
	write := func(path, text string) func(*tasks.Sys) error {
		return func(s *tasks.Sys) error {
			_, err := s.WriteFile(ctx, path, tasks.Text([]byte(text)), tasks.Attrs{}, tasks.WriteOptions{})
			return err
		}
	}
	unit := func(name string, want tasks.UnitState) func(*tasks.Sys) error {
		return func(s *tasks.Sys) error { _, err := s.SetUnit(ctx, name, want); return err }
	}
	remove := func(path string) func(*tasks.Sys) error {
		return func(s *tasks.Sys) error { _, err := s.Remove(ctx, path); return err }
	}
	reload := func(s *tasks.Sys) error { return s.DaemonReload(ctx) }
	unitText := "[Unit]\nDescription=%s\n[Service]\nExecStart=/bin/sleep 222222\n[Install]\nWantedBy=multi-user.target\nAlias=proof-%s-alias.service\n"
	return []func(*tasks.Sys) error{
		write("/etc/systemd/system/proof-new.service", fmt.Sprintf(unitText, "new", "new")),
		reload,
		unit("proof-new", tasks.UnitState{Enabled: &yes, Active: &yes}),
		write("/etc/systemd/system/proof-old.service", fmt.Sprintf(unitText, "changed", "old")),
		reload,
		func(s *tasks.Sys) error { return s.RestartUnit(ctx, "proof-old", false) },
		func(s *tasks.Sys) error {
			value, err := s.Sysctl("net.ipv4.conf.all.arp_ignore")
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(value)
			if err != nil {
				return err
			}
			_, err = s.SetSysctl(ctx, "net.ipv4.conf.all.arp_ignore", strconv.Itoa(1-n))
			return err
		},
		unit("proof-vendor", tasks.UnitState{Masked: &yes}),
		unit("proof-old", tasks.UnitState{Active: &no, Enabled: &no}),
		remove("/etc/systemd/system/proof-old.service"),
		reload,
		remove("/etc/proof"),
		func(s *tasks.Sys) error {
			_, err := s.Exec(ctx, tasks.Cmd{Argv: []string{"touch", "/etc/proof-made"}, Alters: true})
			return err
		},
	}
}

// hostUndo prints the report.
func hostUndo(cut int) error {
	step := hostStep(cut)
	kinds := tasks.NodeKinds(tasks.KindOptions{Modules: node.Modules(), Step: step})
	report, err := journal.Undo(context.Background(), hostRuns, "proof", journal.UndoOptions{Step: step}, kinds)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}

// round is what one round on the host came to.
type round struct {
	Whole   bool // the work was not cut
	Where   string
	Report  journal.Report
	Running string // what the old unit runs, and whether systemd has seen its file
}

// hostRound works until cut, undoes until cut, undoes, and prints what came of it.
func hostRound(cut int) error {
	var r round
	for _, part := range [][]string{{"host-work", strconv.Itoa(cut)}, {"host-undo", strconv.Itoa(cut%23 + 1)}, {"host-undo", "0"}} {
		var stdout, stderr bytes.Buffer
		cmd := exec.Command("/proc/self/exe", part...)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		r.Where += fmt.Sprintf("%s: %s; ", part[0], strings.TrimSpace(stderr.String()))
		if status := cmd.ProcessState.ExitCode(); status != 0 && status != cutStatus {
			return fmt.Errorf("%s%w", r.Where, err)
		}
		if part[0] == "host-work" {
			r.Whole = err == nil
		} else if part[1] == "0" {
			if err := json.Unmarshal(stdout.Bytes(), &r.Report); err != nil {
				return err
			}
		}
	}
	running, err := exec.Command("sh", "-c", `
		for _ in $(seq 500); do # before, it is a process of systemd's own that is about to be the unit's
			running=$(tr '\0' ' ' < /proc/$(systemctl show -P MainPID proof-old)/cmdline)
			case "$running" in /bin/sleep*) break;; esac
		done
		printf %s "$running"; systemctl show -P NeedDaemonReload proof-old`).Output()
	if err != nil {
		return err
	}
	r.Running = strings.TrimSpace(string(running))
	if err := os.RemoveAll(hostRuns); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// TestUndoOnHost cuts a run on a real host, with real systemd, at every point, then cuts its undo, then undoes it: the
// host must be what it was, and the services must run from the unit files that they ran from.
func TestUndoOnHost(t *testing.T) {
	ctx := t.Context()
	host := testenv.ForTest(t, 1).Hosts[0]
	self, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	_, err = host.Pipe(ctx, bytes.NewReader(self), "sh", "-c", "cat > /root/proof && chmod 755 /root/proof")
	must(t, err)
	_, err = host.Sh(ctx, hostSetup)
	must(t, err)

	watch := testenv.Watch{
		Paths: []string{"/etc/systemd", "/lib/systemd/system/proof-vendor.service", "/etc/proof", "/etc/proof-made"},
		Units: []string{"proof-old.service", "proof-new.service", "proof-vendor.service"}, Sysctls: []string{"net.ipv4.conf.all.arp_ignore"},
	}
	start, err := host.Snapshot(ctx, watch)
	must(t, err)
	for cut := 1; ; cut++ {
		out, err := host.Output(ctx, "/root/proof", "host-round", strconv.Itoa(cut))
		must(t, err)
		var r round
		must(t, json.Unmarshal([]byte(out), &r))
		if !r.Report.OK() || r.Running != "/bin/sleep 111111 no" {
			t.Fatalf("cut %d (%s): the old unit runs %q, %+v", cut, r.Where, r.Running, r.Report.Problems())
		}
		end, err := host.Snapshot(ctx, watch)
		must(t, err)
		if diff := start.Diff(end); len(diff) > 0 {
			t.Fatalf("cut %d (%s): the host is not what it was:\n%s\n%+v", cut, r.Where, strings.Join(diff, "\n"), r.Report.Items)
		}
		if r.Whole {
			t.Logf("cut at %d points", cut-1)
			return
		}
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/calroll/calroll/runner"
	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/store"
	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/site"
)

const (
	demoHosts  = 3
	demoBefore = 1 // site.Versions: what is installed first
	demoAfter  = 0 // and what it is upgraded to
	// demoPatience is how long the demo waits for a Felix that it broke itself.
	demoPatience = 15
)

func newLabDemoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Install Calico on three hosts, break an upgrade, watch it roll back, and take everything away",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &demo{out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr()}
			return d.run(cmd.Context())
		},
	}
}

// demo is the tour. Every step that a user would type is run as the user would type it.
type demo struct {
	out, errs io.Writer
	lab       *testenv.Lab
	exe       string
}

func (d *demo) run(ctx context.Context) (err error) {
	start := time.Now()
	if d.exe, err = os.Executable(); err != nil {
		return err
	}
	d.say("Three hosts (systemd, sshd, a Docker engine each), etcd with TLS, and a server of release files")
	d.lab, err = testenv.Start(ctx, testenv.Options{Name: fmt.Sprintf("demo-%d", os.Getpid()), Hosts: demoHosts, Progress: progressTo(d.errs)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.down(context.WithoutCancel(ctx), start)) }()
	here, err := startSite(ctx, d.lab, progressTo(d.errs))
	if err != nil {
		return err
	}
	for _, step := range []func(context.Context, *site.Site) error{d.install, d.again, d.breakUpgrade, d.takeBack} {
		if err := step(ctx, here); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "\n\x1b[1m== %s\x1b[0m\n", fmt.Sprintf(format, args...))
}

// calroll runs this program as the user would.
func (d *demo) calroll(ctx context.Context, want int, args ...string) error {
	fmt.Fprintf(d.out, "$ calroll %s\n", strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, d.exe, args...)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(d.lab.Dir, "state"))
	cmd.Stdout, cmd.Stderr = d.out, d.errs
	err := cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != want {
		return fmt.Errorf("the demo went wrong: calroll ended with %d, not %d: %w", code, want, err)
	}
	return nil
}

func (d *demo) playbook(version int, more ...string) []string {
	args := []string{"run", "calico-etcd", "-i", d.lab.InventoryFile(), "-e", "calico_version=" + site.Versions[version]}
	return append(args, more...)
}

func (d *demo) install(ctx context.Context, here *site.Site) error {
	d.say("Install Calico %s: one canary, then the others", site.Versions[demoBefore])
	if err := d.calroll(ctx, runner.ExitOK, d.playbook(demoBefore)...); err != nil {
		return err
	}
	d.say("What runs now: the unit on a host, its BGP sessions, the nodes in etcd")
	if err := d.show(ctx, "systemctl is-active calico-node; calicoctl get nodes -o wide --config=/etc/calico/calicoctl.cfg; calicoctl node status"); err != nil {
		return err
	}
	out, err := here.Etcd.Command(ctx, "get", "/calico/resources/v3/projectcalico.org/nodes/", "--prefix", "--keys-only").CombinedOutput()
	fmt.Fprintf(d.out, "$ etcdctl get --prefix --keys-only .../nodes/\n%s", strings.ReplaceAll(string(out), "\n\n", "\n"))
	return err
}

// show runs a command on the first host and prints it.
func (d *demo) show(ctx context.Context, script string) error {
	h := d.lab.Hosts[0]
	fmt.Fprintf(d.out, "%s# %s\n", h.Name, script)
	text, err := h.Sh(ctx, script)
	fmt.Fprint(d.out, text)
	return err
}

func (d *demo) again(ctx context.Context, _ *site.Site) error {
	d.say("The same again: nothing to do")
	if err := d.calroll(ctx, runner.ExitOK, d.playbook(demoBefore)...); err != nil {
		return err
	}
	counts, err := d.lastRecap()
	for host, c := range counts {
		if c.Changed != 0 {
			err = errors.Join(err, fmt.Errorf("the demo went wrong: the second run changed %d things on %s", c.Changed, host))
		}
	}
	return err
}

// lastRecap reads the recap of the last run from the run store.
func (d *demo) lastRecap() (map[string]event.Counts, error) {
	s, err := store.Open(filepath.Join(d.lab.Dir, "state", "calroll", "runs"))
	if err != nil {
		return nil, err
	}
	last, err := s.Load("last")
	if err != nil {
		return nil, err
	}
	r := &recap{}
	err = s.Events(last.ID, r)
	return r.counts, err
}

type recap struct{ counts map[string]event.Counts }

func (r *recap) Emit(e event.Event) {
	if e.Kind == event.Recap {
		r.counts = e.Counts
	}
}

// watched is what the demo compares before and after: everything a playbook writes, and the units.
func watched() testenv.Watch {
	return testenv.Watch{Paths: []string{"/etc", "/opt", "/usr/local", "/var/lib/calico"}, Units: []string{"calico-node.service", "docker.service"},
		Sysctls: []string{"net.ipv4.ip_forward"}}
}

func (d *demo) breakUpgrade(ctx context.Context, _ *site.Site) error {
	victim := d.lab.Hosts[1]
	d.say("Upgrade to %s, with %s, in the second batch, made to fail", site.Versions[demoAfter], victim.Name)
	before, err := victim.Snapshot(ctx, watched())
	if err != nil {
		return err
	}
	broken := filepath.Join(d.lab.Dir, "broken.yml")
	text := fmt.Sprintf("all:\n  hosts:\n    %s:\n      felix_env: {FELIX_HEALTHPORT: \"9199\"}\n", victim.Name)
	if err := os.WriteFile(broken, []byte(text), 0o600); err != nil {
		return err
	}
	err = d.calroll(ctx, runner.ExitFailed, d.playbook(demoAfter, "-i", broken, "-e", fmt.Sprintf("wait_felix_seconds=%d", demoPatience))...)
	if err != nil {
		return err
	}
	return d.prove(ctx, victim, before)
}

// prove compares a host with its state before.
func (d *demo) prove(ctx context.Context, h *testenv.Host, before testenv.Snapshot) error {
	after, err := h.Snapshot(ctx, watched())
	if err != nil {
		return err
	}
	if diff := before.Diff(after); len(diff) > 0 {
		return fmt.Errorf("the demo went wrong: %s is not what it was:\n  %s", h.Name, strings.Join(diff, "\n  "))
	}
	fmt.Fprintf(d.out, "%s is what it was before the upgrade: state %.16s before, %.16s now\n", h.Name, before.Hash(), after.Hash())
	return nil
}

func (d *demo) takeBack(ctx context.Context, _ *site.Site) error {
	d.say("What passed was committed; it can still be taken back by hand")
	return d.calroll(ctx, runner.ExitOK, "rollback", "last")
}

func (d *demo) down(ctx context.Context, start time.Time) error {
	d.say("Everything away")
	err := errors.Join(site.StopKept(d.lab), d.lab.Down(ctx))
	if err == nil {
		fmt.Fprintf(d.out, "the demo took %.0f s; nothing of it is left\n", time.Since(start).Seconds())
	}
	return err
}

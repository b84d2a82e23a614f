package node

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/calroll/calroll/tasks"
)

var (
	_ = register("systemd", func() tasks.Module { return &Systemd{} })
	_ = register("systemd_service", func() tasks.Module { return &Systemd{} })
)

// Systemd brings a unit to a state.
type Systemd struct {
	Name string `arg:"name,alias=service|unit" doc:"the unit; without an ending it is a service"`
	unitArgs
}

// unitArgs are the arguments that systemd and service share.
type unitArgs struct {
	State        string `arg:"state,choices=reloaded|restarted|started|stopped" doc:"restarted and reloaded act always, the others when it is not so"`
	Enabled      *bool  `arg:"enabled" doc:"whether it starts with the machine"`
	Masked       *bool  `arg:"masked" doc:"whether it is impossible to start"`
	Force        bool   `arg:"force" doc:"replace links that are in the way"`
	DaemonReload bool   `arg:"daemon_reload,alias=daemon-reload" doc:"make systemd read its unit files again first"`
	DaemonReexec bool   `arg:"daemon_reexec,alias=daemon-reexec" doc:"make systemd start itself anew first"`
	NoBlock      bool   `arg:"no_block" doc:"do not wait until it has started or stopped"`
	Scope        string `arg:"scope,choices=system,default=system" doc:"whose units; those of users cannot be taken back, so they are not managed"`
}

// Rules are Ansible's.
func (*Systemd) Rules() tasks.Rules {
	return tasks.Rules{RequiredBy: map[string][]string{"state": {"name"}, "enabled": {"name"}, "masked": {"name"}}}
}

// Run brings the unit to the state.
func (m *Systemd) Run(ctx context.Context, sys *tasks.Sys) (tasks.Result, error) {
	return m.set(ctx, sys, m.Name)
}

func (m *unitArgs) set(ctx context.Context, sys *tasks.Sys, name string) (r tasks.Result, err error) {
	if i := strings.IndexAny(name, "*?["); i >= 0 {
		return r, fail("This module does not currently support using glob patterns, found '%c' in service name: %s", name[i], name)
	}
	if err := m.refreshManager(ctx, sys); err != nil {
		return r, err
	}
	if name == "" {
		r.Set("name", nil)
		r.Set("status", map[string]any{})
		return r, nil
	}
	status, err := unitStatus(ctx, sys, name)
	if err != nil {
		return r, err
	}
	if e := status["LoadError"]; e != nil && status["LoadState"] != "masked" && status["LoadState"] != "not-found" {
		return r, fail("Error loading unit file '%s': %s", name, e)
	}
	r.Set("name", name)
	r.Set("status", status)
	err = m.steps(ctx, sys, &r, name, status["LoadState"] == "not-found")
	if err != nil { // as Ansible answers: the message only
		r = tasks.Result{}
	}
	return r, err
}

func (m *unitArgs) refreshManager(ctx context.Context, sys *tasks.Sys) error {
	if m.DaemonReexec {
		if err := sys.DaemonReexec(ctx); err != nil {
			return because(err, "failure during daemon-reexec")
		}
	}
	if m.DaemonReload {
		if err := sys.DaemonReload(ctx); err != nil {
			return because(err, "failure during daemon-reload")
		}
	}
	return nil
}

// steps go in the order in which each allows the next: what forbids comes last.
func (m *unitArgs) steps(ctx context.Context, sys *tasks.Sys, r *tasks.Result, name string, missing bool) error {
	set := func(want tasks.UnitState, what string) error {
		want.Force, want.NoBlock = m.Force, m.NoBlock
		changed, err := sys.SetUnit(ctx, name, want)
		r.Changed = r.Changed || changed
		return because(err, "Unable to %s service %s", what, name)
	}
	if m.Masked != nil && !*m.Masked {
		if err := set(tasks.UnitState{Masked: m.Masked}, "unmask"); err != nil {
			return err
		}
	}
	if missing && (m.Enabled != nil || m.State != "") {
		return fail("Could not find the requested service %s: host", name)
	}
	if m.Enabled != nil {
		what := "disable"
		if *m.Enabled {
			what = "enable"
		}
		if err := set(tasks.UnitState{Enabled: m.Enabled}, what); err != nil {
			return err
		}
		r.Set("enabled", *m.Enabled)
	}
	if err := m.setState(ctx, sys, r, name, set); err != nil {
		return err
	}
	if m.Masked != nil && *m.Masked {
		return set(tasks.UnitState{Masked: m.Masked}, "mask")
	}
	return nil
}

func (m *unitArgs) setState(ctx context.Context, sys *tasks.Sys, r *tasks.Result, name string, set func(tasks.UnitState, string) error) error {
	yes, no := true, false
	r.Set("state", "started")
	switch m.State {
	case "started":
		return set(tasks.UnitState{Active: &yes}, "start")
	case "stopped":
		r.Set("state", "stopped")
		if err := set(tasks.UnitState{Active: &no}, "stop"); err != nil || m.NoBlock || sys.Check() {
			return err
		}
		return awaitStopped(ctx, sys, name)
	case "restarted":
		r.Changed = true
		return because(sys.RestartUnit(ctx, name, m.NoBlock), "Unable to restart service %s", name)
	case "reloaded":
		r.Changed = true
		return because(sys.ReloadUnit(ctx, name, m.NoBlock), "Unable to reload service %s", name)
	}
	delete(r.Values, "state")
	return nil
}

// awaitStopped waits for a unit that somebody else is stopping already.
func awaitStopped(ctx context.Context, sys *tasks.Sys, name string) error {
	for {
		u, err := sys.Unit(ctx, name)
		if err != nil || u.ActiveState != "deactivating" {
			return err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// pause waits for d, or for the end of ctx, which is an error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return &tasks.Error{Kind: tasks.Canceled, Op: "finish the task", Err: context.Cause(ctx)}
	}
}

// because puts Ansible's words before an error and keeps its kind.
func because(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &tasks.Error{Kind: tasks.KindOf(err), Detail: fmt.Sprintf(format, args...), Err: err}
}

// unitStatus is what `systemctl show` says of a unit, each value as it prints it: playbooks read these texts, and D-Bus has the
// same properties in other types.
func unitStatus(ctx context.Context, sys *tasks.Sys, name string) (map[string]any, error) {
	out, err := sys.Exec(ctx, tasks.Cmd{Argv: []string{"systemctl", "show", "--no-pager", "--", tasks.UnitName(name)}, Env: map[string]string{"LC_ALL": "C"}})
	if err != nil {
		return nil, err
	}
	if out.Code != 0 {
		return nil, fail("Service is in unknown state: %s", strings.TrimSpace(string(out.Stderr)))
	}
	return showProperties(validText(out.Stdout)), nil
}

// showProperties reads lines of KEY=VALUE. Only Exec* values go over several lines, and those are in braces.
func showProperties(text string) map[string]any {
	status := map[string]any{}
	key, value := "", ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if key != "" {
			value += "\n" + line
		} else {
			k, v, ok := strings.Cut(line, "=")
			if !ok {
				continue
			}
			key, value = k, v
		}
		if strings.HasPrefix(key, "Exec") && strings.HasPrefix(value, "{") && !strings.HasSuffix(strings.TrimRight(value, " "), "}") {
			continue
		}
		status[key] = value
		key = ""
	}
	return status
}

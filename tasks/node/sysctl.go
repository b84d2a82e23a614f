package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/calroll/calroll/tasks"
)

var _ = register("sysctl", func() tasks.Module { return &Sysctl{} })

// Sysctl keeps a kernel parameter in a file, and gives it its value now.
type Sysctl struct {
	Name         string     `arg:"name,alias=key,required" doc:"the parameter, with dots or slashes"`
	Value        *string    `arg:"value,alias=val" doc:"its value"`
	State        string     `arg:"state,choices=present|absent,default=present" doc:"whether the file shall have it"`
	File         tasks.Path `arg:"sysctl_file,default=/etc/sysctl.conf" doc:"the file"`
	Set          bool       `arg:"sysctl_set" doc:"give the parameter its value now, whatever the file had"`
	Reload       bool       `arg:"reload,default=yes" doc:"after a change, give all parameters of the file their values"`
	IgnoreErrors bool       `arg:"ignoreerrors" doc:"go on where the kernel has no such parameter"`

	value string
	file  sysctlFile
}

// Rules are Ansible's.
func (*Sysctl) Rules() tasks.Rules {
	return tasks.Rules{RequiredIf: []tasks.RequiredIf{{Arg: "state", Value: "present", Need: []string{"value"}}}}
}

// Run sets the parameter now, then in the file, then all of the file.
func (m *Sysctl) Run(ctx context.Context, sys *tasks.Sys) (tasks.Result, error) {
	r, err := m.run(ctx, sys)
	r.Changed = r.Changed && err == nil
	return r, err
}

func (m *Sysctl) run(ctx context.Context, sys *tasks.Sys) (r tasks.Result, err error) {
	if err := m.complete(); err != nil {
		return r, err
	}
	text, err := os.ReadFile(m.File.Expand())
	if err != nil && !os.IsNotExist(err) {
		return r, fail("Failed to open %s: %v", m.File, err)
	}
	m.file = parseSysctlFile(string(text))
	now, nowErr := sys.Sysctl(m.Name)
	differs := m.State == "present" && (nowErr != nil || !sameFields(now, m.value))
	rewrite := m.rewrites()
	r.Changed = rewrite || differs && (m.Set || m.Reload)
	if m.Set && differs && nowErr != nil && sys.Check() {
		return r, nil // it may be there once the tasks before have run
	}
	if m.Set && differs {
		if err := m.setNow(ctx, sys); err != nil {
			return r, because(err, "setting %s failed", m.Name)
		}
	}
	if rewrite {
		if err := m.write(ctx, sys); err != nil {
			return r, err
		}
	}
	if m.Reload && r.Changed && !sys.Check() {
		return r, because(m.loadAll(ctx, sys), "Failed to reload sysctl")
	}
	return r, nil
}

// complete finds what does not go together, and the value's spelling.
func (m *Sysctl) complete() error {
	switch {
	case m.Name == "":
		return fail("name cannot be blank")
	case m.State == "present" && *m.Value == "":
		return fail("value cannot be blank")
	case m.Value == nil:
		return nil
	}
	m.value = strings.TrimSpace(*m.Value)
	switch strings.ToLower(m.value) {
	case "yes", "y", "on", "true", "t":
		m.value = "1"
	case "no", "n", "off", "false", "f":
		m.value = "0"
	}
	return nil
}

// rewrites tells whether the file has to change.
func (m *Sysctl) rewrites() bool {
	old, has := m.file.values[m.Name]
	if m.State == "absent" {
		return has
	}
	return !has || !sameFields(old, m.value)
}

func sameFields(a, b string) bool { return slices.Equal(strings.Fields(a), strings.Fields(b)) }

func (m *Sysctl) setNow(ctx context.Context, sys *tasks.Sys) error {
	_, err := sys.SetSysctl(ctx, m.Name, m.value)
	if err != nil && m.IgnoreErrors && !exists(tasks.SysctlPath(m.Name)) {
		return nil
	}
	return err
}

func (m *Sysctl) write(ctx context.Context, sys *tasks.Sys) error {
	if m.State == "absent" {
		delete(m.file.values, m.Name)
	} else {
		m.file.put(m.Name, m.value)
	}
	_, err := sys.WriteFile(ctx, m.File.Expand(), tasks.Text([]byte(m.file.text())), tasks.Attrs{}, tasks.WriteOptions{})
	return err
}

// loadAll is `sysctl -p`, one parameter at a time, so that each can be taken back.
func (m *Sysctl) loadAll(ctx context.Context, sys *tasks.Sys) error {
	var failed []string
	for _, key := range m.file.keys {
		value, ok := m.file.values[key]
		if !ok {
			continue
		}
		name, lenient := strings.CutPrefix(key, "-")
		err := setMatching(ctx, sys, strings.TrimSpace(name), value)
		switch {
		case err == nil, lenient:
		case tasks.KindOf(err) == tasks.Canceled:
			return err
		case m.IgnoreErrors && !exists(tasks.SysctlPath(name)):
		default:
			failed = append(failed, err.Error())
		}
	}
	if len(failed) > 0 {
		return fail("%s", strings.Join(failed, "\n"))
	}
	return nil
}

// setMatching sets a parameter, or those that a pattern like net.ipv4.conf.*.rp_filter names.
func setMatching(ctx context.Context, sys *tasks.Sys, key, value string) error {
	if !strings.ContainsAny(key, "*?[") {
		_, err := sys.SetSysctl(ctx, key, value)
		return err
	}
	paths, err := filepath.Glob(tasks.SysctlPath(key))
	if err != nil {
		return fmt.Errorf("cannot read the pattern %s: %w", key, err)
	}
	for _, path := range paths {
		name, err := filepath.Rel("/proc/sys", path)
		if err != nil {
			return err
		}
		if _, err := sys.SetSysctl(ctx, name, value); err != nil {
			return err
		}
	}
	return nil
}

// sysctlFile is a file of parameters. Writing it keeps comments and lines that are none, gives each parameter one line where it
// stood first, with the value that it had last, and takes the blanks away.
type sysctlFile struct {
	lines  []string // a parameter's line is its key; others begin with a newline, which no key can
	keys   []string
	values map[string]string
}

func parseSysctlFile(text string) sysctlFile {
	f := sysctlFile{values: map[string]string{}}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		key, value, ok := strings.Cut(line, "=")
		if line == "" || line[0] == '#' || line[0] == ';' || !ok {
			f.lines = append(f.lines, "\n"+line)
			continue
		}
		f.put(strings.TrimSpace(key), strings.TrimSpace(value))
	}
	return f
}

func (f *sysctlFile) put(key, value string) {
	if _, has := f.values[key]; !has {
		f.lines = append(f.lines, key)
		f.keys = append(f.keys, key)
	}
	f.values[key] = value
}

func (f *sysctlFile) text() string {
	var b strings.Builder
	for _, line := range f.lines {
		value, has := f.values[line]
		switch {
		case strings.HasPrefix(line, "\n"):
			b.WriteString(line[1:] + "\n")
		case has:
			b.WriteString(line + "=" + value + "\n")
		}
	}
	return b.String()
}

package node

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/calroll/calroll/tasks"
)

var _ = register("modprobe", func() tasks.Module { return &Modprobe{} })

// Modprobe loads or unloads a kernel module, and keeps that over restarts.
type Modprobe struct {
	Name       string `arg:"name,required" doc:"the module"`
	State      string `arg:"state,choices=absent|present,default=present" doc:"whether it shall be loaded"`
	Params     string `arg:"params" doc:"its parameters, as modprobe takes them"`
	Persistent string `arg:"persistent,choices=disabled|absent|present,default=disabled" doc:"whether files shall load it when the machine starts"`
}

const (
	modulesLoadDir = "/etc/modules-load.d"
	modprobeDir    = "/etc/modprobe.d"
)

// Run loads or unloads the module now, then sees to the files.
func (m *Modprobe) Run(ctx context.Context, sys *tasks.Sys) (r tasks.Result, err error) {
	r.Set("name", m.Name)
	r.Set("params", m.Params)
	r.Set("state", m.State)
	switch m.State {
	case "present":
		r.Changed, err = m.load(ctx, sys)
	case "absent":
		r.Changed, err = sys.UnloadKernelModule(ctx, m.Name)
	}
	if err != nil || m.Persistent == "disabled" {
		return r, err
	}
	changed, err := m.persist(ctx, sys)
	r.Changed = r.Changed || changed
	return r, err
}

// load loads the module unless the kernel has what it does already. A kernel that was built without modules has no list of
// what is in it, so its functions are looked for.
func (m *Modprobe) load(ctx context.Context, sys *tasks.Sys) (bool, error) {
	if sys.KernelModuleLoaded(m.Name) {
		return false, nil
	}
	if !hasModules() {
		if hasFunction(m.Name) {
			return false, nil
		}
		return false, fail("this kernel has no %s and cannot load it: it was built without modules (there is no /lib/modules/%s)", m.Name, kernelRelease())
	}
	return sys.LoadKernelModule(ctx, m.Name, m.Params)
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

func hasModules() bool {
	return exists("/proc/modules") || exists(filepath.Join("/lib/modules", kernelRelease()))
}

// signs are where the kernel shows a function that may be a module; one that exists is enough.
var signs = map[string][]string{
	"br_netfilter":      {"/proc/sys/net/bridge"},
	"bridge":            {"/sys/module/bridge"},
	"ip_tables":         {"/proc/net/ip_tables_names"},
	"ip6_tables":        {"/proc/net/ip6_tables_names"},
	"iptable_filter":    {"/proc/net/ip_tables_names"},
	"iptable_nat":       {"/proc/net/ip_tables_names"},
	"iptable_mangle":    {"/proc/net/ip_tables_names"},
	"iptable_raw":       {"/proc/net/ip_tables_names"},
	"x_tables":          {"/proc/net/ip_tables_matches", "/proc/net/ip6_tables_matches"},
	"nf_conntrack":      {"/proc/sys/net/netfilter/nf_conntrack_max", "/proc/sys/net/nf_conntrack_max"},
	"nf_conntrack_ipv4": {"/proc/sys/net/netfilter/nf_conntrack_max"},
	"nf_conntrack_ipv6": {"/proc/sys/net/netfilter/nf_conntrack_max"},
	"nfnetlink":         {"/proc/net/netfilter"},
	"ip_vs":             {"/proc/net/ip_vs"},
	"ipip":              {"/proc/sys/net/ipv4/conf/tunl0"},
	"sit":               {"/proc/sys/net/ipv4/conf/sit0"},
	"ipv6":              {"/proc/sys/net/ipv6"},
	"tun":               {"/dev/net/tun"},
}

// hasFunction tells whether a kernel without modules does what the module would do.
func hasFunction(name string) bool {
	name = strings.ReplaceAll(name, "-", "_")
	if has, known := configured(name); known {
		return has
	}
	if slices.ContainsFunc(signs[name], exists) {
		return true
	}
	if match, ok := strings.CutPrefix(name, "xt_"); ok {
		return listed("/proc/net/ip_tables_matches", match) || listed("/proc/net/ip_tables_targets", strings.ToUpper(match))
	}
	return listed("/proc/filesystems", name)
}

// listed tells whether a word ends a line of a file of /proc.
func listed(file, word string) bool {
	raw, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) > 0 && f[len(f)-1] == word {
			return true
		}
	}
	return false
}

// persist writes the files that load the module when the machine starts, or comments its lines out.
func (m *Modprobe) persist(ctx context.Context, sys *tasks.Sys) (bool, error) {
	if m.Persistent == "absent" {
		a, err := m.commentOut(ctx, sys, modulesLoadDir, m.isLoadLine)
		if err != nil {
			return a, err
		}
		b, err := m.commentOut(ctx, sys, modprobeDir, m.isOptionsLine)
		return a || b, err
	}
	changed := false
	if len(matchingLines(modulesLoadDir, m.isLoadLine)) == 0 {
		var err error
		if changed, err = putFile(ctx, sys, filepath.Join(modulesLoadDir, m.Name+".conf"), m.Name+"\n"); err != nil {
			return changed, err
		}
	}
	if m.paramsAreKept() {
		return changed, nil
	}
	if _, err := m.commentOut(ctx, sys, modprobeDir, m.isOptionsLine); err != nil {
		return true, err
	}
	return putFile(ctx, sys, filepath.Join(modprobeDir, m.Name+".conf"), m.optionLines())
}

func putFile(ctx context.Context, sys *tasks.Sys, path, text string) (bool, error) {
	if _, err := makeDirs(ctx, sys, filepath.Dir(path), tasks.Attrs{Mode: tasks.Octal(0o755)}); err != nil {
		return false, err
	}
	if sys.Check() {
		return true, nil
	}
	_, err := sys.WriteFile(ctx, path, tasks.Text([]byte(text)), tasks.Attrs{}, tasks.WriteOptions{})
	return true, err
}

func (m *Modprobe) optionLines() string {
	var b strings.Builder
	for _, p := range strings.Fields(m.Params) {
		b.WriteString("options " + m.Name + " " + p + "\n")
	}
	return b.String()
}

// paramsAreKept tells whether the files give the module these parameters and no others.
func (m *Modprobe) paramsAreKept() bool {
	var have []string
	for _, line := range matchingLines(modprobeDir, m.isOptionsLine) {
		have = append(have, strings.Fields(line)[2:]...)
	}
	want := strings.Fields(m.Params)
	slices.Sort(have)
	slices.Sort(want)
	return slices.Equal(slices.Compact(have), slices.Compact(want))
}

func (m *Modprobe) isLoadLine(line string) bool {
	word, _, _ := strings.Cut(line, "#")
	word, _, _ = strings.Cut(word, ";")
	return strings.TrimSpace(word) == m.Name
}

func (m *Modprobe) isOptionsLine(line string) bool {
	f := strings.Fields(line)
	return len(f) > 2 && f[0] == "options" && f[1] == m.Name
}

func (m *Modprobe) commentOut(ctx context.Context, sys *tasks.Sys, dir string, is func(string) bool) (changed bool, err error) {
	for _, path := range configFiles(dir) {
		raw, err := os.ReadFile(path)
		if err != nil {
			return changed, err
		}
		var b strings.Builder
		for line := range strings.Lines(string(raw)) {
			if is(line) {
				b.WriteString("#")
			}
			b.WriteString(line)
		}
		did, err := sys.WriteFile(ctx, path, tasks.Text([]byte(b.String())), tasks.Attrs{}, tasks.WriteOptions{Follow: true})
		changed = changed || did
		if err != nil {
			return changed, err
		}
	}
	return changed, nil
}

func configFiles(dir string) []string {
	files, _ := filepath.Glob(filepath.Join(dir, "*.conf")) // the pattern is well formed
	return files
}

// matchingLines are the lines that files of a folder have.
func matchingLines(dir string, is func(string) bool) []string {
	var lines []string
	for _, path := range configFiles(dir) {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue // gone meanwhile
		}
		for line := range strings.Lines(string(raw)) {
			if is(line) {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

package node

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/argv"
)

var _ = register("kube_component_info", func() tasks.Module { return &KubeComponentInfo{} })

// KubeComponentInfo tells which flags one of Kubernetes' programs has on this host, and where they are written.
type KubeComponentInfo struct{ kubePlace }

// Run answers found, kind (unit, static_pod, process or ""), running, argv, flags and sources, which has for each flag the file that gives it.
// The flags are those of the running program, else those that it would have.
func (m *KubeComponentInfo) Run(ctx context.Context, sys *tasks.Sys) (r tasks.Result, err error) {
	where, err := m.find(ctx, sys)
	if err != nil {
		return r, err
	}
	words, sources := where.configured(m.manifest())
	running := m.running(ctx, sys)
	if running != nil {
		words = running
	}
	flags, from := argv.Flags(words), map[string]string{}
	for name := range flags {
		from[name] = sources[name]
		if from[name] == "" {
			from[name] = "the command line of the running process"
		}
	}
	kind := where.kind()
	if kind == "" && running != nil {
		kind = "process"
	}
	r.Set("component", m.Component)
	r.Set("found", kind != "")
	r.Set("kind", kind)
	r.Set("running", running != nil)
	r.Set("argv", append([]string{}, words...))
	r.Set("flags", flags)
	r.Set("sources", from)
	return r, nil
}

// kubePlace names a program of Kubernetes, and where its arguments may be.
type kubePlace struct {
	Component string     `arg:"component,choices=kubelet|kube-proxy|kube-apiserver|kube-controller-manager|kube-scheduler|cri-dockerd,required" doc:"the program"`
	Unit      string     `arg:"unit" doc:"its unit; default <component>.service, of cri-dockerd cri-docker.service"`
	Manifest  tasks.Path `arg:"manifest" doc:"the manifest of its static pod; default /etc/kubernetes/manifests/<component>.yaml"`
	DropIn    string     `arg:"dropin,default=20-calroll.conf" doc:"name of the drop-in that restates what unit files say"`
}

func (p *kubePlace) unit() string {
	if p.Unit != "" {
		return tasks.UnitName(p.Unit)
	}
	if p.Component == "cri-dockerd" {
		return "cri-docker.service"
	}
	return p.Component + ".service"
}

func (p *kubePlace) manifest() string {
	if p.Manifest != "" {
		return p.Manifest.Expand()
	}
	return "/etc/kubernetes/manifests/" + p.Component + ".yaml"
}

func (p *kubePlace) dropin() string {
	return filepath.Join("/etc/systemd/system", p.unit()+".d", p.DropIn)
}

// kubeArgs is what a host says of a program's arguments: a static pod, or a unit.
type kubeArgs struct {
	pod        *argv.Pod
	unit, base *argv.Unit        // as it is, and without our drop-in
	files      map[string]string // the unit's environment files
}

func (k kubeArgs) kind() string {
	switch {
	case k.pod != nil:
		return "static_pod"
	case k.unit != nil:
		return "unit"
	}
	return ""
}

// configured are the words that the program gets when it starts, and where each flag is written.
func (k kubeArgs) configured(manifest string) (words []string, sources map[string]string) {
	sources = map[string]string{}
	note := func(words []string, path string) {
		for name := range argv.Flags(words) {
			sources[name] = path
		}
	}
	switch {
	case k.pod != nil:
		words = k.pod.Argv()
		note(words, manifest)
	case k.unit != nil:
		words = k.unit.Argv()
		note(argv.Words(k.unit.Exec), k.unit.Where)
		for _, name := range k.unit.Used() {
			if v, ok := k.unit.Var(name); ok {
				note(argv.Words(v.Value), v.Path)
			}
		}
	}
	return words, sources
}

// find looks for the static pod first.
func (p *kubePlace) find(ctx context.Context, sys *tasks.Sys) (k kubeArgs, err error) {
	raw, err := os.ReadFile(p.manifest())
	if err == nil {
		if k.pod, err = argv.ReadPod(string(raw), p.Component); err != nil {
			return k, fail("cannot use %s: %v", p.manifest(), err)
		}
		return k, nil
	}
	if !os.IsNotExist(err) {
		return k, fail("cannot read %s: %v", p.manifest(), err)
	}
	if !isDir("/run/systemd/system") {
		return k, nil
	}
	u, err := sys.Unit(ctx, p.unit())
	if err != nil || u.FragmentPath == "" {
		return k, err
	}
	dropins, _ := u.Properties["DropInPaths"].([]string)
	if ours := p.dropin(); exists(ours) && !slices.Contains(dropins, ours) {
		dropins = append(dropins, ours) // systemd has not read it yet
	}
	return p.readUnit(u.FragmentPath, dropins)
}

// readUnit reads a unit twice: as it is, and as others left it.
func (p *kubePlace) readUnit(fragment string, dropins []string) (k kubeArgs, err error) {
	slices.SortStableFunc(dropins, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) })
	var all, theirs []argv.File
	for _, path := range append([]string{fragment}, dropins...) {
		raw, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			continue // gone since systemd read it
		}
		if err != nil {
			return k, fail("cannot read %s: %v", path, err)
		}
		f := argv.File{Path: path, Text: string(raw)}
		all = append(all, f)
		if path != p.dropin() {
			theirs = append(theirs, f)
		}
	}
	unit, base := argv.ReadUnit(all), argv.ReadUnit(theirs)
	k.unit, k.base, k.files = &unit, &base, map[string]string{}
	for _, path := range unit.Files {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue // systemd passes over it, or the unit does not start
		}
		k.files[path] = string(raw)
		unit.ReadFile(argv.File{Path: path, Text: string(raw)})
		base.ReadFile(argv.File{Path: path, Text: string(raw)})
	}
	return k, nil
}

// running are the words that the program runs with; nil when it does not run.
func (p *kubePlace) running(ctx context.Context, sys *tasks.Sys) []string {
	if isDir("/run/systemd/system") {
		out, err := sys.Exec(ctx, tasks.Cmd{Argv: []string{"systemctl", "show", "--property", "MainPID", "--value", p.unit()}})
		if pid, perr := strconv.Atoi(strings.TrimSpace(string(out.Stdout))); err == nil && perr == nil && pid > 0 {
			return cmdline(pid)
		}
	}
	entries, _ := os.ReadDir("/proc") // what cannot be listed does not run
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		words := cmdline(pid)
		for _, w := range words[:min(len(words), 2)] { // the second for hyperkube
			if filepath.Base(w) == p.Component {
				return words
			}
		}
	}
	return nil
}

func cmdline(pid int) []string {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil || len(raw) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00")
}

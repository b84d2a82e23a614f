package node

import (
	"context"
	"maps"
	"path/filepath"
	"slices"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/argv"
)

var _ = register("kube_component", func() tasks.Module { return &KubeComponent{} })

// KubeComponent sees to flags of one of Kubernetes' programs, wherever the host keeps its arguments: the manifest of a static pod, or a unit with
// its drop-ins and environment files. A flag that has its value already stays as it is written, another value is replaced where it
// stands, a missing flag is added where the strategy says, and no flag is ever there twice. The program is not restarted: a static pod
// is by the kubelet, and for a unit the answer's restart_needed says so.
//
// The new manifest comes into its folder under a name that begins with a dot, which the kubelet passes over, and takes the old one's
// place in one step.
type KubeComponent struct {
	kubePlace
	State    string   `arg:"state,choices=absent|present,default=present" doc:"whether the flags shall be there"`
	Flags    any      `arg:"flags,required" doc:"a dictionary of flags and values, a list being one value with commas; or a list of name=value, whose order is that of missing flags; for absent their names are enough"`
	Merge    []string `arg:"merge" doc:"flags that are lists with commas: the elements are added to those that are there, or taken away from them"`
	Strategy string   `arg:"strategy,choices=auto|network_args|extra_args_file|env_file|execstart|static_pod,default=auto" doc:"where missing flags go: $KUBELET_NETWORK_ARGS, $KUBELET_EXTRA_ARGS, a variable of an environment file, a restated ExecStart, or the static pod; auto takes the first that the host has"`

	change argv.Change
}

// Run edits what has to be edited.
func (m *KubeComponent) Run(ctx context.Context, sys *tasks.Sys) (r tasks.Result, err error) {
	flags, err := argv.ParseFlags(m.Flags)
	if err != nil {
		return r, fail("cannot use the flags: %v", err)
	}
	where, err := m.find(ctx, sys)
	if err != nil {
		return r, err
	}
	m.change = argv.Change{Set: flags, Merge: m.Merge}
	if m.State == "absent" {
		words, _ := where.configured(m.manifest())
		m.change = absent(flags, m.Merge, argv.Flags(words))
	}
	r.Set("paths", []string{})
	r.Set("restart_needed", false)
	switch {
	case where.pod != nil && (m.Strategy == "auto" || m.Strategy == "static_pod"):
		err = m.editPod(ctx, sys, &r, where)
	case where.unit != nil && m.Strategy != "static_pod":
		err = m.editUnit(ctx, sys, &r, where)
	case m.State == "absent":
	default:
		return r, fail("cannot set flags of %s: this host has neither %s nor a unit %s", m.Component, m.manifest(), m.unit())
	}
	if err != nil {
		return r, err
	}
	words := m.running(ctx, sys)
	r.Set("argv", orNil(words))
	if where.pod == nil && words != nil && !m.satisfied(words, r.Values["paths"].([]string)) {
		r.Set("restart_needed", true)
	}
	return r, nil
}

// absent takes flags away, and of lists their elements as long as others remain.
func absent(flags []argv.Flag, lists []string, have map[string]string) (c argv.Change) {
	for _, f := range flags {
		rest := ""
		if slices.Contains(lists, f.Name) {
			rest = argv.Without(have[f.Name], f.Value)
		}
		if rest == "" {
			c.Remove = append(c.Remove, f.Name)
		} else {
			c.Set = append(c.Set, argv.Flag{Name: f.Name, Value: rest})
		}
	}
	return c
}

// satisfied tells whether the running program has what is wanted. What was just written it cannot have.
func (m *KubeComponent) satisfied(words, written []string) bool {
	have := argv.Flags(words)
	for _, f := range m.change.Set {
		value, ok := have[f.Name]
		if !ok || value != f.Value && (!slices.Contains(m.change.Merge, f.Name) || argv.Merged(value, f.Value) != value) {
			return false
		}
	}
	return len(written) == 0 && !slices.ContainsFunc(m.change.Remove, func(name string) bool { _, ok := have[name]; return ok })
}

func (m *KubeComponent) editPod(ctx context.Context, sys *tasks.Sys, r *tasks.Result, where kubeArgs) error {
	r.Set("strategy", "static_pod")
	text, err := where.pod.Apply(m.change)
	if err != nil {
		return fail("cannot edit %s: %v", m.manifest(), err)
	}
	again, err := argv.ReadPod(text, m.Component)
	if err != nil {
		return fail("cannot edit %s: the result would not be readable: %v", m.manifest(), err)
	}
	r.Set("flags", argv.Flags(again.Argv()))
	return m.put(ctx, sys, r, m.manifest(), text)
}

// put writes a file if its text is another, and adds it to paths.
func (m *KubeComponent) put(ctx context.Context, sys *tasks.Sys, r *tasks.Result, path, text string) error {
	a := tasks.Attrs{}
	if !exists(path) {
		a.Mode = tasks.Octal(0o644)
	}
	changed, err := sys.WriteFile(ctx, path, tasks.Text([]byte(text)), a, tasks.WriteOptions{Follow: true})
	m.wrote(r, path, changed)
	return err
}

func (m *KubeComponent) wrote(r *tasks.Result, path string, changed bool) {
	if changed {
		r.Changed = true
		r.Set("paths", append(r.Values["paths"].([]string), path))
	}
}

func (m *KubeComponent) editUnit(ctx context.Context, sys *tasks.Sys, r *tasks.Result, where kubeArgs) error {
	e := &unitEdit{KubeComponent: m, unit: *where.unit, base: *where.base, running: m.running(ctx, sys)}
	target, err := e.target()
	if err != nil {
		return err
	}
	e.set(target)
	for _, name := range m.change.Remove {
		for _, s := range e.slots {
			s.text = argv.RemoveIn(s.text, name)
		}
	}
	r.Set("strategy", e.strategy)
	r.Set("flags", e.flags())
	return e.write(ctx, sys, r, where)
}

// unitEdit is the arguments of a unit under work.
type unitEdit struct {
	*KubeComponent
	unit, base argv.Unit // as it is, and without our drop-in
	running    []string
	slots      []*argSlot
	strategy   string
}

// argSlot is a text that holds some of the arguments: the value of a variable, or the command itself (name "").
type argSlot struct {
	name, path  string
	inUnit      bool
	old, text   string
	newVariable bool
}

// target is where missing flags go.
func (e *unitEdit) target() (*argSlot, error) {
	for _, name := range e.unit.Used() {
		if v, ok := e.unit.Var(name); ok {
			e.slots = append(e.slots, &argSlot{name: name, path: v.Path, inUnit: v.InUnit, old: v.Value, text: v.Value})
		}
	}
	exec := &argSlot{path: e.unit.Where, inUnit: true, old: e.unit.Exec, text: e.unit.Exec}
	e.slots = append(e.slots, exec)
	for _, s := range []struct {
		name string
		slot func() *argSlot
	}{{"network_args", e.networkArgs}, {"extra_args_file", e.extraArgs}, {"env_file", e.envFile}, {"execstart", func() *argSlot { return exec }}} {
		if e.Strategy != "auto" && e.Strategy != s.name {
			continue
		}
		if slot := s.slot(); slot != nil {
			e.strategy = s.name
			if !slices.Contains(e.slots, slot) {
				e.slots = append(e.slots, slot)
			}
			return slot, nil
		}
	}
	return nil, fail("cannot set flags of %s by the strategy %s: the unit %s reads no such variable", e.Component, e.Strategy, e.KubeComponent.unit())
}

func (e *unitEdit) slot(name string) *argSlot {
	i := slices.IndexFunc(e.slots, func(s *argSlot) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return e.slots[i]
}

// networkArgs is the variable that kubeadm made for these flags until 1.10.
func (e *unitEdit) networkArgs() *argSlot {
	const name = "KUBELET_NETWORK_ARGS"
	if !slices.Contains(e.unit.Used(), name) {
		return nil
	}
	if s := e.slot(name); s != nil {
		return s
	}
	return &argSlot{name: name, inUnit: true, newVariable: true}
}

// extraArgs is the variable that kubeadm leaves to the user since 1.11, in the file that the unit reads for it.
func (e *unitEdit) extraArgs() *argSlot {
	const name = "KUBELET_EXTRA_ARGS"
	if !slices.Contains(e.unit.Used(), name) {
		return nil
	}
	if s := e.slot(name); s != nil {
		return s
	}
	for _, file := range []string{"/etc/default/kubelet", "/etc/sysconfig/kubelet"} {
		if slices.Contains(e.unit.Files, file) {
			return &argSlot{name: name, path: file, newVariable: true}
		}
	}
	return nil
}

// envFile is a variable of an environment file; kubeadm's own is written by kubeadm again.
func (e *unitEdit) envFile() *argSlot {
	for _, s := range slices.Backward(e.slots) {
		if s.name != "" && !s.inUnit && filepath.Base(s.path) != "kubeadm-flags.env" {
			return s
		}
	}
	return nil
}

// set gives every flag its value, in one place.
func (e *unitEdit) set(target *argSlot) {
	running := argv.Flags(e.running)
	for _, f := range e.change.Set {
		have, configured := e.flags()[f.Name]
		if slices.Contains(e.change.Merge, f.Name) {
			f.Value = argv.Merged(have, f.Value)
		}
		if !configured && e.unit.Base() != e.Component && running[f.Name] == f.Value {
			continue // a program in between gives it
		}
		found := false
		for _, s := range e.slots {
			if found {
				s.text = argv.RemoveIn(s.text, f.Name)
				continue
			}
			s.text, found = argv.SetIn(s.text, f.Name, f.Value)
		}
		if !found {
			target.text = argv.AddTo(target.text, f)
		}
	}
}

// flags are those that the texts give now.
func (e *unitEdit) flags() map[string]string {
	out := map[string]string{}
	for _, s := range e.slots {
		maps.Copy(out, argv.Flags(argv.Words(s.text)))
	}
	return out
}

// write puts what changed where it belongs: files of variables in place, all else into our drop-in.
func (e *unitEdit) write(ctx context.Context, sys *tasks.Sys, r *tasks.Result, where kubeArgs) error {
	exec := ""
	var vars []argv.Flag
	ours := e.dropin()
	for _, s := range e.slots {
		changed := s.text != s.old
		switch {
		case !s.inUnit && changed:
			if err := e.put(ctx, sys, r, s.path, argv.Assign(where.files[s.path], s.name, s.text)); err != nil {
				return err
			}
			where.files[s.path] = argv.Assign(where.files[s.path], s.name, s.text)
		case s.inUnit && s.name == "" && (changed || s.path == ours) && s.text != e.base.Exec:
			exec = s.text
		case s.inUnit && s.name != "" && (changed || s.path == ours):
			if v, ok := e.base.Var(s.name); !ok || v.Value != s.text {
				vars = append(vars, argv.Flag{Name: s.name, Value: s.text})
			}
		}
	}
	if exec == "" && len(vars) == 0 {
		changed, err := sys.Remove(ctx, ours)
		e.wrote(r, ours, changed)
		return err
	}
	if dir := filepath.Dir(ours); !exists(dir) {
		if _, err := makeDirs(ctx, sys, dir, tasks.Attrs{Mode: tasks.Octal(0o755)}); err != nil {
			return err
		}
	}
	return e.put(ctx, sys, r, ours, argv.DropIn(exec, vars))
}

// Package facts says what a host is: its platform, distribution, hardware, network and so on, under the names that Ansible gives them.
//
// A *collector* looks at one side of the host and gives facts by their names without the prefix ansible_. It belongs to *subsets*
// (min, hardware, network, virtual) by which a play chooses what is gathered, may be chosen by its own name or by a fact it
// gives, and names the collectors that have to run with it. Collectors run at the same time, alter nothing, and read /proc, /sys
// and netlink rather than start programs. What a host does not show is left out, or is what Ansible says of it ("NA").
//
// To add a fact, add it to the map of its collector; to add a collector, add a file with its function and a line in collectors.
package facts

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/calroll/calroll/tasks"
)

// Modules is the module setup, which gathers facts.
func Modules() tasks.Set { return tasks.Set{"setup": func() tasks.Module { return &Setup{} }} }

// Setup gathers facts about the host.
type Setup struct {
	Subset   []string   `arg:"gather_subset,default=all" doc:"what to gather: all, min, hardware, network, virtual or a collector's name; ! before it leaves it out"`
	Filter   []string   `arg:"filter" doc:"answer only facts whose names match one of these patterns"`
	Timeout  int        `arg:"gather_timeout,default=10" doc:"seconds that one collector may take"`
	FactPath tasks.Path `arg:"fact_path,default=/etc/ansible/facts.d" doc:"folder of *.fact files, which become ansible_local"`
}

// Run gathers the facts.
func (m *Setup) Run(ctx context.Context, sys *tasks.Sys) (r tasks.Result, err error) {
	chosen, err := choose(m.Subset)
	if err != nil {
		return r, err
	}
	h := &host{env: sys.Env(), factPath: m.FactPath.Expand()}
	h.exec = func(ctx context.Context, argv ...string) (tasks.Output, error) {
		return sys.Exec(ctx, tasks.Cmd{Argv: argv})
	}
	found := h.gather(ctx, chosen, time.Duration(m.Timeout)*time.Second)
	if err := ctx.Err(); err != nil {
		return r, &tasks.Error{Kind: tasks.Canceled, Op: "gather facts", Err: context.Cause(ctx)}
	}
	for _, w := range h.warnings {
		sys.Warn("%s", w)
	}
	r.Facts = map[string]any{}
	for name, value := range found {
		r.Facts["ansible_"+name] = value
	}
	r.Facts["gather_subset"], r.Facts["module_setup"] = m.Subset, true
	err = filter(r.Facts, m.Filter)
	return r, err
}

// filter keeps the facts that match one of the patterns, with or without ansible_ before; no patterns keep all.
func filter(facts map[string]any, patterns []string) error {
	if len(patterns) == 0 || len(patterns) == 1 && patterns[0] == "" {
		return nil
	}
	for name := range facts {
		keep := false
		for _, p := range patterns {
			full, err := filepath.Match(p, name)
			if err != nil {
				return &tasks.Error{Kind: tasks.Failed, Op: "read the filter " + p, Err: err}
			}
			short, _ := filepath.Match(p, strings.TrimPrefix(name, "ansible_")) // the same pattern
			keep = keep || full || short
		}
		if !keep {
			delete(facts, name)
		}
	}
	return nil
}

// host is the machine that collectors look at.
type host struct {
	root     string            // before each path, so that tests can show another machine
	env      map[string]string // of the task, over the process's
	factPath string
	exec     func(ctx context.Context, argv ...string) (tasks.Output, error)

	mu       sync.Mutex // guards what follows
	warnings []string
}

func (h *host) warn(text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.warnings = append(h.warnings, text)
}

func (h *host) path(name string) string { return filepath.Join(h.root, name) }

// read is a file's text without the white space around it, "" when there is none.
func (h *host) read(name string) string {
	raw, err := os.ReadFile(h.path(name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

// readOr is read, or other for nothing.
func (h *host) readOr(name, other string) string {
	if text := h.read(name); text != "" {
		return text
	}
	return other
}

func (h *host) exists(name string) bool {
	_, err := os.Stat(h.path(name))
	return err == nil
}

// list are the names in a folder.
func (h *host) list(dir string) []string {
	entries, err := os.ReadDir(h.path(dir))
	if err != nil {
		return nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

// link is the last part of what a link leads to, "" for none.
func (h *host) link(name string) string {
	target, err := filepath.EvalSymlinks(h.path(name))
	if err != nil {
		return ""
	}
	return filepath.Base(target)
}

// has tells whether one of the programs is in a folder where programs are.
func (h *host) has(programs ...string) bool {
	for _, p := range programs {
		for _, dir := range []string{"/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin", "/usr/local/sbin"} {
			if h.exists(filepath.Join(dir, p)) {
				return true
			}
		}
	}
	return false
}

// gather runs the collectors at the same time. One that is not done in time is left behind, with a warning: only a file
// system that does not answer holds it, and nothing can be done about that.
func (h *host) gather(ctx context.Context, chosen []*collector, timeout time.Duration) map[string]any {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answers := make([]chan map[string]any, len(chosen))
	for i, c := range chosen {
		answers[i] = make(chan map[string]any, 1)
		go func() { answers[i] <- c.gather(ctx, h) }()
	}
	facts := map[string]any{}
	for i, c := range chosen {
		found, ok := inTime(ctx, answers[i])
		if !ok {
			h.warn("the facts of " + c.name + " were not gathered within " + timeout.String())
		}
		maps.Copy(facts, found)
	}
	return facts
}

// inTime is an answer, and whether there is one when the time is over: what is there then counts, though nobody has looked before.
func inTime(ctx context.Context, answer <-chan map[string]any) (map[string]any, bool) {
	select {
	case found := <-answer:
		return found, true
	case <-ctx.Done():
	}
	select {
	case found := <-answer:
		return found, true
	default:
		return nil, false
	}
}

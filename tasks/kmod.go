package tasks

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// KernelModule states, as words of records.
const (
	kmodLoaded = "loaded"
	kmodAbsent = "not loaded"
)

// KernelModuleLoaded tells whether the running kernel has the module, loaded or built in.
func (s *Sys) KernelModuleLoaded(name string) bool { return kmodState(name) == kmodLoaded }

func kmodState(name string) string {
	name = strings.ReplaceAll(name, "-", "_")
	if _, err := os.Stat(filepath.Join("/sys/module", name)); err == nil {
		return kmodLoaded
	}
	if raw, err := os.ReadFile("/proc/modules"); err == nil && strings.Contains("\n"+string(raw), "\n"+name+" ") {
		return kmodLoaded
	}
	return builtin(name)
}

// builtin finds modules that are part of the kernel and show no folder because they have no parameters.
func builtin(name string) string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return kmodAbsent
	}
	release := unix.ByteSliceToString(u.Release[:])
	raw, err := os.ReadFile(filepath.Join("/lib/modules", release, "modules.builtin"))
	if err != nil {
		return kmodAbsent
	}
	for line := range strings.SplitSeq(string(raw), "\n") {
		base := strings.TrimSuffix(filepath.Base(line), ".ko")
		if strings.ReplaceAll(base, "-", "_") == name {
			return kmodLoaded
		}
	}
	return kmodAbsent
}

// LoadKernelModule loads a module with what it needs, with parameters as modprobe takes them ("numdummies=2").
func (s *Sys) LoadKernelModule(ctx context.Context, name, params string) (bool, error) {
	argv := append([]string{"modprobe", "--", name}, strings.Fields(params)...)
	return s.setKernelModule(ctx, name, kmodLoaded, argv)
}

// UnloadKernelModule takes a module away, with those that only it needed.
func (s *Sys) UnloadKernelModule(ctx context.Context, name string) (bool, error) {
	return s.setKernelModule(ctx, name, kmodAbsent, []string{"modprobe", "-r", "--", name})
}

func (s *Sys) setKernelModule(ctx context.Context, name, want string, argv []string) (bool, error) {
	old := kmodState(name)
	if old == want {
		return false, nil
	}
	if s.Check() {
		return true, nil
	}
	if err := s.record(ctx, Before{Kind: "kmod", Key: name, Was: old, After: want}, nil, nil); err != nil {
		return false, err
	}
	return true, modprobe(ctx, argv)
}

func modprobe(ctx context.Context, argv []string) error {
	out, err := run(ctx, Cmd{Argv: argv})
	if err == nil && out.Code != 0 {
		err = &Error{Kind: Failed, Op: "run " + strings.Join(argv, " "), Detail: strings.TrimSpace(string(out.Stderr))}
	}
	return err
}

// kmodKind restores whether a kernel module is loaded.
type kmodKind struct{ kindOptions }

// State tells whether it is loaded.
func (kmodKind) State(_ context.Context, b Before) (string, error) { return kmodState(b.Key), nil }

// Restore loads or unloads it. A module that is in use meanwhile stays, with an error that says so.
func (kmodKind) Restore(ctx context.Context, b Before, _ Kept, _ bool) error {
	if b.Was == kmodLoaded {
		return modprobe(ctx, []string{"modprobe", "--", b.Key})
	}
	return modprobe(ctx, []string{"modprobe", "-r", "--", b.Key})
}

package tasks

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// SysctlPath is the file of a kernel parameter. As sysctl(8) has it, the first separator tells which one separates: in
// net/ipv4/conf/eth0.1/forwarding the dot is part of a name, in net.ipv4.conf.eth0/1.forwarding the slash stands for a dot.
func SysctlPath(key string) string {
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '.' {
		key = strings.Map(func(r rune) rune {
			switch r {
			case '.':
				return '/'
			case '/':
				return '.'
			}
			return r
		}, key)
	}
	return filepath.Join("/proc/sys", filepath.Clean("/"+key))
}

// Sysctl is the value of a kernel parameter, its fields separated by one space.
func (s *Sys) Sysctl(key string) (string, error) { return readSysctl(key) }

func readSysctl(key string) (string, error) {
	raw, err := os.ReadFile(SysctlPath(key))
	if err != nil {
		return "", failed("read the kernel parameter "+key, err)
	}
	return sysctlValue(string(raw)), nil
}

func sysctlValue(text string) string { return strings.Join(strings.Fields(text), " ") }

func writeSysctl(key, value string) error {
	if err := os.WriteFile(SysctlPath(key), []byte(value+"\n"), 0); err != nil {
		return failed(fmt.Sprintf("set the kernel parameter %s to %q", key, value), err)
	}
	return nil
}

// SetSysctl gives a kernel parameter a value now; files that keep it over a restart are WriteFile's business.
func (s *Sys) SetSysctl(ctx context.Context, key, value string) (bool, error) {
	old, err := readSysctl(key)
	if err != nil {
		return false, err
	}
	value = sysctlValue(value)
	if old == value {
		return false, nil
	}
	s.AddDiff(Diff{Before: old + "\n", After: value + "\n", BeforeHeader: key, AfterHeader: key})
	if s.Check() {
		return true, nil
	}
	if err := s.record(ctx, Before{Kind: "sysctl", Key: key, Was: old, After: value}, nil, nil); err != nil {
		return false, err
	}
	if err := writeSysctl(key, value); err != nil {
		return false, err
	}
	s.step("sysctl set")
	return true, nil
}

// sysctlKind restores kernel parameters.
type sysctlKind struct{ kindOptions }

// State is the value now. Some parameters take a value in another spelling than they show; what they then show counts as after.
func (sysctlKind) State(_ context.Context, b Before) (string, error) {
	return readSysctl(b.Key)
}

// Restore writes the old value.
func (sysctlKind) Restore(_ context.Context, b Before, _ Kept, _ bool) error {
	return writeSysctl(b.Key, b.Was)
}

package facts

import (
	"context"
	"maps"
	"os"
	"os/user"
	"strconv"
	"strings"
)

func userFacts(_ context.Context, h *host) map[string]any {
	uid := os.Geteuid()
	facts := map[string]any{
		"user_uid": uid, "user_gid": os.Getegid(), "real_user_id": os.Getuid(), "real_group_id": os.Getgid(),
		"effective_user_id": uid, "effective_group_id": os.Getegid(),
	}
	for line := range strings.Lines(h.read("/etc/passwd")) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) == 7 && f[2] == strconv.Itoa(uid) {
			facts["user_id"], facts["user_gecos"], facts["user_dir"], facts["user_shell"] = f[0], f[4], f[5], f[6]
			return facts
		}
	}
	if u, err := user.Current(); err == nil { // a directory service's
		facts["user_id"], facts["user_gecos"], facts["user_dir"], facts["user_shell"] = u.Username, u.Name, u.HomeDir, os.Getenv("SHELL")
	}
	return facts
}

func environment(_ context.Context, h *host) map[string]any {
	env := map[string]any{}
	for _, pair := range os.Environ() {
		if name, value, ok := strings.Cut(pair, "="); ok && name != "" {
			env[name] = value
		}
	}
	for name, value := range maps.All(h.env) {
		env[name] = value
	}
	return map[string]any{"env": env}
}

// capabilityNames in the order of their bits.
var capabilityNames = []string{
	"chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
	"sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice", "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
	"mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf", "checkpoint_restore",
}

// capabilities are those that programs of this user have. Who has all is not limited, and gets no list, as Ansible has it.
func capabilities(_ context.Context, h *host) map[string]any {
	have, err := strconv.ParseUint(statusField(h.read("/proc/self/status"), "CapEff"), 16, 64)
	if err != nil {
		return map[string]any{"system_capabilities": "NA", "system_capabilities_enforced": "NA"}
	}
	last, err := strconv.Atoi(h.read("/proc/sys/kernel/cap_last_cap"))
	if err != nil {
		last = len(capabilityNames) - 1
	}
	names, all := []string{}, true
	for bit := 0; bit <= last; bit++ {
		switch {
		case have>>bit&1 == 0:
			all = false
		case bit < len(capabilityNames):
			names = append(names, "cap_"+capabilityNames[bit])
		}
	}
	if all {
		return map[string]any{"system_capabilities": []string{}, "system_capabilities_enforced": "False"}
	}
	return map[string]any{"system_capabilities": names, "system_capabilities_enforced": "True"}
}

// statusField is a value of lines of "Name: value".
func statusField(text, name string) string {
	for line := range strings.Lines(text) {
		if n, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(n) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

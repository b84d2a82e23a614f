package facts

import (
	"context"
	"strings"
)

func fips(_ context.Context, h *host) map[string]any {
	return map[string]any{"fips": h.read("/proc/sys/crypto/fips_enabled") == "1"}
}

// selinux needs no library here, so what it says can always be relied on: that is what selinux_python_present tells a playbook.
func selinux(_ context.Context, h *host) map[string]any {
	s := map[string]any{"status": "disabled"}
	if enforce := h.read("/sys/fs/selinux/enforce"); enforce != "" {
		config := assignments(h.read("/etc/selinux/config"))
		s["status"], s["mode"] = "enabled", "permissive"
		if enforce == "1" {
			s["mode"] = "enforcing"
		}
		s["policyvers"] = h.readOr("/sys/fs/selinux/policyvers", "unknown")
		s["config_mode"] = first(config["SELINUX"], "unknown")
		s["type"] = first(config["SELINUXTYPE"], "unknown")
	}
	return map[string]any{"selinux": s, "selinux_python_present": true}
}

func apparmor(_ context.Context, h *host) map[string]any {
	status := "disabled"
	if h.exists("/sys/kernel/security/apparmor") {
		status = "enabled"
	}
	return map[string]any{"apparmor": map[string]any{"status": status}}
}

// hostKeys are the public keys of the host's sshd, wherever distributions keep them.
func hostKeys(_ context.Context, h *host) map[string]any {
	facts := map[string]any{}
	for _, dir := range []string{"/etc/ssh", "/etc/openssh", "/etc"} {
		for _, algorithm := range []string{"dsa", "rsa", "ecdsa", "ed25519"} {
			f := strings.Fields(h.read(dir + "/ssh_host_" + algorithm + "_key.pub"))
			if len(f) > 1 {
				facts["ssh_host_key_"+algorithm+"_public_keytype"], facts["ssh_host_key_"+algorithm+"_public"] = f[0], f[1]
			}
		}
		if len(facts) > 0 {
			break
		}
	}
	return facts
}

func iscsi(_ context.Context, h *host) map[string]any {
	return map[string]any{"iscsi_iqn": assignments(h.read("/etc/iscsi/initiatorname.iscsi"))["InitiatorName"]}
}

func nvme(_ context.Context, h *host) map[string]any {
	name := ""
	for line := range strings.Lines(h.read("/etc/nvme/hostnqn")) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "nqn.") {
			name = line
			break
		}
	}
	return map[string]any{"hostnqn": name}
}

func fibreChannel(_ context.Context, h *host) map[string]any {
	names := []string{}
	for _, adapter := range h.list("/sys/class/fc_host") {
		if port := h.read("/sys/class/fc_host/" + adapter + "/port_name"); port != "" {
			names = append(names, strings.TrimPrefix(port, "0x"))
		}
	}
	return map[string]any{"fibre_channel_wwn": names}
}

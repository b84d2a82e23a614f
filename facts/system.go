package facts

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func platform(context.Context, *Setup) found {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil
	}
	node := unix.ByteSliceToString(u.Nodename[:])
	machine := unix.ByteSliceToString(u.Machine[:])
	f := found{
		"system": unix.ByteSliceToString(u.Sysname[:]), "kernel": unix.ByteSliceToString(u.Release[:]), "kernel_version": unix.ByteSliceToString(u.Version[:]),
		"machine": machine, "architecture": machine, "nodename": node, "hostname": strings.Split(node, ".")[0], "fqdn": node,
		"userspace_bits": strconv.Itoa(32 << (^uint(0) >> 63)), "fips": read("/proc/sys/crypto/fips_enabled") == "1",
		"machine_id": read("/etc/machine-id"), "is_chroot": false,
	}
	f["userspace_architecture"] = machine
	if name := canonicalName(node); name != "" {
		f["fqdn"] = name
	}
	_, f["domain"], _ = strings.Cut(f["fqdn"].(string), ".")
	return f
}

// canonicalName is the host's full name as /etc/hosts and the resolver's files give it, without asking a name server.
func canonicalName(node string) string {
	f, err := os.Open("/etc/hosts")
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		text, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(text)
		for _, name := range fields[min(1, len(fields)):] {
			if name == node {
				return fields[1]
			}
		}
	}
	return ""
}

// osRelease are the fields of os-release.
func osRelease() map[string]string {
	fields := map[string]string{}
	text := read("/etc/os-release")
	if text == "" {
		text = read("/usr/lib/os-release")
	}
	for _, line := range strings.Split(text, "\n") {
		if k, v, ok := strings.Cut(line, "="); ok {
			fields[k] = strings.Trim(v, `"'`)
		}
	}
	return fields
}

// families are the distributions whose ID_LIKE does not say their family as Ansible names it.
var families = map[string]string{"debian": "Debian", "ubuntu": "Debian", "raspbian": "Debian", "linuxmint": "Debian", "rhel": "RedHat", "centos": "RedHat",
	"fedora": "RedHat", "rocky": "RedHat", "almalinux": "RedHat", "ol": "RedHat", "amzn": "RedHat", "sles": "Suse", "opensuse-leap": "Suse",
	"opensuse-tumbleweed": "Suse", "arch": "Archlinux", "alpine": "Alpine", "gentoo": "Gentoo", "flatcar": "Flatcar", "coreos": "CoreOS"}

// distributions are Ansible's names where they are not the first word of os-release's NAME.
var distributions = map[string]string{"rhel": "RedHat", "ol": "OracleLinux", "amzn": "Amazon", "sles": "SLES", "opensuse-leap": "openSUSE Leap",
	"arch": "Archlinux", "rocky": "Rocky", "almalinux": "AlmaLinux", "linuxmint": "Linux Mint"}

func distribution(context.Context, *Setup) found {
	r := osRelease()
	id := r["ID"]
	name, _, _ := strings.Cut(r["NAME"], " ")
	if n, ok := distributions[id]; ok {
		name = n
	}
	version := r["VERSION_ID"]
	if v := read("/etc/debian_version"); id == "debian" && v != "" && !strings.Contains(v, "/") {
		version = v // os-release has no minor version there
	}
	major, rest, _ := strings.Cut(version, ".")
	f := found{"distribution": name, "distribution_version": version, "distribution_major_version": major, "distribution_release": r["VERSION_CODENAME"],
		"distribution_file_path": "/etc/os-release", "distribution_file_variety": name, "distribution_file_parsed": true, "os_family": family(r)}
	if id == "debian" && rest != "" {
		f["distribution_minor_version"] = rest
	}
	return f
}

func family(r map[string]string) string {
	for _, id := range append([]string{r["ID"]}, strings.Fields(r["ID_LIKE"])...) {
		if f, ok := families[id]; ok {
			return f
		}
	}
	name, _, _ := strings.Cut(r["NAME"], " ")
	return name
}

func lsb(context.Context, *Setup) found {
	fields := map[string]any{}
	for _, line := range strings.Split(read("/etc/lsb-release"), "\n") {
		k, v, ok := strings.Cut(line, "=")
		if name := map[string]string{"DISTRIB_ID": "id", "DISTRIB_RELEASE": "release", "DISTRIB_CODENAME": "codename", "DISTRIB_DESCRIPTION": "description"}[k]; ok && name != "" {
			fields[name] = strings.Trim(v, `"`)
		}
	}
	if release, ok := fields["release"].(string); ok {
		fields["major_release"], _, _ = strings.Cut(release, ".")
	}
	return found{"lsb": fields}
}

func dateTime(context.Context, *Setup) found {
	now := time.Now()
	utc := now.UTC()
	zone, _ := now.Zone()
	return found{"date_time": map[string]any{
		"year": now.Format("2006"), "month": now.Format("01"), "day": now.Format("02"), "weekday": now.Format("Monday"),
		"weekday_number": strconv.Itoa(int(now.Weekday())), "weeknumber": fmt.Sprintf("%02d", weekNumber(now)), "hour": now.Format("15"),
		"minute": now.Format("04"), "second": now.Format("05"), "epoch": strconv.FormatInt(now.Unix(), 10), "epoch_int": strconv.FormatInt(now.Unix(), 10),
		"date": now.Format(time.DateOnly), "time": now.Format(time.TimeOnly), "iso8601_micro": utc.Format("2006-01-02T15:04:05.000000Z"),
		"iso8601": utc.Format("2006-01-02T15:04:05Z"), "iso8601_basic": now.Format("20060102T150405.000000")[:15] + now.Format(".000000")[1:],
		"iso8601_basic_short": now.Format("20060102T150405"), "tz": zone, "tz_dst": zone, "tz_offset": now.Format("-0700"),
	}}
}

// weekNumber is strftime's %W: weeks begin on Monday, days before the first one are in week 0.
func weekNumber(t time.Time) int {
	return (t.YearDay() + 6 - (int(t.Weekday())+6)%7) / 7
}

func userFacts(context.Context, *Setup) found {
	f := found{"user_uid": os.Getuid(), "user_gid": os.Getgid(), "real_user_id": os.Getuid(), "effective_user_id": os.Geteuid(),
		"real_group_id": os.Getgid(), "effective_group_id": os.Getegid()}
	u, err := user.Current()
	if err != nil {
		return f
	}
	f["user_id"], f["user_gecos"], f["user_dir"], f["user_shell"] = u.Username, u.Name, u.HomeDir, shellOf(u.Username)
	return f
}

func shellOf(name string) string {
	for _, line := range strings.Split(read("/etc/passwd"), "\n") {
		if fields := strings.Split(line, ":"); len(fields) > 6 && fields[0] == name {
			return fields[6]
		}
	}
	return ""
}

func environment(context.Context, *Setup) found {
	env := map[string]any{}
	for _, entry := range os.Environ() {
		k, v, _ := strings.Cut(entry, "=")
		env[k] = v
	}
	return found{"env": env}
}

func commandLine(context.Context, *Setup) found {
	once, all := map[string]any{}, map[string]any{}
	for _, word := range strings.Fields(read("/proc/cmdline")) {
		k, text, ok := strings.Cut(word, "=")
		var v any = text
		if !ok {
			v = true
		}
		once[k] = v
		switch before := all[k].(type) {
		case nil:
			all[k] = v
		case []any:
			all[k] = append(before, v)
		default:
			all[k] = []any{before, v}
		}
	}
	return found{"cmdline": once, "proc_cmdline": all}
}

func dns(context.Context, *Setup) found {
	f := map[string]any{}
	for _, line := range strings.Split(read("/etc/resolv.conf"), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") || strings.HasPrefix(fields[0], ";") {
			continue
		}
		switch fields[0] {
		case "nameserver":
			servers, _ := f["nameservers"].([]any)
			f["nameservers"] = append(servers, fields[1])
		case "domain":
			f["domain"] = fields[1]
		case "search", "sortlist":
			f[fields[0]] = words(fields[1:])
		case "options":
			f["options"] = resolverOptions(fields[1:])
		}
	}
	return found{"dns": f}
}

func words(list []string) []any {
	out := make([]any, len(list))
	for i, w := range list {
		out[i] = w
	}
	return out
}

func resolverOptions(list []string) map[string]any {
	options := map[string]any{}
	for _, o := range list {
		k, v, ok := strings.Cut(o, ":")
		if ok {
			options[k] = v
		} else {
			options[k] = true
		}
	}
	return options
}

func serviceManager(context.Context, *Setup) found {
	name := read("/proc/1/comm")
	switch {
	case exists("/run/systemd/system"), name == "systemd":
		name = "systemd"
	case name == "init" && exists("/sbin/openrc-run"):
		name = "openrc"
	case name == "init" || name == "sh" || name == "bash":
		name = "sysvinit"
	}
	return found{"service_mgr": name}
}

// managers are package managers by the program that tells them, the more specific first.
var managers = []struct{ program, name string }{{"/usr/bin/apt-get", "apt"}, {"/usr/bin/dnf5", "dnf5"}, {"/usr/bin/dnf", "dnf"}, {"/usr/bin/yum", "yum"},
	{"/usr/bin/zypper", "zypper"}, {"/usr/bin/pacman", "pacman"}, {"/sbin/apk", "apk"}, {"/usr/bin/emerge", "portage"}}

func packageManager(context.Context, *Setup) found {
	for _, m := range managers {
		if exists(m.program) {
			return found{"pkg_mgr": m.name}
		}
	}
	return found{"pkg_mgr": "unknown"}
}

func selinux(context.Context, *Setup) found {
	f := found{"apparmor": map[string]any{"status": "disabled"}, "selinux": map[string]any{"status": "disabled"}, "selinux_python_present": false}
	if exists("/sys/kernel/security/apparmor") {
		f["apparmor"] = map[string]any{"status": "enabled"}
	}
	if mode := read("/sys/fs/selinux/enforce"); mode != "" {
		s := map[string]any{"status": "enabled", "mode": map[string]string{"0": "permissive", "1": "enforcing"}[mode], "policyvers": read("/sys/fs/selinux/policyvers")}
		for _, line := range strings.Split(read("/etc/selinux/config"), "\n") {
			if v, ok := strings.CutPrefix(line, "SELINUXTYPE="); ok {
				s["type"] = v
			}
			if v, ok := strings.CutPrefix(line, "SELINUX="); ok {
				s["config_mode"] = v
			}
		}
		f["selinux"] = s
	}
	return f
}

func virtual(context.Context, *Setup) found {
	kind, role := "NA", "NA"
	product, vendor := read("/sys/devices/virtual/dmi/id/product_name"), read("/sys/devices/virtual/dmi/id/sys_vendor")
	switch {
	case exists("/.dockerenv"):
		kind, role = "docker", "guest"
	case exists("/run/.containerenv"):
		kind, role = "podman", "guest"
	case strings.Contains(read("/proc/1/environ"), "container=lxc"):
		kind, role = "lxc", "guest"
	case strings.Contains(product, "VMware"):
		kind, role = "VMware", "guest"
	case product == "VirtualBox":
		kind, role = "virtualbox", "guest"
	case strings.HasPrefix(vendor, "QEMU"), product == "KVM", strings.Contains(product, "Amazon EC2"), vendor == "Amazon EC2", vendor == "Google", vendor == "DigitalOcean":
		kind, role = "kvm", "guest"
	case strings.Contains(product, "Virtual Machine") && strings.Contains(vendor, "Microsoft"):
		kind, role = "VirtualPC", "guest"
	case exists("/dev/kvm"):
		kind, role = "kvm", "host"
	}
	f := found{"virtualization_type": kind, "virtualization_role": role, "virtualization_tech_guest": []any{}, "virtualization_tech_host": []any{}}
	if role != "NA" {
		f["virtualization_tech_"+role] = []any{kind}
	}
	return f
}

// local are the facts that the host's owner wrote: *.fact files, JSON or INI. Executable ones are left to Ansible: facts run no programs.
func local(_ context.Context, s *Setup) found {
	files, _ := filepath.Glob(filepath.Join(s.Path, "*.fact")) // the pattern is well formed unless the folder's name is not; then there is none
	facts := map[string]any{}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil || info.Mode()&0o111 != 0 {
			continue
		}
		facts[strings.TrimSuffix(filepath.Base(file), ".fact")] = parseLocal(read(file))
	}
	return found{"local": facts}
}

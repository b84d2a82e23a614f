package facts

import (
	"bufio"
	"context"
	"regexp"
	"strings"
)

// distro is what Ansible calls a distribution that /etc/os-release calls by its ID.
type distro struct{ name, family, variety, file string }

// distros by ID. The file is the one in which Ansible finds the distribution.
var distros = map[string]distro{
	"debian":              {"Debian", "Debian", "Debian", "/etc/os-release"},
	"ubuntu":              {"Ubuntu", "Debian", "Debian", "/etc/os-release"},
	"raspbian":            {"Debian", "Debian", "Debian", "/etc/os-release"},
	"linuxmint":           {"Linux Mint", "Debian", "Debian", "/etc/os-release"},
	"kali":                {"Kali", "Debian", "Debian", "/etc/os-release"},
	"pop":                 {"Pop!_OS", "Debian", "Debian", "/etc/os-release"},
	"rhel":                {"RedHat", "RedHat", "RedHat", "/etc/redhat-release"},
	"centos":              {"CentOS", "RedHat", "RedHat", "/etc/redhat-release"},
	"rocky":               {"Rocky", "RedHat", "RedHat", "/etc/redhat-release"},
	"almalinux":           {"AlmaLinux", "RedHat", "RedHat", "/etc/redhat-release"},
	"fedora":              {"Fedora", "RedHat", "RedHat", "/etc/redhat-release"},
	"ol":                  {"OracleLinux", "RedHat", "OracleLinux", "/etc/oracle-release"},
	"amzn":                {"Amazon", "RedHat", "Amazon", "/etc/os-release"},
	"virtuozzo":           {"Virtuozzo", "RedHat", "RedHat", "/etc/redhat-release"},
	"openeuler":           {"openEuler", "RedHat", "RedHat", "/etc/os-release"},
	"sles":                {"SLES", "Suse", "SUSE", "/etc/os-release"},
	"sles_sap":            {"SLES_SAP", "Suse", "SUSE", "/etc/os-release"},
	"opensuse-leap":       {"openSUSE Leap", "Suse", "SUSE", "/etc/os-release"},
	"opensuse-tumbleweed": {"openSUSE Tumbleweed", "Suse", "SUSE", "/etc/os-release"},
	"alpine":              {"Alpine", "Alpine", "Alpine", "/etc/alpine-release"},
	"arch":                {"Archlinux", "Archlinux", "Archlinux", "/etc/arch-release"},
	"gentoo":              {"Gentoo", "Gentoo", "Gentoo", "/etc/gentoo-release"},
	"flatcar":             {"Flatcar", "Flatcar", "Flatcar", "/etc/os-release"},
	"coreos":              {"Coreos", "CoreOS", "Coreos", "/etc/os-release"},
	"mariner":             {"Mariner", "Mariner", "Mariner", "/etc/os-release"},
}

var nameInParens = regexp.MustCompile(`\(([^)]+)\)`)

func distribution(_ context.Context, h *host) map[string]any {
	o := h.osRelease()
	d, known := distros[o["ID"]]
	if !known {
		d = distro{name: o["NAME"], family: familyLike(o["ID_LIKE"], o["NAME"]), file: "/etc/os-release"}
	}
	version := o["VERSION_ID"]
	if o["ID"] == "centos" { // os-release has the major version only
		if m := regexp.MustCompile(`\d+\.\d+`).FindString(h.read("/etc/redhat-release")); m != "" {
			version = m
		}
	}
	major, _, _ := strings.Cut(version, ".")
	facts := map[string]any{
		"distribution": orNA(d.name), "os_family": orNA(d.family), "distribution_version": orNA(version), "distribution_major_version": orNA(major), "distribution_release": h.release(o, d),
		"distribution_file_path": d.file, "distribution_file_parsed": known,
	}
	if d.variety != "" {
		facts["distribution_file_variety"] = d.variety
	}
	if d.name == "Debian" {
		if _, minor, ok := strings.Cut(h.read("/etc/debian_version"), "."); ok {
			facts["distribution_minor_version"] = minor
		}
	}
	return facts
}

func orNA(text string) string {
	if text == "" {
		return "NA"
	}
	return text
}

// release is the code name.
func (h *host) release(o map[string]string, d distro) string {
	if d.family == "RedHat" || d.family == "Alpine" {
		if m := nameInParens.FindStringSubmatch(h.readOr(d.file, o["VERSION"])); m != nil {
			return m[1]
		}
		return "NA"
	}
	if name := o["VERSION_CODENAME"]; name != "" {
		return name
	}
	if m := nameInParens.FindStringSubmatch(o["VERSION"]); m != nil {
		return m[1]
	}
	return "NA"
}

// familyLike is the family of a distribution that is not in the list, by what it says it is like.
func familyLike(like, name string) string {
	for word := range strings.FieldsSeq(like) {
		if d, ok := distros[word]; ok {
			return d.family
		}
		if word == "suse" {
			return "Suse"
		}
	}
	return name
}

func (h *host) osRelease() map[string]string {
	return assignments(h.readOr("/etc/os-release", h.read("/usr/lib/os-release")))
}

// assignments reads lines of NAME=value or NAME="value".
func assignments(text string) map[string]string {
	values := map[string]string{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		name, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		if ok && !strings.HasPrefix(name, "#") {
			values[name] = strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	return values
}

// lsb is what the program lsb_release says, from where it knows it.
func lsb(_ context.Context, h *host) map[string]any {
	o := h.osRelease()
	l := assignments(h.read("/etc/lsb-release"))
	values := map[string]any{}
	put := func(name, value string) {
		if value != "" {
			values[name] = value
		}
	}
	switch {
	case h.has("lsb_release"):
		put("id", first(l["DISTRIB_ID"], distros[o["ID"]].name))
		put("release", first(l["DISTRIB_RELEASE"], o["VERSION_ID"]))
		put("codename", first(l["DISTRIB_CODENAME"], o["VERSION_CODENAME"]))
		put("description", first(l["DISTRIB_DESCRIPTION"], o["PRETTY_NAME"]))
	case len(l) > 0:
		put("id", l["DISTRIB_ID"])
		put("release", l["DISTRIB_RELEASE"])
		put("codename", l["DISTRIB_CODENAME"])
		put("description", l["DISTRIB_DESCRIPTION"])
	}
	if release, ok := values["release"].(string); ok {
		values["major_release"], _, _ = strings.Cut(release, ".")
	}
	return map[string]any{"lsb": values}
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// packageManager is found by the distribution, and by which programs there are.
func packageManager(_ context.Context, h *host) map[string]any {
	name := "unknown"
	for _, m := range []struct{ program, name string }{
		{"apt-get", "apt"}, {"dnf5", "dnf5"}, {"dnf", "dnf"}, {"yum", "yum"}, {"zypper", "zypper"}, {"apk", "apk"}, {"pacman", "pacman"}, {"emerge", "portage"}, {"xbps-install", "xbps"}, {"swupd", "swupd"},
	} {
		if h.has(m.program) {
			name = m.name
			break
		}
	}
	if h.exists("/run/ostree-booted") && (name == "dnf" || name == "yum") {
		name = "atomic_container"
	}
	return map[string]any{"pkg_mgr": name}
}

// serviceManager is the first process; where its name says nothing, what it left behind.
func serviceManager(_ context.Context, h *host) map[string]any {
	name := h.read("/proc/1/comm")
	known := map[string]string{"procd": "openwrt_init", "runit-init": "runit", "runit": "runit", "svscan": "svc", "openrc-init": "openrc"}
	switch {
	case known[name] != "":
		name = known[name]
	case name != "" && name != "init" && name != "COMMAND" && !strings.HasSuffix(name, "sh"):
	case h.exists("/run/systemd/system"):
		name = "systemd"
	case h.exists("/etc/init"):
		name = "upstart"
	case h.exists("/sbin/openrc"):
		name = "openrc"
	case h.exists("/etc/init.d"):
		name = "sysvinit"
	default:
		name = "service"
	}
	return map[string]any{"service_mgr": name}
}

package facts

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// machine is a host of the files in tree: name, newline, content.
func machine(t *testing.T, tree map[string]string) *host {
	t.Helper()
	root := t.TempDir()
	for name, text := range tree {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &host{root: root}
}

func TestDistribution(t *testing.T) {
	for _, c := range []struct {
		name string
		tree map[string]string
		want map[string]any
	}{
		{"Ubuntu", map[string]string{"/etc/os-release": "NAME=\"Ubuntu\"\nID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"22.04\"\nVERSION=\"22.04.4 LTS (Jammy Jellyfish)\"\nVERSION_CODENAME=jammy\n", "/usr/bin/apt-get": ""},
			map[string]any{"distribution": "Ubuntu", "distribution_version": "22.04", "distribution_major_version": "22", "distribution_release": "jammy", "os_family": "Debian", "distribution_file_variety": "Debian", "pkg_mgr": "apt"}},
		{"Rocky", map[string]string{"/etc/os-release": "NAME=\"Rocky Linux\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.3\"\n", "/etc/redhat-release": "Rocky Linux release 9.3 (Blue Onyx)\n", "/usr/bin/dnf": ""},
			map[string]any{"distribution": "Rocky", "distribution_version": "9.3", "distribution_major_version": "9", "distribution_release": "Blue Onyx", "os_family": "RedHat", "distribution_file_path": "/etc/redhat-release", "pkg_mgr": "dnf"}},
		{"CentOS 7", map[string]string{"/etc/os-release": "NAME=\"CentOS Linux\"\nID=\"centos\"\nVERSION_ID=\"7\"\n", "/etc/redhat-release": "CentOS Linux release 7.9.2009 (Core)\n", "/usr/bin/yum": ""},
			map[string]any{"distribution": "CentOS", "distribution_version": "7.9", "distribution_major_version": "7", "distribution_release": "Core", "os_family": "RedHat", "pkg_mgr": "yum"}},
		{"RHEL", map[string]string{"/etc/os-release": "NAME=\"Red Hat Enterprise Linux\"\nID=\"rhel\"\nVERSION_ID=\"8.6\"\n", "/etc/redhat-release": "Red Hat Enterprise Linux release 8.6 (Ootpa)\n"},
			map[string]any{"distribution": "RedHat", "distribution_version": "8.6", "distribution_release": "Ootpa", "os_family": "RedHat", "pkg_mgr": "unknown"}},
		{"SLES", map[string]string{"/etc/os-release": "NAME=\"SLES\"\nID=\"sles\"\nVERSION_ID=\"15.5\"\n", "/usr/bin/zypper": ""},
			map[string]any{"distribution": "SLES", "distribution_version": "15.5", "os_family": "Suse", "pkg_mgr": "zypper"}},
		{"Flatcar", map[string]string{"/usr/lib/os-release": "NAME=\"Flatcar Container Linux by Kinvolk\"\nID=flatcar\nVERSION_ID=3510.2.8\n"},
			map[string]any{"distribution": "Flatcar", "os_family": "Flatcar", "distribution_major_version": "3510"}},
		{"another Debian", map[string]string{"/etc/os-release": "NAME=\"Devuan\"\nID=devuan\nID_LIKE=debian\nVERSION_ID=5\n"},
			map[string]any{"distribution": "Devuan", "os_family": "Debian", "distribution_file_parsed": false}},
		{"nothing", nil, map[string]any{"distribution": "NA", "distribution_version": "NA"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := machine(t, c.tree)
			got := distribution(t.Context(), h)
			got["pkg_mgr"] = packageManager(t.Context(), h)["pkg_mgr"]
			for name, want := range c.want {
				if got[name] != want {
					t.Errorf("%s is %v, want %v", name, got[name], want)
				}
			}
		})
	}
}

func TestServiceManager(t *testing.T) {
	for _, c := range []struct {
		tree map[string]string
		want string
	}{
		{map[string]string{"/proc/1/comm": "systemd\n"}, "systemd"}, {map[string]string{"/proc/1/comm": "init\n", "/run/systemd/system/x": ""}, "systemd"},
		{map[string]string{"/proc/1/comm": "runit-init\n"}, "runit"}, {map[string]string{"/proc/1/comm": "init\n", "/etc/init.d/x": ""}, "sysvinit"}, {map[string]string{"/proc/1/comm": "bash\n"}, "service"},
	} {
		if got := serviceManager(t.Context(), machine(t, c.tree))["service_mgr"]; got != c.want {
			t.Errorf("%v: %v, want %s", c.tree, got, c.want)
		}
	}
}

func TestProcessors(t *testing.T) {
	block := func(n, socket string) string {
		return "processor\t: " + n + "\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon\nphysical id\t: " + socket + "\nsiblings\t: 4\ncpu cores\t: 2\n\n"
	}
	var text strings.Builder
	for i, n := range []string{"0", "1", "2", "3", "4", "5", "6", "7"} {
		text.WriteString(block(n, []string{"0", "1"}[i/4]))
	}
	got := processorsOf(text.String())
	for name, want := range map[string]int{"processor_count": 2, "processor_cores": 2, "processor_threads_per_core": 2, "processor_vcpus": 8} {
		if got[name] != want {
			t.Errorf("%s is %v, want %d", name, got[name], want)
		}
	}
	if list := got["processor"].([]string); len(list) != 24 || list[2] != "Xeon" {
		t.Errorf("processor is %v", list)
	}
	arm := processorsOf("processor\t: 0\nBogoMIPS\t: 50.00\nCPU part\t: 0xd0c\n\nprocessor\t: 1\n")
	if arm["processor_vcpus"] != 2 || arm["processor_count"] != 2 || arm["processor_cores"] != 1 {
		t.Errorf("without sockets: %v", arm)
	}
}

func TestMounts(t *testing.T) {
	got := mountsOf(`22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,discard
23 22 0:21 / /proc rw - proc proc rw
24 22 8:1 /etc/x /mnt/with\040blank ro,relatime - ext4 /dev/sda1 rw
25 22 0:50 / /nfs rw - nfs4 10.0.0.1:/export rw,vers=4.2
`)
	want := []map[string]any{
		{"mount": "/", "device": "/dev/sda1", "fstype": "ext4", "options": "rw,relatime,discard"},
		{"mount": "/mnt/with blank", "device": "/dev/sda1", "fstype": "ext4", "options": "ro,relatime,bind"},
		{"mount": "/nfs", "device": "10.0.0.1:/export", "fstype": "nfs4", "options": "rw,vers=4.2"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestCommandLineAndDNS(t *testing.T) {
	h := machine(t, map[string]string{"/proc/cmdline": "quiet root=/dev/sda1 console=tty0 console=ttyS0 x=\"a b\"\n",
		"/etc/resolv.conf": "# c\nnameserver 1.1.1.1\nnameserver 8.8.8.8\nsearch a.b c.d\ndomain a.b\noptions ndots:2 rotate\n"})
	got := commandLine(t.Context(), h)
	if want := map[string]any{"quiet": true, "root": "/dev/sda1", "console": "ttyS0", "x": "a b"}; !reflect.DeepEqual(got["cmdline"], want) {
		t.Errorf("cmdline is %v", got["cmdline"])
	}
	if list := got["proc_cmdline"].(map[string]any)["console"]; !reflect.DeepEqual(list, []any{"tty0", "ttyS0"}) {
		t.Errorf("proc_cmdline has %v", list)
	}
	dns := nameServers(t.Context(), h)["dns"]
	if want := map[string]any{"nameservers": []string{"1.1.1.1", "8.8.8.8"}, "search": []string{"a.b", "c.d"}, "domain": "a.b", "options": map[string]any{"ndots": "2", "rotate": true}}; !reflect.DeepEqual(dns, want) {
		t.Errorf("dns is %v", dns)
	}
}

func TestINI(t *testing.T) {
	got, err := parseINI("[DEFAULT]\nz=1\n[s]\nQ=%(z)s%%\nlong = a\n  b\n; c\n[e]\n")
	if want := map[string]any{"s": map[string]any{"z": "1", "q": "1%", "long": "a\nb"}, "e": map[string]any{"z": "1"}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"words\n", "a=1\n", "[s]\nno value\n", "[s]\na=%(b)s\n", "[s]\na=%(a)s\n"} {
		if got, err := parseINI(bad); err == nil {
			t.Errorf("%q gives %v", bad, got)
		}
	}
}

func TestFullName(t *testing.T) {
	for _, c := range []struct{ hosts, want string }{
		{"127.0.0.1 localhost\n127.0.1.1 n1.example.org n1\n", "n1.example.org"}, {"127.0.0.1 localhost\n127.0.0.1 n1\n", "localhost"}, {"10.0.0.1 n1 n1.lan\n", "n1.lan"}, {"10.0.0.1 n1 # n1.example.org\n", "n1"},
	} {
		if got := machine(t, map[string]string{"/etc/hosts": c.hosts}).fullName(t.Context(), "n1"); got != c.want {
			t.Errorf("%q: %s, want %s", c.hosts, got, c.want)
		}
	}
}

func TestWeek(t *testing.T) {
	for _, c := range []struct{ date, want string }{{"2026-01-01", "00"}, {"2026-01-04", "00"}, {"2026-01-05", "01"}, {"2024-01-01", "01"}, {"2026-11-21", "46"}, {"2026-12-31", "52"}} {
		d, err := time.Parse(time.DateOnly, c.date)
		if err != nil {
			t.Fatal(err)
		}
		if got := weekOf(d); got != c.want {
			t.Errorf("%s is in week %s, want %s", c.date, got, c.want)
		}
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	got := dateTimeAt(time.Date(2026, 1, 2, 3, 4, 5, 6000, berlin))
	for name, want := range map[string]string{"tz": "CET", "tz_dst": "CEST", "tz_offset": "+0100", "iso8601": "2026-01-02T02:04:05Z", "iso8601_basic": "20260102T030405000006", "weekday": "Friday", "weekday_number": "5"} {
		if got[name] != want {
			t.Errorf("%s is %v, want %s", name, got[name], want)
		}
	}
}

func TestVirtual(t *testing.T) {
	at := "/sys/devices/virtual/dmi/id/"
	for _, c := range []struct {
		tree       map[string]string
		kind, role string
	}{
		{nil, "NA", "NA"}, {map[string]string{at + "product_name": "VMware7,1\n"}, "VMware", "guest"}, {map[string]string{at + "sys_vendor": "Amazon EC2\n"}, "kvm", "guest"}, {map[string]string{at + "sys_vendor": "QEMU\n", "/dev/kvm": ""}, "kvm", "guest"},
		{map[string]string{"/dev/kvm": ""}, "kvm", "host"}, {map[string]string{"/.dockerenv": ""}, "docker", "guest"}, {map[string]string{"/proc/1/environ": "a=b\x00container=podman\x00"}, "podman", "guest"},
		{map[string]string{at + "sys_vendor": "Microsoft Corporation\n", at + "product_name": "Virtual Machine\n"}, "VirtualPC", "guest"}, {map[string]string{at + "product_name": "HVM domU\n"}, "xen", "guest"},
	} {
		got := virtualization(t.Context(), machine(t, c.tree))
		if got["virtualization_type"] != c.kind || got["virtualization_role"] != c.role {
			t.Errorf("%v: %v", c.tree, got)
		}
	}
}

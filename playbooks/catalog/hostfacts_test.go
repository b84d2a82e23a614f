package catalog_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// checksystem answers as calicoctl 3.28 does on a kernel that has modules under other names and lacks one.
const checksystem = `#!/bin/sh
[ "$1 $2" = "node checksystem" ] || exit 1
printf 'Checking kernel version...\n\t\t%-20s\t\t\t\t\tOK\nChecking kernel modules...\n' 6.1.0-18-amd64
printf '\t\t%-20s\t\t\t\t\tOK\n' xt_set ip_set
for m in xt_icmp xt_mark; do
  echo "WARNING: Unable to detect the $m module as Loaded/Builtin module or lsmod"
  printf '\t\t%-20s\t\t\t\t\tFAIL\n' $m
done
echo "System doesn't meet one or more minimum systems requirements to run Calico"
exit 1
`

// TestChecksystem: the facts of a host name the kernel modules that its calicoctl misses, and say nothing where there is no calicoctl.
func TestChecksystem(t *testing.T) {
	dir := t.TempDir()
	executable(t, filepath.Join(dir, "calicoctl"), checksystem)
	for path, want := range map[string]string{"calicoctl": "xt_icmp xt_mark", "elsewhere": "none"} {
		looks(t, dir, "{that: host_found.checksystem | default('none') | trim == expected}",
			"-e", "calicoctl_path="+filepath.Join(dir, path), "-e", "expected='"+want+"'")
	}
}

// TestClockSkew: a clock is off by what it is off, on a host that answers late too; the sleep is what makes it late. Up to four seconds may be the answer's.
func TestClockSkew(t *testing.T) {
	for _, c := range []struct{ name, date, uname, skew string }{
		{"right", "exec /bin/date \"$@\"", "exec /bin/uname \"$@\"", "[0, 4]"},
		{"late", "exec /bin/date \"$@\"", "sleep 7; exec /bin/uname \"$@\"", "[0, 0]"},
		{"fast", "echo $(( $(/bin/date +%s) + 60 ))", "sleep 7; exec /bin/uname \"$@\"", "[5, 61]"},
		{"slow", "echo $(( $(/bin/date +%s) - 60 ))", "exec /bin/uname \"$@\"", "[-61, -5]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			executable(t, filepath.Join(dir, "bin", "date"), "#!/bin/sh\n"+c.date+"\n")
			executable(t, filepath.Join(dir, "bin", "uname"), "#!/bin/sh\n"+c.uname+"\n") // asked before the date
			looks(t, dir, "{that: \"host_found.skew | int >= expected[0] and host_found.skew | int <= expected[1]\"}",
				"-e", `{"expected": `+c.skew+`, "path": "`+filepath.Join(dir, "bin")+`:/usr/sbin:/usr/bin:/sbin:/bin"}`)
		})
	}
}

func executable(t *testing.T, path, script string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, path, script)
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

// looks has calroll look at this machine, and asserts what it found.
func looks(t *testing.T, dir, assertion string, args ...string) {
	t.Helper()
	exe, err := program()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "play.yml"), "- hosts: all\n  environment: {PATH: \"{{ path | default('/usr/sbin:/usr/bin:/sbin:/bin') }}\"}\n  roles: [host_facts]\n  tasks:\n    - assert: "+assertion+"\n")
	write(t, filepath.Join(dir, "inventory.yml"), "kube_node: {hosts: {node1: {ansible_connection: local, etcd_endpoints: [\"http://127.0.0.1:1\"]}}}\n")
	cmd := exec.CommandContext(t.Context(), exe, append([]string{"run", filepath.Join(dir, "play.yml"), "-i", filepath.Join(dir, "inventory.yml")}, args...)...)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(dir, "state"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("calroll run %s: %v\n%s", args, err, out)
	}
}

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
	exe, err := program()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "calicoctl"), checksystem)
	if err := os.Chmod(filepath.Join(dir, "calicoctl"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "play.yml"), "- hosts: all\n  roles: [host_facts]\n  tasks:\n    - assert: {that: host_found.checksystem | default('none') | trim == expected}\n")
	write(t, filepath.Join(dir, "inventory.yml"), "kube_node: {hosts: {node1: {ansible_connection: local, etcd_endpoints: [\"http://127.0.0.1:1\"]}}}\n")
	for path, want := range map[string]string{"calicoctl": "xt_icmp xt_mark", "elsewhere": "none"} {
		cmd := exec.CommandContext(t.Context(), exe, "run", filepath.Join(dir, "play.yml"), "-i", filepath.Join(dir, "inventory.yml"),
			"-e", "calicoctl_path="+filepath.Join(dir, path), "-e", "expected='"+want+"'")
		cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(dir, "state"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("with %s: %v\n%s", path, err, out)
		}
	}
}

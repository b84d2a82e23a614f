package main

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/calroll/calroll/runner"
	"github.com/calroll/calroll/testenv/light"
)

const settled = `- hosts: all
  rollback: batch
  tasks:
    - file: {path: "{{ home }}/conf", state: directory, mode: "0755"}
    - copy: {content: "a={{ inventory_hostname }}\n", dest: "{{ home }}/conf/a"}
    - copy: {src: "{{ big }}", dest: "{{ home }}/conf/big"}
    - lineinfile: {path: "{{ home }}/conf/b", line: "b=1", create: true}
      notify: told
    - file: {path: "{{ home }}/conf/link", src: a, state: link}
    - file: {path: "{{ home }}/conf/none", state: absent}
    - stat: {path: "{{ home }}/conf/a"}
    - command: cat {{ home }}/conf/a
      changed_when: false
  handlers:
    - name: told
      copy: {content: "x", dest: "{{ home }}/conf/told"}
`

// TestARunThatChangesNothingWritesNothing on hosts but the files of the lock, which say who is there.
func TestARunThatChangesNothingWritesNothing(t *testing.T) {
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	const hosts = 2
	c := &crowd{rig{T: t, dir: t.TempDir(), path: path}, light.Start(t, hosts)}
	book := c.write("play.yml", settled)
	run := []string{"run", book, "-e", "big=" + c.write("big", strings.Repeat("0123456789abcdef", 1<<12)), "--output", "plain"}
	c.ends(runner.ExitOK, run...)
	var before []map[string]string
	for i := range hosts {
		before = append(before, written(t, c.hosts.Home(i)))
	}
	if out := c.ends(runner.ExitOK, run...); strings.Count(out, "changed=0 ") != hosts {
		t.Fatalf("the second run changed something:\n%s", out)
	}
	for i := range hosts {
		after := written(t, c.hosts.Home(i))
		var differ []string
		for name, now := range after {
			if before[i][name] != now {
				differ = append(differ, name)
			}
		}
		slices.Sort(differ)
		const runs = ".local/state/calroll/runs/"
		if want := []string{runs + "gate", runs + "lock", runs + "seat"}; !slices.Equal(differ, want) || len(after) != len(before[i]) {
			t.Errorf("written on %s were %q, want %q", light.Host(i), differ, want)
		}
	}
}

// written is when each file and folder below dir was last written to, or altered in another way.
func written(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		name, err := filepath.Rel(dir, path)
		all[name] = fmt.Sprint(st.Ino, st.Size, st.Mode, st.Mtim, st.Ctim)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

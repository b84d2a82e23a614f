package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/calroll/calroll/runner"
	"github.com/calroll/calroll/tasks/journal"
	"github.com/calroll/calroll/testenv/light"
)

// crowd are light hosts, more than a calroll is to be connected to at a time.
type crowd struct {
	rig
	hosts *light.Hosts
}

const crowded = `- hosts: all
  gather_facts: false
  serial: 6
  rollback: batch
  tasks:
    - copy: {content: "of {{ inventory_hostname }}\n", dest: "{{ home }}/one"}
      register: one
      notify: told
    - shell: "cat {{ home }}/one; while [ -e {{ gate }} ]; do sleep 0.05; done"
      changed_when: false
      register: two
    - copy: {content: "{{ one.changed }} {{ two.stdout }}\n", dest: "{{ home }}/three"}
    - command: "false"
      when: inventory_hostname == ansible_play_hosts_all[7]
      changed_when: false
    - copy: {content: "x", dest: "{{ home }}/four"}
  handlers:
    - name: told
      copy: {content: "x", dest: "{{ home }}/five"}
`

// few is a calroll with few connections, unless args say otherwise.
func (c *crowd) few(args ...string) (*exec.Cmd, *bytes.Buffer) {
	first := []string{args[0], "-i", c.hosts.Inventory(), "--forks", "2", "--connections", "4"}
	cmd, out := c.command(append(first, args[1:]...)...), &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

func (c *crowd) ends(want int, args ...string) string {
	c.T.Helper()
	cmd, out := c.few(args...)
	_ = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != want {
		c.T.Fatalf("calroll %s ended with %d, not %d:\n%s", strings.Join(args, " "), code, want, out)
	}
	return out.String()
}

// found is what is on the hosts.
func (c *crowd) found() string {
	c.T.Helper()
	var all strings.Builder
	for i := range crowdSize {
		for _, name := range []string{"one", "three", "four", "five"} {
			text, err := os.ReadFile(filepath.Join(c.hosts.Home(i), name))
			fmt.Fprintf(&all, "%s %s %v %q\n", light.Host(i), name, err == nil, text)
		}
	}
	return all.String()
}

func (c *crowd) is(want string) {
	c.T.Helper()
	if got := c.found(); got != want {
		c.T.Errorf("on the hosts there is\n%s\nand not\n%s", got, want)
	}
}

const crowdSize = 12

// TestMoreHostsThanConnections: a run over more hosts than it may be connected to comes to the same as one that is connected to all, and so does its
// rollback. All the while it has the locks of its hosts, also of those that it has left.
func TestMoreHostsThanConnections(t *testing.T) {
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	c := &crowd{rig{T: t, dir: t.TempDir(), path: path}, light.Start(t, crowdSize)}
	gate := filepath.Join(c.hosts.Dir, "gate")
	book := c.write("play.yml", crowded)
	run := []string{"run", book, "-e", "gate=" + gate, "--output", "plain"}
	bare := c.found()

	wide := c.ends(runner.ExitFailed, append(run, "--connections", "100")...)
	after := c.found()
	if most := c.hosts.Most(); strings.Count(after, "true") != 6*4 || most != crowdSize {
		t.Fatalf("with %d connections there is\n%s\n%s", most, after, wide)
	}
	c.ends(runner.ExitOK, "rollback", "last", "--connections", "100")
	c.is(bare)
	c.hosts.Most()

	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, out := c.few(run...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	c.until(func() bool {
		return maps.Equal(c.locks(), map[journal.Standing]int{journal.Held: 4, journal.Left: 2, journal.Free: 6})
	})
	if err := os.Remove(gate); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	c.is(after)
	if got, want := alike(out.String()), alike(wide); got != want {
		t.Errorf("with few connections the run shows\n%s\nand with many\n%s", got, want)
	}
	c.ends(runner.ExitOK, "rollback", "last")
	c.is(bare)
	if locks := c.locks(); locks[journal.Free] != crowdSize {
		t.Errorf("in the end the locks are %v", locks)
	}
	if most := c.hosts.Most(); most > 4 {
		t.Errorf("%d hosts were connected at the same time; 4 is the most", most)
	}
}

// locks counts the hosts whose lock stands so.
func (c *crowd) locks() map[journal.Standing]int {
	c.T.Helper()
	count := map[journal.Standing]int{}
	for i := range crowdSize {
		l, err := journal.LockOf(filepath.Join(c.hosts.Home(i), ".local/state/calroll/runs"))
		if err != nil {
			c.T.Fatal(err)
		}
		count[l.Standing]++
	}
	return count
}

var varies = regexp.MustCompile(`\d{8}-\d{6}-[0-9a-f]+|"(delta|start|end)": ?"[^"]*"`)

// alike is what a run showed without what differs from run to run. Hosts of a task answer in any order.
func alike(out string) string {
	lines := strings.Split(varies.ReplaceAllString(out, ""), "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

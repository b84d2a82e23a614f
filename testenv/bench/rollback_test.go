package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calroll/calroll/testenv/light"
)

// BenchmarkRollback takes a run of 40 tasks on six light hosts in three batches back, and fails if that takes longer than the run did. Both have
// the helper on the hosts already. What is reported is the ratio.
func BenchmarkRollback(b *testing.B) {
	const hosts, tasks, rounds = 6, 40, 5
	for b.Loop() {
		f := light.Start(b, hosts)
		s := siteOn(f, program(b))
		s.play = manyTasks(f, tasks)
		spent(b, s.run("--limit", light.Host(0)))
		spent(b, s.rollback())
		f.Warm()
		var runs, backs []cost
		for range rounds {
			c, out := spent(b, s.run())
			if n := strings.Count(out, fmt.Sprintf("changed=%d ", tasks)); n != hosts {
				b.Fatalf("%d of %d hosts changed in all tasks:\n%s", n, hosts, out)
			}
			back, out := spent(b, s.rollback())
			if n := strings.Count(out, fmt.Sprintf("%d restored", tasks)); n != hosts || !strings.Contains(out, "ROLLBACK [3/3") {
				b.Fatalf("%d of %d hosts were taken back:\n%s", n, hosts, out)
			}
			runs, backs = append(runs, c), append(backs, back)
		}
		run, back := typical(runs), typical(backs)
		b.Logf("run      %v\nrollback %v", run, back)
		b.ReportMetric(ratio(back.wall, run.wall), "rollback/run")
		if back.wall > run.wall {
			b.Errorf("the rollback took %v and the run %v", back.wall, run.wall)
		}
	}
}

// manyTasks writes a playbook of tasks that each write a file, in batches of two hosts.
func manyTasks(f *light.Hosts, n int) string {
	f.Helper()
	var text strings.Builder
	text.WriteString("- hosts: all\n  gather_facts: false\n  serial: 2\n  rollback: batch\n  tasks:\n")
	for i := range n {
		fmt.Fprintf(&text, "    - copy: {content: 'file %d of {{ inventory_hostname }}', dest: '{{ home }}/f%d'}\n", i, i)
	}
	file := filepath.Join(f.Dir, "many.yml")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		f.Fatal(err)
	}
	return file
}

// rollback is a command line that takes the last run back.
func (s site) rollback(args ...string) *exec.Cmd {
	cmd := exec.Command(s.calroll, append([]string{"rollback", "last"}, args...)...)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(s.dir, "state"))
	return cmd
}

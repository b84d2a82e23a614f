package bench

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calroll/calroll/testenv/light"
)

// BenchmarkManyHosts runs ten tasks on 50, 100 and 200 light hosts, 50 at a time, and reports what a host costs the controller. The
// hosts have the helper already, and the state that the tasks describe: what is measured are connections, frames and events.
func BenchmarkManyHosts(b *testing.B) {
	const most = 200
	for b.Loop() {
		f := light.Start(b, most)
		s := siteOn(f, program(b))
		spent(b, s.run("--limit", light.Host(0)))
		f.Warm()
		spent(b, s.run("--forks", "50"))
		costs := map[int]cost{}
		for _, n := range []int{50, 100, most} {
			var runs []cost
			for range 3 {
				c, out := spent(b, s.run("--forks", "50", "--limit", fmt.Sprintf("all[0:%d]", n-1)))
				unchanged(b, "calroll", out)
				if hosts := strings.Count(out, "changed=0 "); hosts != n {
					b.Fatalf("the run was on %d hosts, not %d", hosts, n)
				}
				runs = append(runs, c)
			}
			costs[n] = typical(runs)
			b.Logf("%3d hosts %v", n, costs[n])
		}
		perHost := float64(costs[most].memory-costs[50].memory) / (most - 50)
		b.ReportMetric(perHost, "B/host")
		b.ReportMetric(ratio(costs[most].wall, costs[50].wall)/4, "t(200)/4t(50)")
		b.ReportMetric(costs[most].cpu.Seconds()*1000/most, "cpu-ms/host")
		if perHost > 1<<20 {
			b.Errorf("a host costs the controller %.0f bytes; 1 MiB is the most", perHost)
		}
	}
}

// siteOn is the playbook for light hosts.
func siteOn(f *light.Hosts, calroll string) site {
	f.Helper()
	play, err := filepath.Abs("testdata/light/play.yml")
	if err != nil {
		f.Fatal(err)
	}
	return site{calroll: calroll, play: play, inventory: f.Inventory(), vars: filepath.Join(filepath.Dir(play), "vars.yml"), dir: f.TempDir()}
}

package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/calroll/calroll/testenv/light"
)

// BenchmarkJournal runs plays with and without a journal on the hosts, in turns, and reports what the journal adds to the time of a run on six light hosts:
// of ten tasks as a rollout has them, and of 40 tasks that do nothing but write a file each, which is the most that it can add. A run cannot go without a
// journal, so one of the two programs is built with another line in one file: its helper records nothing, and is otherwise the same.
func BenchmarkJournal(b *testing.B) {
	const rounds = 15
	for b.Loop() {
		dir := b.TempDir()
		p := &pair{B: b, hosts: light.Start(b, pairHosts)}
		p.with, p.without = siteOn(p.hosts, build(b, dir, "with")), siteOn(p.hosts, build(b, dir, "without", "-overlay", forgetful(b, dir)))
		for _, s := range []site{p.with, p.without} {
			p.empty()
			spent(b, s.run("--limit", light.Host(0)))
		}
		p.hosts.Warm()
		p.measure("mixed", p.with.play, 5, rounds)
		p.measure("files", manyTasks(p.hosts, 40), 40, rounds)
	}
}

// pair are two programs that differ in the journal alone.
type pair struct {
	*testing.B
	hosts         *light.Hosts
	with, without site
}

// pairHosts is how many hosts there are.
const pairHosts = 6

// measure runs a play, which changes every host in so many tasks, and reports what the journal adds.
func (p *pair) measure(name, play string, changes, rounds int) {
	p.Helper()
	p.with.play, p.without.play = play, play
	var adds []float64
	var costs [2][]cost
	for range rounds {
		for i, s := range []site{p.with, p.without} {
			p.empty()
			c, out := spent(p.B, s.run())
			if n := strings.Count(out, fmt.Sprintf("changed=%d ", changes)); n != pairHosts {
				p.Fatalf("%d of %d hosts changed in all tasks:\n%s", n, pairHosts, out)
			}
			costs[i] = append(costs[i], c)
		}
		adds = append(adds, 100*(ratio(costs[0][len(adds)].wall, costs[1][len(adds)].wall)-1))
	}
	p.tells()
	slices.Sort(adds)
	p.Logf("%s, with a journal    %v\n       without a journal %v\n       the journal adds %.0f%% (%.0f%% to %.0f%% in the middle half of %d pairs)", name,
		typical(costs[0]), typical(costs[1]), adds[rounds/2], adds[rounds/4], adds[rounds-1-rounds/4], rounds)
	p.ReportMetric(adds[rounds/2], "journal-%-"+name)
}

// build builds the program.
func build(b *testing.B, dir, name string, args ...string) string {
	b.Helper()
	out := filepath.Join(dir, name)
	cmd := exec.Command("go", slices.Concat([]string{"build", "-o", out}, args, []string{"github.com/calroll/calroll/cmd/calroll"})...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("cannot build calroll: %v\n%s", err, text)
	}
	return out
}

// forgetful is an overlay for go build, with a helper that records nothing.
func forgetful(b *testing.B, dir string) string {
	b.Helper()
	const records, forgets = "\treturn s.book.journal\n}", "\treturn tasks.NoRecord{}\n}"
	source, err := filepath.Abs("../../runner/remote/runs.go")
	if err != nil {
		b.Fatal(err)
	}
	text, err := os.ReadFile(source)
	if err != nil || strings.Count(string(text), records) != 1 {
		b.Fatalf("cannot find the line that records in %s (%v)", source, err)
	}
	changed, overlay := filepath.Join(dir, "runs.go"), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {source: changed}})
	if err != nil {
		b.Fatal(err)
	}
	for name, content := range map[string]string{changed: strings.Replace(string(text), records, forgets, 1), overlay: string(list)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return overlay
}

// empty takes away what the plays write.
func (p *pair) empty() {
	p.Helper()
	for i := range pairHosts {
		for _, pattern := range []string{"f*", "app"} {
			files, err := filepath.Glob(filepath.Join(p.hosts.Home(i), pattern))
			if err != nil {
				p.Fatal(err)
			}
			for _, name := range files {
				if err := os.RemoveAll(name); err != nil {
					p.Fatal(err)
				}
			}
		}
	}
}

// tells checks that the programs are what they are taken for: the one has something to take back, the other nothing.
func (p *pair) tells() {
	p.Helper()
	if _, out := spent(p.B, p.without.rollback()); strings.Count(out, "nothing to take back") != pairHosts {
		p.Fatalf("without a journal there is something to take back:\n%s", out)
	}
	p.empty()
	spent(p.B, p.with.run())
	if _, out := spent(p.B, p.with.rollback()); strings.Count(out, " restored, 0 as before") != pairHosts {
		p.Fatalf("with a journal not all was taken back:\n%s", out)
	}
}

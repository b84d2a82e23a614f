package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/calroll/calroll/runner/event"
)

// program is the calroll to measure.
func program(b *testing.B) string {
	b.Helper()
	path := os.Getenv("CALROLL")
	if path == "" {
		path = "../../dist/calroll"
	}
	path, err := filepath.Abs(path)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		b.Fatalf("cannot find the program to measure: %v (make bench builds it)", err)
	}
	return path
}

// cost is what a program took, with all processes that it started and waited for.
type cost struct {
	wall, cpu time.Duration
	memory    int64 // bytes, at most at a time, of the largest of the processes
}

// spent runs cmd and tells what it took and printed. It fails the benchmark unless the program ends well.
func spent(b *testing.B, cmd *exec.Cmd) (cost, string) {
	b.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if err != nil {
		b.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, &out)
	}
	state := cmd.ProcessState
	usage, _ := state.SysUsage().(*syscall.Rusage)
	return cost{wall: wall, cpu: state.UserTime() + state.SystemTime(), memory: usage.Maxrss << 10}, out.String()
}

// typical is the median of each quantity.
func typical(costs []cost) cost {
	return cost{wall: median(costs, func(c cost) time.Duration { return c.wall }), cpu: median(costs, func(c cost) time.Duration { return c.cpu }),
		memory: median(costs, func(c cost) int64 { return c.memory })}
}

func median[T time.Duration | int64](costs []cost, of func(cost) T) T {
	var all []T
	for _, c := range costs {
		all = append(all, of(c))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func (c cost) String() string {
	return fmt.Sprintf("%7.2f s %7.2f s %5d MB", c.wall.Seconds(), c.cpu.Seconds(), c.memory>>20)
}

// site runs testdata/site.
type site struct {
	calroll   string
	play      string
	inventory string
	vars      string // a file
	dir       string // for what the tools keep
}

// run is a calroll command line; its run store is the benchmark's own.
func (s site) run(args ...string) *exec.Cmd {
	cmd := exec.Command(s.calroll, append([]string{"run", s.play, "-i", s.inventory, "-e", "@" + s.vars}, args...)...)
	cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(s.dir, "state"))
	return cmd
}

// told is what a run with --output json said of itself.
type told struct {
	wire    event.Wire
	tasks   int // that were started
	changed int // tasks that changed a host, summed over hosts
}

func readEvents(b *testing.B, out string) (t told) {
	b.Helper()
	for line := range strings.Lines(out) {
		var e event.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			b.Fatalf("cannot understand %q: %v", line, err)
		}
		switch e.Kind {
		case event.TaskStart:
			t.tasks++
		case event.Recap:
			for _, c := range e.Counts {
				t.changed += c.Changed
			}
		case event.RunEnd:
			t.wire = *e.Wire
		}
	}
	return t
}

// unchanged fails the benchmark if a run that should have found everything in place changed something. Both tools end with the same recap.
func unchanged(b *testing.B, who, out string) {
	b.Helper()
	_, recap, _ := strings.Cut(out, "PLAY RECAP")
	if !strings.Contains(recap, "changed=0") || strings.Count(recap, "changed=") != strings.Count(recap, "changed=0 ") {
		b.Fatalf("%s changed what was right already:\n%s", who, out)
	}
}

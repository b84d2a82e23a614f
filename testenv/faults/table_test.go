package faults

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// row is what came of one trial.
type row struct {
	fault, point, victim, outcome string
	batch, problems               int
	took                          time.Duration
}

func (w row) String() string {
	verdict := "ok"
	if w.problems > 0 {
		verdict = fmt.Sprintf("%d PROBLEMS", w.problems)
	}
	return fmt.Sprintf("%-22s  %-34s  batch %d  %-7s  %-34s  %-4s  %5.1f s", w.fault, w.point, w.batch, w.victim, w.outcome, verdict, w.took.Seconds())
}

// table is what came of all trials. Rigs add to it at the same time.
type table struct {
	mu   sync.Mutex // guards rows
	rows []row
}

func (t *table) add(w row) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, w)
}

// sum is one line a fault: how many points, and how often each outcome.
type sum struct {
	points, committed, back, open, problems int
}

// String is the table in Markdown, summed up by fault.
func (t *table) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	sums := map[string]*sum{}
	for _, w := range t.rows {
		s := sums[w.fault]
		if s == nil {
			s = &sum{}
			sums[w.fault] = s
		}
		s.count(w)
	}
	var b strings.Builder
	out := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	fmt.Fprintln(out, "| fault\t| points\t| all committed\t| batch rolled back\t| resumable\t| exceptions\t|")
	fmt.Fprintln(out, "|---\t|---\t|---\t|---\t|---\t|---\t|")
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		s := sums[name]
		fmt.Fprintf(out, "| %s\t| %d\t| %d\t| %d\t| %d\t| %d\t|\n", name, s.points, s.committed, s.back, s.open, s.problems)
	}
	_ = out.Flush() // to memory
	return b.String()
}

func (s *sum) count(w row) {
	s.points++
	s.problems += min(w.problems, 1)
	switch {
	case w.outcome == "all committed":
		s.committed++
	case strings.HasPrefix(w.outcome, "batch"):
		s.back++
	case strings.HasPrefix(w.outcome, "resumable"):
		s.open++
	}
}

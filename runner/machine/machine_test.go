package machine

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the outputs into the scenarios")

// TestScenarios plays testdata/*.txt: a play, then inputs (">") and the outputs ("<") that must follow each.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { playScenario(t, file) })
	}
}

func playScenario(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	s := &script{}
	for _, line := range strings.Split(strings.TrimRight(string(text), "\n"), "\n") {
		if strings.HasPrefix(line, "<") {
			continue
		}
		got = append(got, line)
		if in, ok := strings.CutPrefix(line, "> "); ok {
			for _, out := range s.step(t, in) {
				got = append(got, "< "+out)
			}
		} else {
			s.read(line)
		}
	}
	want := strings.Join(got, "\n") + "\n"
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(text) {
		t.Errorf("%s plays out differently; it would be:\n%s", file, want)
	}
}

// script reads a scenario's play and talks to its machine.
type script struct {
	play    Play
	machine *Machine
	lists   []*[]*Node // the list that a line at each depth of indentation goes into
	blocks  []*Node
	byName  map[string]*Node
	into    *[]*Node
}

func (s *script) read(line string) {
	words := strings.Fields(line)
	if len(words) == 0 || words[0] == "#" {
		return
	}
	depth := (len(line) - len(strings.TrimLeft(line, " "))) / 2
	switch {
	case words[0] == "play":
		s.readPlay(words[1:])
	case depth == 0:
		s.readSection(words[0])
	default:
		s.readNode(words[0], depth)
	}
}

func (s *script) readPlay(words []string) {
	s.byName = map[string]*Node{}
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		switch k {
		case "hosts":
			s.play.Hosts = strings.Split(v, ",")
		case "serial":
			s.play.Serial = strings.Split(v, ",")
		case "max_fail_percentage":
			f, _ := strconv.ParseFloat(v, 64)
			s.play.MaxFailPercentage = &f
		case "rollback":
			s.play.Rollback = Scope(v)
		case "any_errors_fatal":
			s.play.AnyErrorsFatal = true
		case "force_handlers":
			s.play.ForceHandlers = true
		}
	}
}

func (s *script) readSection(name string) {
	switch name {
	case "handlers":
		s.into = &s.play.Handlers
	case "include":
		s.into = &[]*Node{}
		s.byName["include"] = &Node{}
		s.into = &s.byName["include"].Main
	default:
		s.play.Sections = append(s.play.Sections, nil)
		s.into = &s.play.Sections[len(s.play.Sections)-1]
	}
	s.lists, s.blocks = []*[]*Node{nil, s.into}, []*Node{nil, nil}
}

func (s *script) readNode(word string, depth int) {
	s.lists, s.blocks = s.lists[:depth+1], s.blocks[:depth+1]
	var open *[]*Node
	switch word {
	case "block":
		n := &Node{Kind: Block}
		*s.lists[depth] = append(*s.lists[depth], n)
		s.blocks[depth], open = n, &n.Main
	case "rescue":
		open = &s.blocks[depth].Rescue
	case "always":
		open = &s.blocks[depth].Always
	default:
		n := &Node{Kind: Task}
		for _, flag := range strings.Split(word, ":") {
			switch flag {
			case "once":
				n.RunOnce = true
			case "fatal":
				n.AnyErrorsFatal = true
			case "flush":
				n.Kind, n.Name = Flush, flag
			default:
				n.Name = flag
			}
		}
		s.byName[n.Name] = n
		*s.lists[depth] = append(*s.lists[depth], n)
		return
	}
	s.lists, s.blocks = append(s.lists, open), append(s.blocks, nil)
}

func (s *script) step(t *testing.T, in string) []string {
	words := strings.Fields(in)
	var outs []Output
	switch words[0] {
	case "begin":
		m, err := New(s.play)
		if err != nil {
			return []string{"error " + err.Error()}
		}
		s.machine = m
		outs = m.Step(Begin{})
	case "cancel":
		outs = s.machine.Step(Cancel{})
	case "end_batch":
		outs = s.machine.Step(EndBatch{})
	case "end_play":
		outs = s.machine.Step(EndPlayEarly{})
	case "include":
		outs = s.machine.Step(Included{strings.Split(words[1], ","), s.byName["include"].Main})
	case "undone":
		for _, h := range strings.Split(words[1], ",") {
			outs = append(outs, s.machine.Step(Undone{h})...)
		}
	default: // "h1,h2 failed notify=0,1"
		for _, h := range strings.Split(words[0], ",") {
			outs = append(outs, s.machine.Step(readDone(h, words[1:]))...)
		}
	}
	var texts []string
	for _, o := range outs {
		texts = append(texts, show(o))
	}
	return texts
}

func readDone(host string, words []string) Done {
	d := Done{Host: host, Outcome: map[string]Outcome{"ok": OK, "failed": Failed, "unreachable": Unreachable, "end_host": EndHost}[words[0]]}
	for _, w := range words[1:] {
		for _, n := range strings.Split(strings.TrimPrefix(w, "notify="), ",") {
			i, _ := strconv.Atoi(n)
			d.Notify = append(d.Notify, i)
		}
	}
	return d
}

func show(o Output) string {
	switch o := o.(type) {
	case StartBatch:
		return fmt.Sprintf("batch %d/%d %s", o.Number, o.Of, strings.Join(o.Hosts, ","))
	case Run:
		word := "run"
		if o.Handler >= 0 {
			word = "handler"
		}
		return fmt.Sprintf("%s %s on %s", word, o.Node.Name, strings.Join(o.Hosts, ","))
	case Undo:
		return "undo " + strings.Join(o.Hosts, ",")
	case Commit:
		return "commit " + strings.Join(o.Hosts, ",")
	case EndPlay:
		return fmt.Sprintf("end failed=%s unreachable=%s break=%v", strings.Join(o.Failed, ","), strings.Join(o.Unreachable, ","), o.Break)
	}
	return fmt.Sprintf("%T", o)
}

func TestBatches(t *testing.T) {
	hosts := strings.Split("abcdefghij", "")
	for _, c := range []struct {
		serial string
		want   string
	}{
		{"", "10"}, {"3", "3 3 3 1"}, {"1 20% 100%", "1 2 7"}, {"35%", "3 3 3 1"}, {"1%", "1 1 1 1 1 1 1 1 1 1"}, {"0", "10"}, {"4 0", "4 6"}, {"99", "10"},
	} {
		batches, err := Batches(hosts, strings.Fields(c.serial))
		if err != nil {
			t.Fatal(err)
		}
		var sizes []string
		for _, b := range batches {
			sizes = append(sizes, strconv.Itoa(len(b)))
		}
		if got := strings.Join(sizes, " "); got != c.want {
			t.Errorf("serial %q: got %s, want %s", c.serial, got, c.want)
		}
	}
	if _, err := Batches(hosts, []string{"many"}); err == nil {
		t.Error("a size that is no number must be refused")
	}
}

// TestRandomPlays checks what must hold whatever happens: every host of a batch is answered for, a task runs at most once on a host, a
// host that failed gets no task outside rescue and always, handlers run once a notification, undo covers exactly the scope.
func TestRandomPlays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		w.drive(t)
		w.check(t)
	})
}

type world struct {
	play      Play
	m         *Machine
	ran       map[string]map[*Node]int
	undone    []string
	committed []string
	batches   [][]string
	end       *EndPlay
}

func newWorld(t *rapid.T) *world {
	n := rapid.IntRange(1, 12).Draw(t, "hosts")
	w := &world{ran: map[string]map[*Node]int{}}
	for i := range n {
		w.play.Hosts = append(w.play.Hosts, fmt.Sprintf("h%d", i))
	}
	w.play.Serial = []string{strconv.Itoa(rapid.IntRange(0, n).Draw(t, "serial"))}
	w.play.Rollback = rapid.SampledFrom([]Scope{None, Host, Batch, All}).Draw(t, "rollback")
	if rapid.Bool().Draw(t, "limited") {
		f := float64(rapid.IntRange(0, 100).Draw(t, "max_fail_percentage"))
		w.play.MaxFailPercentage = &f
	}
	w.play.AnyErrorsFatal = rapid.Bool().Draw(t, "any_errors_fatal")
	w.play.Sections = [][]*Node{randomNodes(t, 2), randomNodes(t, 1)}
	w.play.Handlers = []*Node{{Name: "H0"}, {Name: "H1"}}
	m, err := New(w.play)
	if err != nil {
		t.Fatal(err)
	}
	w.m = m
	return w
}

func randomNodes(t *rapid.T, depth int) []*Node {
	var nodes []*Node
	for range rapid.IntRange(0, 4).Draw(t, "nodes") {
		if depth > 0 && rapid.IntRange(0, 3).Draw(t, "block") == 0 {
			nodes = append(nodes, &Node{Kind: Block, Main: randomNodes(t, depth-1), Rescue: randomNodes(t, depth-1), Always: randomNodes(t, depth-1)})
		} else {
			nodes = append(nodes, &Node{Name: "t", RunOnce: rapid.IntRange(0, 5).Draw(t, "once") == 0})
		}
	}
	return nodes
}

func (w *world) drive(t *rapid.T) {
	todo := w.m.Step(Begin{})
	for steps := 0; len(todo) > 0; steps++ {
		if steps > 10000 {
			t.Fatal("the play does not end")
		}
		out := todo[0]
		todo = append(todo[1:], w.obey(t, out)...)
	}
}

func (w *world) obey(t *rapid.T, out Output) (next []Output) {
	switch o := out.(type) {
	case StartBatch:
		w.batches = append(w.batches, o.Hosts)
	case Run:
		for _, h := range o.Hosts {
			if w.ran[h] == nil {
				w.ran[h] = map[*Node]int{}
			}
			w.ran[h][o.Node]++
			d := Done{Host: h, Outcome: Outcome(rapid.SampledFrom([]int{0, 0, 0, 0, 0, 0, 1, 2}).Draw(t, "outcome"))}
			if d.Outcome == OK && o.Handler < 0 && rapid.Bool().Draw(t, "notify") {
				d.Notify = []int{rapid.IntRange(0, 1).Draw(t, "handler")}
			}
			next = append(next, w.m.Step(d)...)
		}
	case Undo:
		for _, h := range o.Hosts {
			w.undone = append(w.undone, h)
			next = append(next, w.m.Step(Undone{h})...)
		}
	case Commit:
		w.committed = append(w.committed, o.Hosts...)
	case EndPlay:
		w.end = &o
	}
	return next
}

func (w *world) check(t *rapid.T) {
	if w.end == nil {
		t.Fatal("no EndPlay")
	}
	seen := slices.Concat(w.batches...)
	slices.Sort(seen)
	if len(slices.Compact(slices.Clone(seen))) != len(seen) {
		t.Fatalf("a host is in two batches: %v", w.batches)
	}
	for h, tasks := range w.ran {
		for n, times := range tasks {
			if times > 1 && !strings.HasPrefix(n.Name, "H") {
				t.Fatalf("%s ran a task %d times", h, times)
			}
		}
	}
	for _, h := range w.undone {
		if slices.Contains(w.committed, h) {
			t.Fatalf("%s was committed and undone", h)
		}
	}
	w.checkScope(t, seen)
}

func (w *world) checkScope(t *rapid.T, seen []string) {
	bad := append(slices.Clone(w.end.Failed), w.end.Unreachable...)
	if w.play.Rollback == None && len(w.undone) > 0 {
		t.Fatal("undone without being asked to")
	}
	for _, h := range bad {
		if w.play.Rollback != None && !slices.Contains(w.undone, h) {
			t.Fatalf("%s failed and was not undone", h)
		}
	}
	for _, h := range seen {
		if !slices.Contains(bad, h) && !slices.Contains(w.undone, h) && !slices.Contains(w.committed, h) {
			t.Fatalf("%s was forgotten: neither committed nor undone", h)
		}
	}
}

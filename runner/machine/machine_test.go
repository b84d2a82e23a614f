package machine

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
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
		case "canary":
			s.play.Canaries = strings.Split(v, ",")
		case "spread":
			s.play.Spread = map[string]string{}
			for _, of := range strings.Split(v, ",") {
				host, group, _ := strings.Cut(of, ":")
				s.play.Spread[host] = group
			}
		case "confirm":
			s.play.Confirm = true
		case "failure_budget":
			s.play.FailureBudget = v
		case "absent":
			s.play.Absent = strings.Split(v, ",")
		}
	}
}

func (s *script) readSection(name string) {
	switch name {
	case "handlers":
		s.into = &s.play.Handlers
	case "facts":
		s.into = &s.play.Facts
	case "before":
		s.into = &s.play.Before
	case "after":
		s.into = &s.play.After
	case "soak":
		s.into = &s.play.Soak
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
			case "notlast":
				n.NotLast = true
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
	case "soaked":
		outs = s.machine.Step(Soaked{Over: len(words) > 1 && words[1] == "over"})
	case "confirmed":
		for _, h := range strings.Split(words[1], ",") {
			outs = append(outs, s.machine.Step(Confirmed{h, readDone(h, append(words[2:], "ok")).Outcome})...)
		}
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
		canary := map[bool]string{true: " canary"}[o.Canary]
		return fmt.Sprintf("batch %d/%d%s %s", o.Number, o.Of, canary, strings.Join(o.Hosts, ","))
	case Soak:
		return fmt.Sprintf("soak %d %s", o.Round, strings.Join(o.Hosts, ","))
	case Halt:
		return fmt.Sprintf("halt %s: %d of %d, budget %q", o.Cause, o.Failed, o.Hosts, o.Budget)
	case Run:
		word := "run"
		if o.Gate != "" {
			word = "gate " + string(o.Gate)
		}
		if o.Handler >= 0 {
			word = "handler"
		}
		return fmt.Sprintf("%s %s on %s", word, o.Node.Name, strings.Join(o.Hosts, ","))
	case Confirm:
		return "confirm " + strings.Join(o.Hosts, ",")
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

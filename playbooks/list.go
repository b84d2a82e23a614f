package playbooks

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Listing says what to show of a playbook without running it.
type Listing struct {
	Tasks, Tags bool
	Hosts       func(*Play) []string // the hosts of a play, to list them; may be nil
	Only, Skip  []string             // --tags and --skip-tags
	Render      Render               // for templates in hosts; without it they are shown as they are written
}

// List writes what a playbook holds as ansible-playbook does for --list-hosts, --list-tasks and --list-tags. With none of these
// asked for it writes the playbook's name alone, as --syntax-check does.
func (pb *Playbook) List(w io.Writer, what Listing) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\nplaybook: %s\n", pb.File)
	if what.Tasks || what.Tags || what.Hosts != nil {
		for _, p := range pb.Plays {
			p.list(&b, what)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (p *Play) list(b *strings.Builder, what Listing) {
	playTags, _ := p.TagNames(nil)
	fmt.Fprintf(b, "\n  play #%d (%s): %s\tTAGS: [%s]\n", p.Number, p.hostsText(what.Render), p.title(what.Render), strings.Join(sortedOnce(playTags), ","))
	if what.Hosts != nil {
		p.listHosts(b, what.Hosts(p))
	}
	if !what.Tasks && !what.Tags {
		return
	}
	if what.Tasks {
		b.WriteString("    tasks:\n")
	}
	var all []string
	for t := range p.Leaves() {
		if !t.MatchTags(what.Only, what.Skip) {
			continue
		}
		tags, _ := t.TagNames(nil)
		tags = sortedOnce(tags)
		all = append(all, tags...)
		if what.Tasks {
			fmt.Fprintf(b, "      %s%s\tTAGS: [%s]%s\n", t.listName(), t.listGate(), strings.Join(tags, ", "), p.undoMark(t))
		}
	}
	if what.Tags {
		fmt.Fprintf(b, "      TASK TAGS: [%s]\n", strings.Join(sortedOnce(all), ", "))
	}
}

func (p *Play) listHosts(b *strings.Builder, hosts []string) {
	patterns := make([]string, len(p.Hosts))
	for i, h := range p.Hosts {
		patterns[i] = "'" + h.Text() + "'"
	}
	fmt.Fprintf(b, "    pattern: [%s]\n    hosts (%d):\n", strings.Join(patterns, ", "), len(hosts))
	for _, h := range hosts {
		fmt.Fprintf(b, "      %s\n", h)
	}
}

// Title is the play's name, or its hosts when it has none, as written.
func (p *Play) Title() string { return p.title(nil) }

func (p *Play) title(render Render) string {
	if p.Name.Text() != "" {
		return p.Name.Text()
	}
	return p.hostsText(render)
}

func (p *Play) hostsText(render Render) string {
	texts := make([]string, len(p.Hosts))
	for i, h := range p.Hosts {
		texts[i] = h.Text()
		if render == nil {
			continue
		}
		if text, err := h.Get(render, ""); err == nil { // else the text as written says more
			texts[i] = text
		}
	}
	return strings.Join(texts, ",")
}

// undoMark marks the tasks of a play that promises rollback which are not taken back, and those that end the way back.
func (p *Play) undoMark(t *Task) string {
	switch {
	case p.Rollback == "" || p.Rollback == "none":
		return ""
	case t.Module == "undo_guard":
		return "\tPOINT OF NO RETURN"
	case t.UndoNone:
		return "\tUNDO: none"
	}
	return ""
}

// listName is a task's name in a listing, where an unnamed task is its action alone.
func (t *Task) listName() string {
	if t.Name.Text() == "" {
		return t.Action
	}
	return t.FullName().Text()
}

// listGate says in a listing what a gate is.
func (t *Task) listGate() string {
	if t.Gate.IsSet() {
		return "\tGATE: " + t.Gate.Text()
	}
	return ""
}

// sections are all nodes of the play but its handlers, in the order they run.
func (p *Play) sections() [][]Node {
	return [][]Node{p.Before, p.PreTasks, p.Tasks, p.PostTasks, p.After, p.Soak}
}

// Leaves are the tasks of a play in the order they run when nothing fails, as listings show them: without handlers, rescue and always.
func (p *Play) Leaves() func(yield func(*Task) bool) {
	return func(yield func(*Task) bool) {
		for _, nodes := range p.sections() {
			if !leaves(nodes, yield) {
				return
			}
		}
	}
}

func leaves(nodes []Node, yield func(*Task) bool) bool {
	for _, n := range nodes {
		switch n := n.(type) {
		case *Task:
			if !n.Implicit && !yield(n) {
				return false
			}
		case *Block:
			if !leaves(n.Main, yield) {
				return false
			}
		}
	}
	return true
}

func sortedOnce(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names)
}

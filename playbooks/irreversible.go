package playbooks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/calroll/calroll/playbooks/source"
)

// readsOnly are the methods of requests that alter nothing.
var readsOnly = []string{"GET", "HEAD", "OPTIONS"}

// Irreversible says why nothing would take back what the task alters, "" when something does or its author said that nothing has to. Handlers are fired
// again by an undo, and a command that never changes anything (changed_when: false) has nothing to take back.
func (t *Task) Irreversible() string {
	switch {
	case t.Handler || t.UndoNone || len(t.Undo) > 0 || t.changesNothing():
		return ""
	case commands[t.Module], t.Module == "expect", t.Module == "k8s_exec":
		return t.Module + " runs a program, and nobody knows what that alters"
	case t.Module == "uri" && !t.requestReads():
		return "uri sends a request that may alter something"
	}
	return ""
}

// changesNothing tells whether the task says of itself that it never changes anything.
func (t *Task) changesNothing() bool {
	return slices.ContainsFunc(t.ChangedWhen, func(c Condition) bool {
		return slices.Contains([]string{"false", "no"}, strings.ToLower(strings.TrimSpace(c.Text)))
	})
}

func (t *Task) requestReads() bool {
	method, given := t.Args.Dict().Get("method")
	return !given || slices.Contains(readsOnly, strings.ToUpper(fmt.Sprint(method)))
}

// CheckReversible finds the tasks below nodes that a play which promises rollback could not take back, all at once. Includes whose names are no
// templates are looked into; what others bring is looked at when it is read.
func (l *Loader) CheckReversible(nodes []Node) error {
	c := &reversing{loader: l, seen: map[source.Pos]bool{}}
	c.check(nodes)
	return c.problems.Err()
}

// reversing is one CheckReversible.
type reversing struct {
	loader   *Loader
	problems source.Problems
	passed   bool                // a point of no return stands before
	seen     map[source.Pos]bool // tasks that were looked at: includes may go in circles
}

func (c *reversing) check(nodes []Node) {
	walk(nodes, func(t *Task) {
		if c.seen[t.Pos] {
			return
		}
		c.seen[t.Pos] = true
		c.passed = c.passed || t.Module == "undo_guard"
		if c.passed {
			return // after a point of no return nothing is promised
		}
		if why := t.Irreversible(); why != "" {
			c.problems.Addf(t.Pos, "cannot promise rollback: %s", why).
				WithHint("say with \"undo:\" what takes it back, with \"changed_when: false\" that it changes nothing, or with \"undo: none\" that nothing has to be taken back")
		}
		if t.Include != nil {
			c.include(t)
		}
	})
}

// include looks into what an include brings. One that cannot be read fails when its turn comes.
func (c *reversing) include(t *Task) {
	var in *Included
	var err error
	if use := t.Include.Use; use != nil {
		_, constant := use.Name.Constant()
		if _, from := use.TasksFrom.Constant(); !constant || use.TasksFrom.IsSet() && !from {
			return
		}
		in, err = c.loader.LoadRole(*use, t.Inherited())
	} else if file, constant := t.Include.File.Constant(); constant {
		in, err = c.loader.LoadTasks(file, t.Inherited())
	}
	if in != nil && err == nil {
		c.check(in.Nodes)
	}
}

// Sections are all nodes of a play in the order they run, without handlers.
func (p *Play) Sections() []Node { return slices.Concat(p.PreTasks, p.Tasks, p.PostTasks) }

// walk visits every task of nodes, those of rescue and always too.
func walk(nodes []Node, visit func(*Task)) {
	for _, n := range nodes {
		switch n := n.(type) {
		case *Task:
			visit(n)
		case *Block:
			walk(slices.Concat(n.Main, n.Rescue, n.Always), visit)
		}
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/calroll/calroll/runner/conn"
	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/store"
)

// print shows an explanation as text, a paragraph a topic.
func (e *explanation) print(out io.Writer) error {
	place := ""
	if e.Play != "" {
		place = fmt.Sprintf(" in play %q", e.Play)
	}
	if e.Batches > 1 {
		place += fmt.Sprintf(", batch %d of %d", e.Batch, e.Batches)
	}
	if !e.Since.IsZero() {
		place += ", since " + e.Since.Local().Format(time.DateTime)
	}
	fmt.Fprintf(out, "%s: %s%s\n  %s\n", e.Host, e.State, place, e.Why)
	e.printTask(out)
	if e.Begun != "" {
		fmt.Fprintf(out, "\nIT MAY HAVE BEGUN, when the run was killed\n  %s\n", e.Begun)
	}
	if e.Confirm != "" {
		fmt.Fprintf(out, "\nNOT CONFIRMED\n  %s\n", e.Confirm)
	}
	if e.Undo != "" {
		fmt.Fprintf(out, "\nTAKEN BACK\n  %s\n", e.Undo)
	}
	fmt.Fprintln(out, "\nNEXT")
	for _, line := range e.Next {
		fmt.Fprintf(out, "  %s\n", line)
	}
	return nil
}

func (e *explanation) printTask(out io.Writer) {
	if e.Task == nil {
		return
	}
	title := "LAST TASK"
	if e.Failed {
		title = "FAILED TASK"
	}
	fmt.Fprintf(out, "\n%s  %s\n  %s\n", title, e.Task.Name, e.Task.Where)
	e.Source.print(out)
	if e.Blame != nil {
		fmt.Fprintf(out, "\nTO BLAME  %s\n", e.Blame.Where)
		e.Blame.print(out)
	}
	fmt.Fprintln(out, "\nANSWER")
	for _, a := range e.Answers {
		a.print(out)
	}
	if len(e.Vars) > 0 {
		fmt.Fprintln(out, "\nVARIABLES that the task has used")
		_ = columns(out, varRows(e.Vars)...) // as every other write here: the caller's writer is a screen
	}
}

// print shows the parts of a result, texts with their lines below each other.
func (a answer) print(out io.Writer) {
	if a.Item != nil {
		fmt.Fprintf(out, "  item %s\n", oneLine(a.Item))
	}
	fmt.Fprintf(out, "  status: %s\n", a.Status)
	for _, key := range slices.Sorted(maps.Keys(a.Result)) {
		if key == "changed" || strings.HasSuffix(key, "_lines") || key == "invocation" || a.Result[key] == "" {
			continue
		}
		fmt.Fprintf(out, "  %s: %s\n", key, strings.Join(tail(oneLine(a.Result[key])), "\n    "))
	}
}

// answerLines is how many lines of an output are shown, the last ones.
const answerLines = 20

func tail(text string) []string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if more := len(lines) - answerLines; more > 0 {
		return append([]string{fmt.Sprintf("(%d lines before)", more)}, lines[more:]...)
	}
	return lines
}

// oneLine is a text as it is, and any other value as JSON.
func oneLine(v any) string {
	if text, ok := v.(string); ok {
		return text
	}
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}

func varRows(vars []event.Var) [][]string {
	var rows [][]string
	for _, v := range vars {
		text := v.Value
		switch {
		case v.Undefined:
			text = "is not defined"
		case v.Hidden:
			text = "(a secret)"
		case text == "":
			text = "(has no value)"
		}
		rows = append(rows, []string{"  " + v.Name, origin(v), text}) // values may be long: they come last
	}
	return rows
}

// origin is where a value was written; the kind of place is said where the file does not say it.
func origin(v event.Var) string {
	switch {
	case v.Where == "":
		return v.From
	case strings.HasPrefix(v.Where, v.From+":"):
		return v.Where
	}
	return v.Where + "  " + v.From
}

// next is what can be typed now.
func (x explainer) next(h *store.Host) []string {
	var lines []string
	if at := decisive(h); at != nil && at.Event.Login != "" {
		lines = append(lines, at.Event.Login)
	}
	if h.State == store.HostWorking && x.run.State == store.Running {
		return append(lines, "calroll runs show "+x.run.ID)
	}
	if !x.run.Check && h.State != store.HostPassed && !x.takenBack() {
		lines = append(lines, "calroll resume "+x.run.ID)
	}
	if h.State != store.HostPassed {
		lines = append(lines, rerun(x.run, h.Name))
	}
	if h.State != store.HostUndone && h.Last != nil && !x.run.Check {
		lines = append(lines, fmt.Sprintf("calroll rollback %s --limit %s", x.run.ID, h.Name))
	}
	return lines
}

// rerun is the command that runs the same for one host. What extra variables held is not kept, but for files of them.
func rerun(m store.Meta, host string) string {
	words := []string{"calroll", "run"}
	for _, p := range m.Playbooks {
		words = append(words, conn.Quote(p))
	}
	words = append(words, given("-i", m.Inventory...)...)
	words = append(words, given("--limit", host)...)
	words = append(words, given("--tags", m.Tags...)...)
	words = append(words, given("--skip-tags", m.SkipTags...)...)
	if m.Check {
		words = append(words, "--check")
	}
	words = append(words, otherFlags(m.Command.Flags)...)
	words = append(words, given("-e", m.Command.Flags[extraFlag]...)...)
	for _, name := range m.Command.Extra {
		words = append(words, "-e", name+"=...")
	}
	return strings.Join(words, " ")
}

// given is a flag with each of its values.
func given(flag string, values ...string) []string {
	var words []string
	for _, v := range values {
		words = append(words, flag, conn.Quote(v))
	}
	return words
}

// saidBefore are flags that rerun has from elsewhere: with absolute names, for one host alone, or tag by tag.
var saidBefore = []string{"inventory", "limit", "tags", "skip-tags", extraFlag}

// otherFlags are the other flags that a run had, by name.
func otherFlags(flags map[string][]string) []string {
	known := newRunCommand().Flags()
	var words []string
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		if slices.Contains(saidBefore, name) {
			continue
		}
		for _, v := range flags[name] {
			words = append(words, flagWords(known.Lookup(name), name, v)...)
		}
	}
	return words
}

// flagWords is a flag with its value; f is nil for those of the whole program, which all need one.
func flagWords(f *pflag.Flag, name, value string) []string {
	switch {
	case f == nil || f.NoOptDefVal == "":
		return given("--"+name, value)
	case value == f.NoOptDefVal:
		return []string{"--" + name}
	}
	return []string{"--" + name + "=" + conn.Quote(value)} // the next word would be no value of it
}

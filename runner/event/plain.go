package event

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/pmezard/go-difflib/difflib"
)

// Plain prints events as ansible-playbook prints them, with two things more: where a failed task stands, and what was undone.
type Plain struct {
	to        io.Writer
	Verbosity int  // the number of -v
	Color     bool // ANSI colours
	task      Event
	lanes     lanes
}

// NewPlain is a printer to w.
func NewPlain(w io.Writer) *Plain { return &Plain{to: w} }

// Emit implements Sink.
func (p *Plain) Emit(e Event) {
	for _, e := range p.lanes.order(e) {
		p.show(e)
	}
}

func (p *Plain) show(e Event) {
	switch e.Kind {
	case RunStart:
		p.line(2, "", "run %s", e.Run)
	case PlayStart:
		p.headline("PLAY", e.Play)
	case NoHosts:
		p.line(0, cyan, "skipping: no hosts matched")
	case BatchStart, SoakStart, SoakEnd, Halt, Absent, Prompt:
		p.rolling(e)
	case TaskStart:
		p.startTask(e)
	case ItemDone, HostDone, Retry, Included:
		p.result(e)
	case UndoStart, UndoWait, UndoHost, Commit, ConfirmStart, ConfirmHost:
		p.undo(e)
	case Connect:
		p.line(1, "", "[%s] %s", e.Host, e.Message)
	case Warning:
		p.line(0, magenta, "[WARNING]: %s", e.Message)
	case Recap:
		p.recap(e)
	case RunEnd:
		if e.Message != "" {
			p.line(0, "", "%s", e.Message)
		}
	}
}

// rolling shows how a play goes over its hosts.
func (p *Plain) rolling(e Event) {
	hosts := strings.Join(e.Hosts, ", ")
	switch e.Kind {
	case BatchStart:
		if canary := map[bool]string{true: " canary"}[e.Canary]; e.Batches > 1 {
			p.headline("BATCH", fmt.Sprintf("%d/%d%s: %s", e.Batch, e.Batches, canary, hosts))
		}
	case SoakStart:
		p.headline("SOAK", e.Message+": "+hosts)
	case SoakEnd:
		p.write("\n")
		p.line(0, green, "soak: [%s] %s", hosts, e.Message)
	case Halt:
		p.write("\n")
		p.line(0, red, "%s", e.Message)
	case Absent:
		p.line(0, cyan, "absent: [%s] %s", e.Host, e.Message)
	case Prompt:
		p.write(e.Message)
	}
}

func (p *Plain) startTask(e Event) {
	word := "TASK"
	switch {
	case e.Handler:
		word = "RUNNING HANDLER"
	case e.Gate != "":
		word = "GATE " + e.Gate
	}
	p.headline(word, e.Task)
	p.line(2, "", "task path: %s", e.Where)
	p.task = e
}

func (p *Plain) undo(e Event) {
	switch e.Kind {
	case UndoStart:
		p.headline(rollbackTitle(e))
	case ConfirmStart:
		p.headline("CONFIRM", strings.Join(e.Hosts, ", "))
	case UndoWait:
		p.line(0, cyan, "waiting: [%s] %s", e.Host, e.Message)
	case UndoHost, ConfirmHost:
		colour := map[Kind]string{UndoHost: yellow, ConfirmHost: green}[e.Kind]
		if e.Status == Failed || e.Status == Unreachable {
			colour = red
		}
		p.line(0, colour, "%s: [%s] %s", e.Status, e.Host, e.Message)
	case Commit:
		p.line(2, "", "committed: %s", strings.Join(e.Hosts, ", "))
	}
}

// rollbackTitle is the headline of a rollback. One that goes wave by wave counts them.
func rollbackTitle(e Event) (word, name string) {
	word, name = "ROLLBACK", strings.Join(e.Hosts, ", ")
	if e.Preview {
		word = "ROLLBACK, NOT CARRIED OUT"
	}
	if e.Batches > 1 {
		name = fmt.Sprintf("%d/%d: %s", e.Batch, e.Batches, name)
	}
	return word, name
}

func (p *Plain) result(e Event) {
	p.diffs(e)
	e = p.table(e)
	host := e.Host
	if e.Delegated != "" {
		host += " -> " + e.Delegated
	}
	switch {
	case e.Kind == Retry:
		p.line(0, "", "%s: [%s]: %s", "FAILED - RETRYING", host, e.Message)
	case e.Kind == Included:
		p.line(0, cyan, "included: %s for %s", e.Message, strings.Join(e.Hosts, ", "))
	case e.Kind == HostDone && e.Loop && (e.Status == OK || e.Status == Changed || e.Status == Skipped):
		if e.Status == Skipped {
			p.line(0, cyan, "skipping: [%s]%s", host, p.details(e))
		}
	default:
		p.status(e, host)
	}
}

func (p *Plain) status(e Event, host string) {
	item := ""
	if e.Kind == ItemDone {
		item = fmt.Sprintf(" => (item=%s)", labelText(e.Label))
	}
	switch e.Status {
	case OK:
		p.line(0, green, "ok: [%s]%s%s", host, item, p.details(e))
	case Changed:
		p.line(0, yellow, "changed: [%s]%s%s", host, item, p.details(e))
	case Skipped:
		p.line(0, cyan, "skipping: [%s]%s %s", host, item, p.details(e))
	case Unreachable:
		p.line(0, red, "fatal: [%s]: UNREACHABLE! => %s", host, compact(e.Result))
	default:
		p.failure(e, host, item)
	}
}

func (p *Plain) failure(e Event, host, item string) {
	word := "fatal: [" + host + "]: FAILED! => "
	if item != "" {
		word = "failed: [" + host + "] " + strings.TrimPrefix(item, " => ") + " => "
	}
	p.line(0, red, "%s%s", word, compact(e.Result))
	if where := cmp.Or(e.Where, p.task.Where); e.Kind == HostDone && where != "" {
		p.line(0, red, "    at %s", where)
	}
	if e.Hint != "" {
		p.line(0, red, "    hint: %s", e.Hint)
	}
	if e.Status == Ignored {
		p.line(0, cyan, "...ignoring")
	}
}

// details is the result as indented JSON when the task or the verbosity asks for it.
func (p *Plain) details(e Event) string {
	if e.Result == nil || !e.Verbose && p.Verbosity < 1 {
		return ""
	}
	return " => " + pretty(e.Result)
}

// table shows the table that a result has, and gives the event without what the table has shown.
func (p *Plain) table(e Event) Event {
	if e.Table == nil {
		return e
	}
	p.write(e.Table.text())
	if p.Verbosity < 1 {
		changed, _ := e.Result["changed"].(bool) // an action need not say
		e.Result = map[string]any{"changed": changed, "msg": e.Result["msg"]}
	}
	return e
}

func (p *Plain) diffs(e Event) {
	for _, d := range e.Diff {
		text := d.Prepared
		if text == "" {
			text = unified(d)
		}
		if text != "" {
			p.write(colourDiff(text, p.Color))
		}
	}
}

func unified(d Diff) string {
	text, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A: diffLines(d.Before), B: diffLines(d.After),
		FromFile: "before" + header(d.BeforeHeader), ToFile: "after" + header(d.AfterHeader), Context: 3,
	})
	if err != nil {
		return "" // GetUnifiedDiffString writes to memory
	}
	return text
}

// diffLines are the lines of a text, each with its end; a last line without one says so, as diff does.
func diffLines(text string) []string {
	lines := strings.SplitAfter(text, "\n")
	if last := len(lines) - 1; lines[last] == "" {
		lines = lines[:last]
	} else {
		lines[last] += "\n\\ No newline at end of file\n"
	}
	return lines
}

func header(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

func (p *Plain) recap(e Event) {
	p.headline("PLAY RECAP", "")
	hosts := make([]string, 0, len(e.Counts))
	for h := range e.Counts {
		hosts = append(hosts, h)
	}
	slices.Sort(hosts)
	for _, h := range hosts {
		c := e.Counts[h]
		colour := green
		if c.Failed > 0 || c.Unreachable > 0 {
			colour = red
		} else if c.Changed > 0 {
			colour = yellow
		}
		further := ""
		if c.Undone > 0 {
			further = fmt.Sprintf("undone=%-4d ", c.Undone)
		}
		if c.Absent > 0 {
			further += "absent=1"
		}
		p.line(0, colour, "%s", strings.TrimRight(fmt.Sprintf("%-26s : ok=%-4d changed=%-4d unreachable=%-4d failed=%-4d skipped=%-4d rescued=%-4d ignored=%-4d%s",
			h, c.OK, c.Changed, c.Unreachable, c.Failed, c.Skipped, c.Rescued, c.Ignored, further), " "))
	}
	p.write("\n")
}

// headlineWidth is the column that Ansible's stars reach.
const headlineWidth = 79

func (p *Plain) headline(word, name string) {
	text := word
	if name != "" || word != "PLAY RECAP" {
		text = fmt.Sprintf("%s [%s]", word, name)
	}
	stars := max(headlineWidth-len(text), 3)
	p.write("\n" + text + " " + strings.Repeat("*", stars) + "\n")
}

func (p *Plain) line(verbosity int, colour, format string, args ...any) {
	if p.Verbosity < verbosity {
		return
	}
	text := fmt.Sprintf(format, args...)
	if p.Color && colour != "" {
		text = colour + text + reset
	}
	p.write(text + "\n")
}

func (p *Plain) write(s string) { _, _ = io.WriteString(p.to, s) } // a closed terminal must not stop a run

func labelText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return compact(v)
}

// compact is v on one line as Python's json writes it, which is what users of Ansible search for.
func compact(v any) string {
	var b strings.Builder
	writeJSON(&b, v)
	return b.String()
}

func writeJSON(b *strings.Builder, v any) {
	switch v := v.(type) {
	case map[string]any:
		b.WriteByte('{')
		for i, k := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b.WriteString(", ")
			}
			writeScalar(b, k)
			b.WriteString(": ")
			writeJSON(b, v[k])
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			writeJSON(b, e)
		}
		b.WriteByte(']')
	default:
		writeScalar(b, v)
	}
}

func writeScalar(b *strings.Builder, v any) {
	var text strings.Builder
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		fmt.Fprint(b, v)
		return
	}
	b.WriteString(strings.TrimRight(text.String(), "\n"))
}

func pretty(v any) string {
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(compact(v)), "", "    "); err != nil {
		return compact(v)
	}
	return b.String()
}

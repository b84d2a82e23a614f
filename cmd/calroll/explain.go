package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/store"
)

func newExplainCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "explain RUN [HOST]",
		Short: "Tell why hosts are where they are, and what to type next",
		Long: "Tells of a host where it stands in a run and why: the task with its lines in the file, what it answered, the\n" +
			"variables that it used with the place where each value was written, what was taken back, and what can be typed\n" +
			"next. Without HOST it shows all hosts that have not passed, those with the same reason together.",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openStore(cmd.Context())
			if err != nil {
				return err
			}
			m, err := s.Load(args[0])
			if err != nil {
				return err
			}
			h, err := store.HistoryOf(s, m)
			if err != nil {
				return err
			}
			x := explainer{m, h}
			if len(args) == 1 {
				return show(cmd.OutOrStdout(), output, x.reasons(), x.printReasons)
			}
			e, err := x.host(args[1])
			if err != nil {
				return err
			}
			return show(cmd.OutOrStdout(), output, e, e.print)
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

// explainer explains the hosts of one run.
type explainer struct {
	run     store.Meta
	history *store.History
}

// reason is why some hosts have not passed.
type reason struct {
	Hosts []string       `json:"hosts"`
	State store.Standing `json:"state"`
	Task  string         `json:"task,omitempty"`
	Where string         `json:"where,omitempty"`
	Why   string         `json:"why"`
}

// reasons are those of all hosts that have not passed, hosts with the same one together.
func (x explainer) reasons() []reason {
	all := []reason{}
	for _, h := range x.history.Hosts {
		if h.State == store.HostPassed {
			continue
		}
		r := reason{State: h.State, Why: strings.ReplaceAll(x.why(h), h.Name, "HOST")} // the same words for hosts with the same reason
		if h.Failure != nil {
			r.Task, r.Where = h.Failure.Name, h.Failure.Where
		}
		same := func(o reason) bool {
			return o.State == r.State && o.Task == r.Task && o.Where == r.Where && o.Why == r.Why
		}
		i := slices.IndexFunc(all, same)
		if i < 0 {
			i, all = len(all), append(all, r)
		}
		all[i].Hosts = append(all[i].Hosts, h.Name)
	}
	return all
}

func (x explainer) printReasons(out io.Writer) error {
	m := x.run
	fmt.Fprintf(out, "%s  %s, %s\n\n", m.ID, stateText(m), strings.Join(m.Playbooks, " "))
	all := x.reasons()
	if len(all) == 0 {
		_, err := fmt.Fprintln(out, "Every host has passed.")
		return err
	}
	rows := [][]string{{"HOSTS", "STATE", "TASK", "WHERE", "WHY"}}
	for _, r := range all {
		rows = append(rows, []string{someHosts(r.Hosts), string(r.State), cmp.Or(r.Task, "-"), cmp.Or(r.Where, "-"), shortened(r.Why)})
	}
	if err := columns(out, rows...); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\nOne of them in full:\n  calroll explain %s %s\n", m.ID, all[0].Hosts[0])
	return err
}

// whyWidth is how many letters a line of the table has for the reason.
const whyWidth = 100

func shortened(text string) string {
	if letters := []rune(text); len(letters) > whyWidth {
		return string(letters[:whyWidth-3]) + "..."
	}
	return text
}

// why is the reason of a host's standing in one line.
func (x explainer) why(h *store.Host) string {
	switch {
	case h.Failure != nil:
		return firstLine(messageOf(h.Failure))
	case h.State == store.HostWorking:
		return "at work"
	case h.State == store.HostHalfDone:
		return firstLine(h.Undo)
	}
	return x.othersReason(h)
}

// othersReason is why a host on which nothing has failed did not get through.
func (x explainer) othersReason(h *store.Host) string {
	var culprits []string
	for _, other := range x.history.Hosts {
		if other.Failure != nil && other != h {
			culprits = append(culprits, fmt.Sprintf("%s failed at %s", other.Name, other.Failure.Name))
		}
	}
	if more := len(culprits) - 2; more > 0 {
		culprits = append(culprits[:2], fmt.Sprintf("%d more failed", more))
	}
	by := strings.Join(culprits, ", ")
	switch {
	case h.State == store.HostUndone && h.ByHand:
		return "it was taken back by calroll rollback"
	case x.run.State == store.Killed:
		return cmp.Or(by, "the run was killed")
	case x.run.State == store.Canceled:
		return cmp.Or(x.history.Stopped, "the run was stopped")
	case by != "":
		return by
	case x.run.State == store.RolledBack:
		return "the run was taken back"
	case x.run.State == store.Running:
		return "its turn has not come"
	}
	return "nothing was there to do"
}

// takenBack tells whether somebody has taken the run back as a whole, as far as hosts answered: then there is nothing that one would go on with.
func (x explainer) takenBack() bool {
	asAWhole := x.run.State == store.RolledBack || x.run.State == store.StillOpen && x.run.OpenAs == store.RolledBack
	return asAWhole && slices.ContainsFunc(x.history.Hosts, func(h *store.Host) bool { return h.ByHand })
}

// messageOf is what a failed task said: the message of the first item that failed, or what the program wrote last.
func messageOf(s *store.Step) string {
	e := s.Event
	if len(s.Items) > 0 {
		e = s.Items[0]
	}
	msg, _ := e.Result["msg"].(string)
	if written := lastLine(e.Result["stderr"]); written != "" && (msg == "" || msg == "non-zero return code") {
		msg = strings.TrimPrefix(msg+": "+written, ": ")
	}
	switch holds, _ := e.Result["failed_when_result"].(bool); {
	case msg != "":
		return msg
	case e.Result["censored"] != nil:
		return "its answer is hidden: the task says no_log"
	case holds:
		return "its failed_when holds"
	}
	return string(e.Status)
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}

func lastLine(text any) string {
	s, _ := text.(string)
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// explanation is all there is to say of a host in a run.
type explanation struct {
	Run     string         `json:"run"`
	Host    string         `json:"host"`
	State   store.Standing `json:"state"`
	Since   time.Time      `json:"since"`
	Play    string         `json:"play,omitempty"`
	Batch   int            `json:"batch,omitempty"`
	Batches int            `json:"batches,omitempty"`
	Why     string         `json:"why"`
	Task    *store.Task    `json:"task,omitempty"`  // that it failed at, else its last
	Failed  bool           `json:"failed"`          // at that task
	Source  source         `json:"source"`          // of the task
	Blame   *source        `json:"blame,omitempty"` // of the template or value that is to blame
	Answers []answer       `json:"answers"`         // of the task, or of the items that failed
	Vars    []event.Var    `json:"vars,omitempty"`  // that the task has used
	Undo    string         `json:"undo,omitempty"`
	Confirm string         `json:"confirm,omitempty"` // that the host goes back by itself
	Begun   string         `json:"begun,omitempty"`   // the task that may have begun when the run was killed
	Next    []string       `json:"next"`
}

// answer is what came of a task, or of one item of its loop.
type answer struct {
	Item   any            `json:"item,omitempty"`
	Status event.Status   `json:"status"`
	Result map[string]any `json:"result,omitempty"`
}

func (x explainer) host(name string) (*explanation, error) {
	h := x.history.Host(name)
	if h == nil {
		return nil, fmt.Errorf("cannot explain %s: run %s was not for this host", name, x.run.ID)
	}
	e := &explanation{Run: x.run.ID, Host: h.Name, State: h.State, Since: h.Since, Play: h.Play, Batch: h.Batch, Batches: h.Batches, Why: x.why(h),
		Failed: h.Failure != nil, Undo: h.Undo, Next: x.next(h)}
	if h.State == store.HostPassed {
		e.Why = "every task of its batch has ended well"
	}
	if x.waits(h) {
		e.Confirm = fmt.Sprintf("it takes back by itself what the run changed, %s after it last heard of the run (calroll resume and calroll rollback say whether it has)", confirmText(h))
	}
	if at := decisive(h); at != nil {
		x.addTask(e, at)
	}
	if last := x.lastTask(); x.run.State == store.Killed && h.State == store.HostStopped && last != nil && last.Outcomes[name] == "" {
		e.Begun = fmt.Sprintf("%s (%s)", last.Name, last.Where)
	}
	return e, nil
}

// waits tells whether a host has changes that nobody has confirmed, or taken back, while nobody is at work on that any more.
func (x explainer) waits(h *store.Host) bool {
	return h.Confirm > 0 && h.Counts.Changed > 0 && h.State != store.HostUndone && x.run.State != store.Running
}

func confirmText(h *store.Host) string {
	return time.Duration(h.Confirm * float64(time.Second)).String()
}

// lastTask is the task that the run started last, nil for none.
func (x explainer) lastTask() *store.Timing {
	if n := len(x.history.Tasks); n > 0 {
		return x.history.Tasks[n-1]
	}
	return nil
}

// addTask tells of the task: its lines, its answer, its variables.
func (x explainer) addTask(e *explanation, s *store.Step) {
	e.Task, e.Source = &s.Task, taskSource(x.run, s.Where)
	e.Batch, e.Batches = s.Batch, s.Batches
	of := s.Items
	if len(of) == 0 {
		of = []event.Event{s.Event}
	}
	for _, one := range of {
		e.Answers = append(e.Answers, answer{one.Label, one.Status, one.Result})
	}
	for _, v := range of[0].Vars {
		if v.From != "registered" || v.Where != "" { // else it is the answer itself, under the name that conditions know it by
			e.Vars = append(e.Vars, v)
		}
	}
	if at := of[0].At; at != "" && at != s.Where {
		blame := lineSource(x.run, at)
		e.Blame = &blame
	}
}

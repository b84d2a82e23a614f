package machine

// Input is something that happened: Begin, Done, Included, EndBatch, EndPlayEarly, ClearErrors, Soaked, Confirmed, Undone, Cancel.
type Input interface{ input() }

// Output is something to be carried out: StartBatch, Run, Soak, Confirm, Halt, Undo, Commit, EndPlay.
type Output interface{ output() }

// Outcome is how a task ended on a host, as far as deciding is concerned.
type Outcome int

// The outcomes. A failure that is ignored (ignore_errors) is OK here.
const (
	OK Outcome = iota
	Failed
	Unreachable
	EndHost // meta: end_host; the host leaves the play without having failed
)

// Inputs.
type (
	// Begin starts the play.
	Begin struct{}
	// Done is a host's answer to a Run. Notify names handlers by their index in Play.Handlers.
	Done struct {
		Host    string
		Outcome Outcome
		Notify  []int
	}
	// Included gives the tasks that a dynamic include brought to hosts. It comes before the Done of the include task on those
	// hosts; several includes of one task come in the order their tasks shall run.
	Included struct {
		Hosts []string
		Nodes []*Node
	}
	// AddHandlers appends handlers (include_role brings them); their indexes follow the existing ones.
	AddHandlers struct{ Handlers []*Node }
	// EndBatch is meta: end_batch, EndPlayEarly is meta: end_play. They take effect when the running task is done.
	EndBatch     struct{}
	EndPlayEarly struct{}
	// ClearErrors is meta: clear_host_errors.
	ClearErrors struct{}
	// Soaked answers a Soak: the next round may begin, or the soak time is Over.
	Soaked struct{ Over bool }
	// Confirmed is a host's answer to a Confirm. Any other Outcome than OK is a failure of the host, which may have gone back by itself.
	Confirmed struct {
		Host    string
		Outcome Outcome
	}
	// Undone is a host's answer to an Undo.
	Undone struct{ Host string }
	// Cancel stops the play after the running task, undoing nothing.
	Cancel struct{}
)

// Outputs.
type (
	// StartBatch announces the hosts of the next batch.
	StartBatch struct {
		Number, Of int // from 1
		Hosts      []string
		Canary     bool
	}
	// Run wants a task carried out on hosts, and a Done from each. Handler is the task's index in Play.Handlers, else -1.
	// For lists every host that the result is for: with run_once more than Hosts.
	Run struct {
		Node    *Node
		Hosts   []string
		For     []string
		Handler int
		Gate    Gate // "" when the task is none
		Round   int  // of the soak gates, from 1; 0 for other tasks
	}
	// Soak wants a Soaked when the next round of the soak gates is due; the first one is due at once.
	Soak struct {
		Round int // from 1
		Hosts []string
	}
	// Confirm wants hosts told that what they did stays, over connections that are new, and a Confirmed from each.
	Confirm struct{ Hosts []string }
	// Halt says why there is no further batch, before what follows from that. Failed of all Hosts count against the Budget.
	Halt struct {
		Cause         Cause
		Failed, Hosts int
		Budget        string // FailureBudget as written
	}
	// Undo wants what the hosts have not committed taken back, and an Undone from each.
	Undo struct{ Hosts []string }
	// Commit says that what the hosts have done stays.
	Commit struct{ Hosts []string }
	// EndPlay is the last output. Break says that no further play is to start.
	EndPlay struct {
		Failed, Unreachable []string
		Break               bool
		Fatal               bool // any_errors_fatal or max_fail_percentage ended it
		Canceled            bool
	}
)

func (Begin) input()        {}
func (Done) input()         {}
func (Included) input()     {}
func (AddHandlers) input()  {}
func (EndBatch) input()     {}
func (EndPlayEarly) input() {}
func (ClearErrors) input()  {}
func (Soaked) input()       {}
func (Confirmed) input()    {}
func (Undone) input()       {}
func (Cancel) input()       {}

func (StartBatch) output() {}
func (Run) output()        {}
func (Soak) output()       {}
func (Confirm) output()    {}
func (Halt) output()       {}
func (Undo) output()       {}
func (Commit) output()     {}
func (EndPlay) output()    {}

// Of are the hosts that an answer of one of r.Hosts is for: that host, or with run_once all of them.
func (r Run) Of(host string) []string {
	if r.Node.RunOnce {
		return r.For
	}
	return []string{host}
}

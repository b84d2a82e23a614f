package remote

import (
	"encoding/json"
	"io"
	"time"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
)

// Protocol is the version of the messages. Both ends must have the same.
const Protocol = 3

// InlineLimit is the size in bytes up to which a blob travels with its task instead of being asked for.
const InlineLimit = 16 << 10

// WindowLimit is how many calls may wait for their answers at the same time.
const WindowLimit = 256

// Hello is the helper's first message.
type Hello struct {
	Protocol int       `json:"protocol"`
	Build    string    `json:"build"`    // the program's SHA-256, by which it was pushed
	Platform string    `json:"platform"` // "linux/amd64"
	Modules  []string  `json:"modules"`
	PID      int       `json:"pid"`
	UID      int       `json:"uid"`
	Hostname string    `json:"hostname"`
	Clock    time.Time `json:"clock"` // the host's; nothing here depends on it being right
	// Runs are those whose changes on this host, made as this identity, are neither committed nor undone.
	Runs    []journal.Run `json:"runs,omitempty"`
	RunsErr string        `json:"runs_err,omitempty"` // why Runs could not be read
}

// Task is one task for one host: a module and what it is called with. Everything in it is finished: no template, no condition.
type Task struct {
	Number  int64  `json:"number"` // the controller's number, kept with every record so that an undo can stop at a task
	Name    string `json:"name,omitempty"`
	For     string `json:"for,omitempty"` // the host that has delegated it, likewise
	Module  string `json:"module"`
	Items   []Item `json:"items"` // one for a task without a loop
	Check   bool   `json:"check,omitempty"`
	Diff    bool   `json:"diff,omitempty"`
	As      string `json:"as,omitempty"`      // as whom a module on the controller reads files of its host; "" is the login user
	Handler bool   `json:"handler,omitempty"` // a handler's work is a refresh: undo fires it again instead of undoing it

	// Confirm has the host go back by itself when what is altered is not confirmed in time; nil does not.
	Confirm *Confirm `json:"confirm,omitempty"`
	// Undo are the steps that take back what a command alters.
	Undo []tasks.Invocation `json:"undo,omitempty"`
	Env  map[string]string  `json:"env,omitempty"`
	// NoLog says that nobody is told what a handler was called with, when it fails as it is fired again. An undo step says so itself.
	NoLog bool `json:"no_log,omitempty"`
	// Timeout bounds each item; zero does not.
	Timeout time.Duration `json:"timeout,omitempty"`
	// FirstFailureEnds leaves the items after a failed one out; they answer Canceled. Without it a failed item does not
	// stop the later ones, as under Ansible.
	FirstFailureEnds bool `json:"first_failure_ends,omitempty"`
	// GoOn says that a failure of this task does not cancel the tasks sent after it (ignore_errors).
	GoOn bool `json:"go_on,omitempty"`

	// Blobs are the contents that arguments refer to as {"$blob": sha256, "size": n}, by their hash. They are opened when they
	// are needed, perhaps never and never twice at the same time.
	Blobs map[string]Source `json:"-"`
	// Each, if set, is called with every item's result as it arrives, in order, by the goroutine that waits for the task.
	Each func(item int, r tasks.Result) `json:"-"`
}

// Item is one call of the task's module.
type Item struct {
	Args map[string]any `json:"args"`
}

// Source is content that the controller has.
type Source struct {
	Size int64
	Open func() (io.ReadCloser, error)
}

// call is what every question to the helper carries; the answers carry its ID.
type call struct {
	ID uint64 `json:"id"`
}

type taskCall struct {
	call
	Task
	Ahead  bool              `json:"ahead,omitempty"` // sent before all earlier answers were known
	Inline map[string][]byte `json:"inline,omitempty"`
}

// answer is one item's result, or the end of a call. Items come in order.
type answer struct {
	ID     uint64          `json:"id"`
	Item   int             `json:"item,omitempty"`
	Last   bool            `json:"last,omitempty"`
	Result *tasks.Result   `json:"result,omitempty"`
	Armed  bool            `json:"armed,omitempty"` // something was altered that waits to be confirmed
	Kept   bool            `json:"kept,omitempty"`  // the run has a journal here
	Err    *tasks.Error    `json:"err,omitempty"`   // of the call as a whole: the items that have not answered did not run
	Value  json.RawMessage `json:"value,omitempty"`
}

// need asks for a blob. Its number keeps late chunks of an abandoned transfer apart from a new one's.
type need struct {
	Number uint32 `json:"number"`
	Call   uint64 `json:"call"`
	Hash   string `json:"hash"`
}

// A chunk frame is the need's number (four bytes), one of these, and data.
const (
	chunkHeader = 5
	chunkMore   = 0
	chunkLast   = 1
	chunkError  = 2 // the data is why there will be no more
)

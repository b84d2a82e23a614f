package runner

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/calroll/calroll/inventory"
	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/playbooks/vars"
	"github.com/calroll/calroll/runner/action"
	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/machine"
	"github.com/calroll/calroll/runner/remote"
	"github.com/calroll/calroll/runner/store"
	"github.com/calroll/calroll/tasks"
)

// Options are what a run is to do, and with what.
type Options struct {
	Playbooks []string
	Inventory *inventory.Inventory
	Sources   []string // of the inventory, for the run store
	Limit     string
	ExtraVars *value.Vars
	Tags      []string
	SkipTags  []string
	Check     bool
	Diff      bool
	Forks     int
	// Connections is how many hosts are connected at the same time; 0 is four times Forks, and 64 at least.
	Connections int
	Verbosity   int
	// ForceHandlers lets failed hosts run the handlers they have notified, in plays that do not choose.
	ForceHandlers bool
	// Rollback is the scope of plays that do not choose one.
	Rollback machine.Scope
	Login    Login
	Loader   *playbooks.Loader
	Env      *expr.Env
	// Ask reads what the user types, without showing it unless echo; nil when there is nobody to ask.
	Ask     func(ctx context.Context, echo bool) (string, error)
	Carried Carried
	Store   *store.Store // nil: the run is not recorded
	Sink    event.Sink
	Mask    *event.Mask
	Version string
	// Shared is the state that several bastions have in common; nil for none.
	Shared *Shared
	// Command is how the run was asked for, for who goes on with it.
	Command store.Command
	// Resume is the run to go on with; nil begins a new one.
	Resume *Resumption

	books []*playbooks.Playbook // of Playbooks, read
	key   []byte                // of hashes of what may hold secrets; see sealingKey
}

// Exit codes are those of ansible-playbook, which has no degraded state.
const (
	ExitOK          = 0
	ExitError       = 1  // something that is no host's fault
	ExitDegraded    = 1  // a report of checks found something that is not as it should be, and nothing that failed
	ExitFailed      = 2  // a host failed
	ExitUnreachable = 4  // a host could not be reached
	ExitParse       = 4  // a playbook could not be read
	ExitCanceled    = 99 // the user stopped it
)

// Summary is what a run came to.
type Summary struct {
	Run    string
	Exit   int
	Counts map[string]event.Counts
	Stats  remote.Stats
	Open   []string // hosts that could not be taken back as a whole, sorted
}

// run is a run being carried out.
type run struct {
	o       Options
	id      string
	loader  *playbooks.Loader
	env     *expr.Env
	actions map[string]action.Action
	grown   bool // a task has added hosts or groups: names of later plays may be none of the inventory's
	world   *vars.World
	modules tasks.Set
	fleet   *fleet
	mask    *event.Mask
	started time.Time
	right   *right // nil without a shared state

	resumed *Resumption
	plays   int // that have ended

	asking sync.Mutex    // held while the user is asked
	slots  chan struct{} // has a place for each task on a host that may go at a time, in whatever play

	mu       sync.Mutex // guards what follows: hosts report at the same time, and plays
	headings *headings  // nil unless resumed
	unkept   bool       // what tasks came to could not be recorded
	sink     event.Sink
	record   *store.Run
	counts   map[string]*event.Counts
	taskNo   int64
	others   map[string][]string     // by host, those that have done something in its place
	open     map[string]event.Status // hosts that could not be taken back as a whole, and how that ended

	gone       map[string]bool // hosts that failed or were lost: later plays go on without them
	unreached  map[string]bool // those of them that were lost
	degraded   bool            // a report of checks said so
	failed     bool
	fatal      bool // a play ended by any_errors_fatal or max_fail_percentage
	lost       bool
	canceled   bool
	rolledBack bool
}

// Run carries playbooks out. Mistakes in what the user wrote come back as an error before any host is touched; what happens on hosts is told
// to the sink and in the Summary.
func Run(ctx context.Context, o Options) (Summary, error) {
	books, exit, err := Check(o)
	if err != nil {
		return Summary{Exit: exit}, err
	}
	if err := checkInventory(o, books); err != nil {
		return Summary{Exit: ExitError}, err
	}
	o.books = books
	if o.Store != nil {
		var err error
		if o.key, err = o.sealingKey(ctx); err != nil {
			return Summary{Exit: ExitError}, err
		}
	}
	id := o.id()
	right, ctx, err := takeRight(ctx, o, id, o.Resume != nil, claimedHosts(o, books))
	if err != nil {
		return Summary{Exit: ExitError}, err
	}
	defer right.release(ctx)
	if err := o.Resume.renew(o); err != nil {
		return Summary{Exit: ExitError}, err
	}
	r, err := begin(o, id)
	if err != nil {
		return Summary{Exit: ExitError}, err
	}
	defer r.fleet.close()
	right.give(ctx, r)
	r.askUnconfirmed(ctx)
	r.endUndos(ctx)
	for _, book := range books {
		more, err := r.playbook(ctx, book)
		if err != nil {
			return r.end(err)
		}
		if !more {
			break
		}
	}
	return r.end(nil)
}

// Check reads the playbooks and finds the mistakes that can be found before any host is touched; exit says of which kind they are. Hosts are looked for if there
// is an inventory.
func Check(o Options) (books []*playbooks.Playbook, exit int, err error) {
	var errs []error
	exit = ExitError
	for _, name := range o.Playbooks {
		book, err := o.Loader.Load(name)
		if err != nil {
			errs, exit = append(errs, err), ExitParse
			continue
		}
		books = append(books, book)
	}
	if o.hasInventory() {
		errs = append(errs, checkHosts(o, books))
	}
	return books, exit, errors.Join(append(errs, checkTogether(o, books), checkReversible(o, books))...)
}

// checkInventory refuses plays for hosts when there is no inventory: nothing would be done, and nobody told.
func checkInventory(o Options, books []*playbooks.Playbook) error {
	if o.hasInventory() {
		return nil
	}
	var errs []error
	for _, b := range books {
		for _, p := range b.Plays {
			pattern, known := constantPattern(p)
			if joinsHosts(p) {
				return errors.Join(errs...) // what it adds later plays may use
			}
			if hosts, err := o.Inventory.Match(pattern); known && (err != nil || len(hosts) == 0) {
				errs = append(errs, source.Errorf(p.Pos, "cannot find hosts %q: no inventory was given", pattern).WithHint("give one with -i: a file, a folder, or names with a comma behind"))
			}
		}
	}
	return errors.Join(errs...)
}

// hasInventory tells whether there is more than this machine.
func (o Options) hasInventory() bool {
	hosts, err := o.Inventory.Match("all")
	return len(o.Sources) > 0 || err != nil || len(hosts) > 0
}

// HostsOf are the hosts of a play as far as the limit goes. They are not known before the run where a template names them, or a group that a task makes.
func (o Options) HostsOf(p *playbooks.Play) (names []string, known bool) {
	pattern, known := constantPattern(p)
	if !known {
		return nil, false
	}
	hosts, err := o.Inventory.Match(pattern, o.limits()...)
	if err != nil {
		return nil, false
	}
	return namesOf(hosts), true
}

// limits is the limit as inventories take it.
func (o Options) limits() []string {
	if o.Limit == "" {
		return nil
	}
	return []string{o.Limit}
}

// id is that of the run to go on with, or a new one.
func (o Options) id() string {
	if o.Resume != nil {
		return o.Resume.Run.ID
	}
	return store.NewID(time.Now())
}

// checkHosts finds patterns that name hosts or groups which do not exist, in every play at once.
func checkHosts(o Options, books []*playbooks.Playbook) error {
	var errs []error
	if o.Limit != "" {
		if _, err := o.Inventory.Match("all", o.Limit); err != nil {
			errs = append(errs, fmt.Errorf("cannot use --limit %s: %w", o.Limit, err))
		}
	}
	grows := false
	for _, b := range books {
		for _, p := range b.Plays {
			for _, h := range p.Hosts {
				pattern, ok := h.Constant()
				if !ok || grows {
					continue
				}
				if _, err := o.Inventory.Match(pattern); err != nil {
					errs = append(errs, hostProblem(h.Pos, pattern, err))
				}
			}
			if !grows {
				errs = append(errs, checkCanaries(o.Inventory, p)...)
			}
			grows = grows || joinsHosts(p)
		}
	}
	return errors.Join(errs...)
}

// joinsHosts tells whether a play has tasks that add hosts or groups: names that later plays use need not exist before the run.
func joinsHosts(p *playbooks.Play) bool {
	for t := range p.Leaves() {
		if joins(t) {
			return true
		}
	}
	return false
}

func joins(t *playbooks.Task) bool { return t.Module == "add_host" || t.Module == "group_by" }

func begin(o Options, id string) (*run, error) {
	now := time.Now()
	r := &run{o: o, id: id, loader: o.Loader, env: o.Env, actions: action.All(), mask: o.Mask, started: now,
		slots: make(chan struct{}, max(o.Forks, 1)), counts: map[string]*event.Counts{}, others: map[string][]string{}, open: map[string]event.Status{}, gone: map[string]bool{}, unreached: map[string]bool{}}
	r.world = newWorld(o)
	if o.Resume != nil {
		r.resumed, r.taskNo, r.headings = o.Resume, o.Resume.Record.LastNo, &headings{}
	}
	r.modules = o.Carried.Modules.Merge(o.Carried.Cluster)
	r.mask.Add(string(o.Login.Password), string(o.Login.BecomePassword))
	sinks := event.Sinks{o.Sink}
	if o.Store != nil {
		rec, err := r.openRecord()
		if err != nil {
			return nil, err
		}
		r.record = rec
		sinks = append(sinks, rec)
	}
	r.sink = r.mask.Sink(sinks)
	r.fleet = newFleet(o, r.id, r.used, func(host, message string) {
		r.emit(event.Event{Kind: event.Connect, Host: host, Message: message})
	})
	r.fleet.user = r.storedWay
	if r.record != nil {
		r.fleet.altered = r.record.Altered
	}
	if o.Resume != nil {
		r.workedBefore(o.Resume.Run.Identities)
	}
	r.emit(event.Event{Kind: event.RunStart, Run: r.id})
	for _, w := range o.Inventory.Warnings {
		r.emit(event.Event{Kind: event.Warning, Message: w.Error()})
	}
	return r, nil
}

// openRecord begins to record the run, or goes on.
func (r *run) openRecord() (*store.Run, error) {
	m := r.meta()
	if err := r.o.describe(&m); err != nil {
		return nil, err
	}
	if r.resumed == nil {
		return r.o.Store.Create(m)
	}
	if err := r.resumed.unchanged(m.Inputs); err != nil {
		return nil, err
	}
	m.Command = r.resumed.Run.Command
	m.Started, m.Identities = r.resumed.Run.Started, r.resumed.Run.Identities
	return r.o.Store.Resume(m)
}

func (r *run) meta() store.Meta {
	var sources []string
	for _, s := range r.o.Sources {
		if abs, err := filepath.Abs(s); err == nil && !strings.Contains(s, ",") { // which is a list of hosts
			s = abs
		}
		sources = append(sources, s)
	}
	return store.Meta{ID: r.id, State: store.Running, Started: r.started, Playbooks: r.o.Playbooks, Inventory: sources, Limit: r.o.Limit,
		Check: r.o.Check, User: userName(), Bastion: store.Bastion(), Version: r.o.Version, Command: r.o.Command}
}

// used records an identity before its journal is opened on a host.
func (r *run) used(w store.Worked) error {
	if r.record == nil {
		return nil
	}
	return r.record.Used(w)
}

// emit tells the sinks. Hosts call it at the same time.
func (r *run) emit(e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.announce(e)
}

// announce is emit for those who hold r.mu.
func (r *run) announce(e event.Event) {
	for _, e := range r.headings.pass(e) {
		e.Time = time.Now()
		r.sink.Emit(e)
	}
}

// emit tells the sinks of the play.
func (p *play) emit(e event.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.Lane = p.lane
	for _, e := range p.hushed.hears(e) {
		p.announce(e)
	}
}

// count adds a task's end to a host's line of the recap.
func (p *play) count(host string, s event.Status, changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hushed != nil && s != event.Failed && s != event.Unreachable {
		return
	}
	c := p.counts[host]
	if c == nil {
		c = &event.Counts{}
		p.counts[host] = c
	}
	c.Add(s, changed)
}

// lastTask is the number of the newest task.
func (r *run) lastTask() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.taskNo
}

func (r *run) nextTask() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.taskNo++
	return r.taskNo
}

// end sums the run up and closes its record.
func (r *run) end(err error) (Summary, error) {
	s := Summary{Run: r.id, Exit: r.exit(err), Counts: map[string]event.Counts{}, Stats: r.fleet.stats(), Open: r.openHosts(event.Failed, event.Unreachable)}
	for h, c := range r.counts {
		s.Counts[h] = *c
	}
	if r.taskNo > 0 { // a rollback has told of each host already
		r.emit(event.Event{Kind: event.Recap, Counts: s.Counts})
	}
	r.emit(event.Event{Kind: event.RunEnd, Run: r.id, Exit: &s.Exit, Seconds: time.Since(r.started).Seconds(), Message: r.advice(s),
		Wire: &event.Wire{FramesOut: s.Stats.FramesOut, FramesIn: s.Stats.FramesIn, BytesOut: s.Stats.BytesOut, BytesIn: s.Stats.BytesIn}})
	if r.record != nil {
		r.record.SetFiles(r.o.files())
		err = errors.Join(err, r.close(s))
	}
	return s, err
}

func (r *run) exit(err error) int {
	switch {
	case r.canceled:
		return ExitCanceled
	case err != nil:
		return ExitError
	case r.lost && !r.fatal:
		return ExitUnreachable
	case r.failed || r.lost || r.fatal:
		return ExitFailed
	case r.degraded:
		return ExitDegraded
	}
	return ExitOK
}

// markDegraded has the run end with ExitDegraded if nothing worse happens.
func (r *run) markDegraded() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.degraded = true
}

func (r *run) state(s Summary) store.State {
	switch {
	case r.canceled:
		return store.Canceled
	case r.rolledBack && !r.remains(s):
		return store.RolledBack
	case s.Exit != ExitOK:
		return store.Failed
	}
	return store.Passed
}

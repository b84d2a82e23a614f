// Package store keeps runs: what was run, against which hosts, as whom, and every event of it.
//
// A run is a folder, named so that names sort by time, private to its owner:
//
//	<dir>/20261121-091502-7f3a/run.json       the Meta, replaced whole when it changes
//	                           events.jsonl   the events as they were shown, appended
//	                           answers.jsonl  what each task came to on each host, appended: a resume goes by it
//	<dir>.key                                 the key of hashes of what may hold secrets
//
// The store is a hint, not the truth: what a run has altered and not taken back is known by the journals on the hosts. A rollback
// finds in the store which hosts to ask, and as whom.
//
// What is asked of a run is answered from its Meta and its events alone: a History says where each host stands and which tasks took how long, a
// Difference what two runs do not have in common. Whether a run is over is seen when it is read: one that says it is running while its process is
// gone was killed, and nothing has to be written for that.
package store

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/calroll/calroll/runner/event"
)

// State says how far a run got.
type State string

// The states. Killed is never written: it is what a run that is Running is read as when its process is gone from this machine, or its claim from
// the state that machines share.
const (
	Running    State = "running"
	Passed     State = "passed"
	Failed     State = "failed"
	Canceled   State = "canceled"
	RolledBack State = "rolled back"
	Killed     State = "killed"
	StillOpen  State = "open" // hosts that should have been taken back were not: Meta.Open
)

// Meta is what is known of a run as a whole.
type Meta struct {
	ID        string     `json:"id"`
	State     State      `json:"state"`
	Started   time.Time  `json:"started"`
	Ended     *time.Time `json:"ended,omitempty"`
	Exit      *int       `json:"exit,omitempty"`
	Playbooks []string   `json:"playbooks"`
	Inventory []string   `json:"inventory"`     // sources, with absolute paths
	Dir       string     `json:"dir,omitempty"` // where it was started: names of files that are not absolute count from there
	Limit     string     `json:"limit,omitempty"`
	Tags      []string   `json:"tags,omitempty"`
	SkipTags  []string   `json:"skip_tags,omitempty"`
	Forks     int        `json:"forks,omitempty"`
	Check     bool       `json:"check,omitempty"`
	User      string     `json:"user"`
	SudoUser  string     `json:"sudo_user,omitempty"` // who became User by sudo
	From      string     `json:"from,omitempty"`      // the address from which that user is logged in to the bastion by ssh
	Bastion   string     `json:"bastion"`
	Process
	Version    string            `json:"version"`
	Command    Command           `json:"command,omitzero"`
	Helpers    map[string]string `json:"helpers,omitempty"` // SHA-256 of the helper for each platform
	Inputs     Inputs            `json:"inputs"`
	Plan       []Play            `json:"plan,omitempty"`
	Identities []Worked          `json:"identities,omitempty"`
	Open       []string          `json:"open,omitempty"`    // hosts that an undo could not take back as a whole
	OpenAs     State             `json:"open_as,omitempty"` // what the run is once none of them is left
	Unclaimed  bool              `json:"-"`                 // it was killed, which is known by its claim alone
}

// Inputs are what a run was made from, as hashes: two runs with equal Inputs were asked for the same. What may hold secrets is hashed with the key
// of the store, or of the state that bastions share, so that nobody without it can try out guesses.
type Inputs struct {
	Key       string            `json:"key,omitempty"`        // which one that is: KeyName
	Files     map[string]string `json:"files,omitempty"`      // SHA-256 of each playbook, role and template file that was read, by absolute name
	Hosts     map[string]string `json:"hosts,omitempty"`      // of what the inventory says of each host, with its group_vars and host_vars; keyed
	ExtraVars map[string]string `json:"extra_vars,omitempty"` // of each extra variable; keyed
}

// Play is a play as the run set out to do it.
type Play struct {
	Name    string   `json:"name"`
	Where   string   `json:"where"`           // file:line:col
	Pattern string   `json:"pattern"`         // as written
	Hosts   []string `json:"hosts,omitempty"` // nil when the pattern has to be rendered
	Serial  []string `json:"serial,omitempty"`
}

// Hosts are the hosts that the run was for or has worked on, sorted.
func (m Meta) Hosts() []string {
	all := map[string]bool{}
	for _, p := range m.Plan {
		for _, h := range p.Hosts {
			all[h] = true
		}
	}
	for _, id := range m.Identities {
		all[id.Host] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// Took is how long the run has taken; ok is false when nobody knows.
func (m Meta) Took() (took time.Duration, ok bool) {
	if m.Ended == nil {
		return 0, false
	}
	return m.Ended.Sub(m.Started), true
}

// Command is how a run was asked for, so that it can be gone on with in the same way. No value of a variable given on the command line is in it: it may be
// a secret.
type Command struct {
	Flags map[string][]string `json:"flags,omitempty"` // those that were set, by name
	Extra []string            `json:"extra,omitempty"` // names of variables that were given as values, sorted
}

// Identity is a user the run worked as on a host: each keeps a journal of its own there.
type Identity struct {
	Host   string `json:"host"`
	Become string `json:"become,omitempty"` // "method:user", or Controller; empty for the login user
	Local  bool   `json:"local,omitempty"`  // this machine stood for the host
	User   string `json:"user,omitempty"`   // who logged in, as far as anybody said
}

// Controller is the Become of what the controller itself did on behalf of a host.
const Controller = "controller"

// Journal is the identity by which its journal is told from others: who logs in does not matter to one who becomes somebody else, nor does the way to a
// host to what the controller keeps.
func (i Identity) Journal() Identity {
	switch i.Become {
	case "":
		return i
	case Controller:
		i.Local = false
	}
	i.User = ""
	return i
}

// Worked is an identity as the run has used it.
type Worked struct {
	Identity
	// Connection and Login are what the playbook or the command line said of the way to the host; empty where its variables did.
	Connection string `json:"connection,omitempty"`
	Login      string `json:"login,omitempty"`
	// Altered: the host has a journal of the run as this identity. A run that was killed may have altered something without being able to say so.
	Altered bool `json:"altered,omitempty"`
}

// Store is a folder of runs.
type Store struct {
	dir     string
	claimed map[string]bool // runs that are shared; see Claimed
}

// Open opens the store in dir, making it if need be.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot open the run store %s: %w", dir, err)
	}
	return &Store{dir: dir}, nil
}

// DefaultDir is where runs are kept when nobody says otherwise: $XDG_STATE_HOME/calroll/runs.
func DefaultDir() (string, error) {
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "calroll", "runs"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("cannot find a place for the run store: %w", err)
	}
	return filepath.Join(home, ".local", "state", "calroll", "runs"), nil
}

// NewID is a fresh run id for a run that starts at now. Ids sort by time, to a quarter of a millisecond: three digits are the part of the second,
// three are chance.
func NewID(now time.Time) string {
	var tail [2]byte
	_, _ = rand.Read(tail[:]) // never fails since Go 1.24
	part := int64(now.Nanosecond()) * 4096 / int64(time.Second)
	return fmt.Sprintf("%s-%03x%03x", now.UTC().Format("20060102-150405"), part, (int(tail[0])<<8|int(tail[1]))&0xfff)
}

const eventsName = "events.jsonl"

// Run is a run being recorded. Its methods are called from one goroutine at a time, but for Used and Keep.
type Run struct {
	Meta
	dir    string
	events *os.File
	buffer *bufio.Writer
	sink   *event.JSON

	mu     sync.Mutex // guards Identities and Inputs; taken after saving
	saving sync.Mutex // guards saved; held while the Meta is written
	saved  int        // how many of Identities are on disk

	keeping sync.Mutex // guards answers
	answers *os.File   // nil before the first
}

// Create begins to record a run.
func (s *Store) Create(m Meta) (*Run, error) {
	dir := filepath.Join(s.dir, m.ID)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot record run %s: %w", m.ID, err)
	}
	r, err := s.open(m)
	if err != nil {
		return nil, err
	}
	return r, r.save()
}

// Reopen goes on recording a run of the store. Its Meta is as Load gives it; what the caller alters in it is written by Used and Close, Leave writes
// nothing of it. Who goes on with the run itself sets State and Process first.
func (s *Store) Reopen(id string) (*Run, error) {
	m, err := s.Load(id)
	if err != nil {
		return nil, err
	}
	r, err := s.open(m)
	if err != nil {
		return nil, err
	}
	r.saved = len(m.Identities)
	return r, nil
}

// open opens a run's events for appending. A torn last line, as a killed run leaves it, is cut off.
func (s *Store) open(m Meta) (*Run, error) {
	dir := filepath.Join(s.dir, m.ID)
	f, err := os.OpenFile(filepath.Join(dir, eventsName), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err == nil {
		err = cutTornLine(f)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot record run %s: %w", m.ID, err)
	}
	r := &Run{Meta: m, dir: dir, events: f, buffer: bufio.NewWriter(f)}
	r.sink = event.NewJSON(r.buffer)
	return r, nil
}

// Resume goes on with a run, in the name of m, which says who does so now.
func (s *Store) Resume(m Meta) (*Run, error) {
	m.State, m.Ended, m.Exit = Running, nil, nil
	r, err := s.open(m)
	if err != nil {
		return nil, err
	}
	return r, errors.Join(r.save(), r.Keep(Line{Resumed: true}))
}

// cutTornLine ends a file after its last whole line.
func cutTornLine(f *os.File) error {
	text, err := io.ReadAll(f)
	if end := bytes.LastIndexByte(text, '\n') + 1; err == nil && end < len(text) {
		err = f.Truncate(int64(end))
	}
	return err
}

// Leave ends the recording and leaves the Meta as it is: what was added are events alone.
func (r *Run) Leave() error { return errors.Join(r.sink.Err(), r.buffer.Flush(), r.events.Close()) }

// Emit implements event.Sink. What belongs to a task is out of this process when the task ends, so that a kill does not lose it.
func (r *Run) Emit(e event.Event) {
	r.sink.Emit(e)
	switch e.Kind {
	case event.BatchStart, event.TaskStart, event.HostDone, event.UndoStart, event.UndoHost, event.ConfirmHost, event.Commit, event.Recap, event.RunEnd:
		_ = r.buffer.Flush() // Close reports it: the buffer keeps its first error
	}
}

// Used remembers that the run works on a host as an identity. It is on disk when Used returns, so that a rollback finds the host. Many
// hosts begin at the same time, so it may be called from several goroutines: those that wait for a write share the next one.
func (r *Run) Used(w Worked) error {
	n := r.number(w)
	r.saving.Lock()
	defer r.saving.Unlock()
	if n <= r.saved {
		return nil
	}
	return r.save()
}

// number is the identity's place in the list, from 1.
func (r *Run) number(w Worked) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := r.index(w.Identity); i >= 0 {
		return i + 1
	}
	r.Identities = append(r.Identities, w)
	return len(r.Identities)
}

// index is the identity's place in the list, from 0; r.mu is held.
func (r *Run) index(id Identity) int {
	return slices.IndexFunc(r.Identities, func(w Worked) bool { return w.Journal() == id.Journal() })
}

// Altered remembers that a host has a journal of the run as an identity. It is written with what is written next, at the end of the run at the latest.
func (r *Run) Altered(id Identity) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := r.index(id); i >= 0 {
		r.Identities = slices.Clone(r.Identities) // it may just be written
		r.Identities[i].Altered = true
	}
}

// SetFiles says which files have been read by now; they are written with the next that is.
func (r *Run) SetFiles(sums map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Inputs.Files = sums
}

// Close ends the recording.
func (r *Run) Close(state State, exit int, now time.Time) error {
	r.saving.Lock()
	defer r.saving.Unlock()
	r.State, r.Exit, r.Ended = state, &exit, &now
	return errors.Join(r.save(), r.closeAnswers(), r.Leave())
}

// save writes the Meta; r.saving is held.
func (r *Run) save() error {
	r.mu.Lock()
	m := r.Meta
	r.mu.Unlock()
	if err := save(r.dir, m); err != nil {
		return err
	}
	r.saved = len(m.Identities)
	return nil
}

func save(dir string, m Meta) error {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".run-*")
	if err != nil {
		return fmt.Errorf("cannot record run %s: %w", m.ID, err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already when all went well
	_, err = tmp.Write(append(text, '\n'))
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(dir, "run.json"))
	}
	if err != nil {
		return fmt.Errorf("cannot record run %s: %w", m.ID, err)
	}
	return nil
}

// List are the runs, the newest first. A folder that holds no readable run is passed over.
func (s *Store) List() ([]Meta, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("cannot list runs: %w", err)
	}
	var runs []Meta
	for _, e := range slices.Backward(entries) {
		if strings.HasPrefix(e.Name(), ".") {
			continue // being removed
		}
		if m, err := s.read(e.Name()); err == nil {
			runs = append(runs, m)
		}
	}
	// Names tell seconds only, and two runs may begin in one.
	slices.SortStableFunc(runs, func(a, b Meta) int { return b.Started.Compare(a.Started) })
	return runs, nil
}

// Load finds a run by its id, by a part of it that only one run has at its start or end, or as "last".
func (s *Store) Load(id string) (Meta, error) {
	if id == "" { // an unset variable of a script; every id begins with it
		return Meta{}, errors.New("cannot find a run without an id: give one, the start or the end of one, or last")
	}
	runs, err := s.List()
	if err != nil {
		return Meta{}, err
	}
	var found []Meta
	for i, m := range runs {
		switch {
		case m.ID == id || id == "last" && i == 0:
			return m, nil
		case strings.HasPrefix(m.ID, id) || strings.HasSuffix(m.ID, id):
			found = append(found, m)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return Meta{}, &unknownRun{id}
	}
	return Meta{}, fmt.Errorf("cannot tell which run %q is: %d runs have it in their id", id, len(found))
}

// unknownRun is the error of an id that no run has.
type unknownRun struct{ id string }

func (e *unknownRun) Error() string {
	return fmt.Sprintf("cannot find run %q: no run has this id (see calroll runs ls)", e.id)
}
func (e *unknownRun) Unwrap() error { return fs.ErrNotExist }

func (s *Store) read(id string) (Meta, error) {
	var m Meta
	text, err := os.ReadFile(filepath.Join(s.dir, id, "run.json"))
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, err
	}
	m.State = m.stateAt(here())
	m.claim(s.claimed)
	return m, nil
}

// Events gives a run's events to sink, in order. A torn line, as a killed run leaves it, is ignored.
func (s *Store) Events(id string, sink event.Sink) error {
	f, err := os.Open(filepath.Join(s.dir, id, eventsName))
	if err != nil {
		return fmt.Errorf("cannot read the events of run %s: %w", id, err)
	}
	defer f.Close()
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return nil // the end, or a torn line
		}
		var e event.Event
		if json.Unmarshal(line, &e) == nil { // else a torn line, after which a resume went on
			sink.Emit(e)
		}
	}
}

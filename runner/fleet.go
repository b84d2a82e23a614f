package runner

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/calroll/calroll/runner/conn"
	"github.com/calroll/calroll/runner/remote"
	"github.com/calroll/calroll/runner/store"
	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
)

// Carried is what the program brings along: helpers for hosts and modules for the controller.
type Carried struct {
	Helpers remote.Helpers
	Modules tasks.Set   // what runs on a host, and on the controller when it is a host
	Kinds   tasks.Kinds // restorers of what they alter
	// Cluster are the modules that run on the controller against clusters, ClusterKinds the restorers of what they alter, with reach as their
	// way to them.
	Cluster      tasks.Set
	ClusterKinds func(reach tasks.Reach) tasks.Kinds
	// StateDir is where the controller keeps journals of what runs on itself.
	StateDir string
}

// way is how to reach a host for a task.
type way struct {
	Host   string // inventory name
	Local  bool   // the controller itself
	SSH    conn.Options
	Become *conn.Become // nil: stay the login user

	cluster           bool   // the controller's own work on behalf of the host
	connection, login string // what the play or the command line said; see store.Worked
}

// identity names the journal that work done this way is kept in.
func (w way) identity() store.Identity { return w.worked().Journal() }

// worked is the identity as it is stored.
func (w way) worked() store.Worked {
	return store.Worked{Identity: store.Identity{Host: w.Host, Become: w.becomeName(), Local: w.Local, User: w.SSH.User}, Connection: w.connection, Login: w.login}
}

func (w way) becomeName() string {
	switch {
	case w.cluster:
		return store.Controller
	case w.Become == nil:
		return ""
	}
	method, name := w.Become.Method, w.Become.User
	if method == "" {
		method = "sudo"
	}
	if name == "" {
		name = "root"
	}
	return method + ":" + name
}

// journalName tells the identities of a host apart.
func (w way) journalName() string {
	id := w.identity()
	return fmt.Sprintf("%s %v %s", id.Become, id.Local, id.User)
}

func (w way) connKey() string {
	return fmt.Sprintf("%s|%v|%s|%s|%d", w.Host, w.Local, w.SSH.User, w.SSH.Host, w.SSH.Port)
}

// fleet holds the connections of a run, and the helpers at their ends.
type fleet struct {
	carried Carried
	run     string
	holder  journal.Holder
	used    func(store.Worked) error // told before an identity's journal is opened
	altered func(store.Identity)     // told when there is something in it; may be nil
	log     func(host, message string)
	dialer  *conn.Dialer
	guests  chan struct{} // a place each for connections being made
	most    int           // how many hosts are connected at a time; see stay

	// lease is the right to a host that the bastions share; nil gives none.
	lease func(host string) *journal.Lease

	// user is the way to a host as a user whom no task of this run worked as: a rollback's.
	user func(store.Worked) (way, error)

	keeping sync.Once      // starts the keeper
	keeper  sync.WaitGroup // waits for it

	mu     sync.Mutex // guards what follows
	stays  map[string]*stay
	uses   int64                    // that have ended
	gone   remote.Stats             // of helpers that are
	stop   func()                   // ends the keeper
	users  map[reader]way           // how files of hosts are read as each user that a cluster module worked as
	past   map[store.Identity]way   // how each identity was reached that has worked on this run
	kept   map[store.Identity]bool  // those that have a journal of it on their host
	tokens map[store.Identity]int64 // what its host has given each
	went   map[string]bool          // hosts that may have gone back by themselves, and are taken back
}

// slot is one connection or helper: made by the first who needs it while others wait.
type slot[T any] struct {
	mu   sync.Mutex // held while it is being made or looked at
	made bool
	it   T
}

// berth is the place of a helper.
type berth struct {
	slot[*remote.Client]
	w    way
	on   conn.Conn // its link; nil in this process
	ours bool      // it may have locked its host for the run
}

func newFleet(o Options, run string, used func(store.Worked) error, log func(host, message string)) *fleet {
	f := &fleet{carried: o.Carried, run: run, used: used, log: log, guests: make(chan struct{}, max(o.Forks, 1)), most: mostConnected(o), stop: func() {},
		stays: map[string]*stay{}, users: map[reader]way{}, past: map[store.Identity]way{}, kept: map[store.Identity]bool{}, tokens: map[store.Identity]int64{}}
	f.dialer = &conn.Dialer{Log: func(host, message string) { f.log(host, message) }}
	f.holder = newHolder(run)
	return f
}

// link is the connection to a host, made when it is first needed and again when it was lost. The caller has entered the stay.
func (f *fleet) link(ctx context.Context, s *stay, w way) (conn.Conn, error) {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	if s.link.made && !conn.Lost(s.link.it) {
		return s.link.it, nil
	}
	s.unlink()
	f.admit(s)
	f.guests <- struct{}{}
	defer func() { <-f.guests }()
	c, err := f.dial(ctx, w)
	if err != nil {
		return nil, err
	}
	s.link.it, s.link.made = c, true
	return c, nil
}

func (f *fleet) dial(ctx context.Context, w way) (conn.Conn, error) {
	if w.Local {
		return conn.Local(), nil
	}
	return f.dialer.Dial(ctx, w.SSH)
}

// client is the helper for a way, started when it is first needed, and begun on this run. It is there until done is called.
func (f *fleet) client(ctx context.Context, w way) (c *remote.Client, done func(), err error) {
	return f.helper(ctx, w, f.open)
}

// cluster is the controller's own helper for cluster modules; what it dials goes through the host's connection.
func (f *fleet) cluster(ctx context.Context, w way) (c *remote.Client, done func(), err error) {
	f.remembers(w)
	w.cluster, w.Become = true, nil
	return f.helper(ctx, w, f.openCluster)
}

// of is the helper for a way of either kind.
func (f *fleet) of(ctx context.Context, w way) (c *remote.Client, done func(), err error) {
	if w.cluster {
		return f.helper(ctx, w, f.openCluster)
	}
	return f.client(ctx, w)
}

func (f *fleet) openCluster(ctx context.Context, _ *stay, b *berth) (*remote.Client, error) {
	w := b.w
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		s := f.enter(w)
		defer f.leave(s)
		c, err := f.link(ctx, s, w)
		if err != nil {
			return nil, err
		}
		return c.Dial(ctx, network, addr)
	}
	reach := tasks.Reach{Dial: dial, File: f.filesOf(w)}
	return remote.Pipe(ctx, w.Host, remote.ServeOptions{Modules: f.carried.Cluster, Kinds: f.carried.ClusterKinds(reach), Dial: dial, HostFile: reach.File,
		StateDir: f.clusterDir(w.Host)})
}

// clusterDir is where the controller keeps what it did on behalf of a host.
func (f *fleet) clusterDir(host string) string {
	return filepath.Join(f.carried.StateDir, "cluster", host)
}

// opener starts a helper for its berth.
type opener func(context.Context, *stay, *berth) (*remote.Client, error)

// helper is the client for a way, opened and begun on this run unless it is there already.
func (f *fleet) helper(ctx context.Context, w way, open opener) (*remote.Client, func(), error) {
	s := f.enter(w)
	b := f.berth(s, w)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.w, b.ours = w, b.ours || f.run != ""
	if !b.made || !alive(b.it) {
		f.vacate(b)
		if err := f.board(ctx, s, b, open); err != nil {
			f.leave(s)
			return nil, nil, err
		}
	}
	c := b.it
	return c, sync.OnceFunc(func() {
		f.heed(s, w, c)
		f.leave(s)
	}), nil
}

// board opens the helper of a berth, which is locked, and begins the run there.
func (f *fleet) board(ctx context.Context, s *stay, b *berth, open opener) error {
	f.remember(b.w, false)
	if err := f.used(b.w.worked()); err != nil {
		return err
	}
	f.admit(s)
	c, err := open(ctx, s, b)
	if err != nil {
		return err
	}
	if f.run != "" {
		if err := c.Begin(ctx, f.run, f.holderFor(b.w)); err != nil {
			return errors.Join(err, c.Close())
		}
		f.began(b.w, c.Token())
	}
	b.it, b.made = c, true
	f.back(s, b.w)
	return nil
}

func alive(c *remote.Client) bool {
	select {
	case <-c.Done():
		return false
	default:
		return true
	}
}

func (f *fleet) open(ctx context.Context, s *stay, b *berth) (*remote.Client, error) {
	w := b.w
	if w.Local && w.Become == nil {
		return remote.Pipe(ctx, w.Host, remote.ServeOptions{Modules: f.carried.Modules, Kinds: f.carried.Kinds,
			StateDir: filepath.Join(f.carried.StateDir, "local", w.Host)}) // each its own: several inventory hosts may be this machine
	}
	c, err := f.link(ctx, s, w)
	if err != nil {
		return nil, err
	}
	b.on = c
	h := remote.Host{Name: w.Host, Start: login(c), Put: c.Put, Kind: kindOf}
	if w.Become != nil {
		h.Login = h.Start
		h.Start = func(ctx context.Context, cmd string) (remote.Process, error) { return w.Become.Start(ctx, c, cmd) }
	}
	client, err := remote.Open(ctx, h, remote.Options{Helpers: f.carried.Helpers, Pushed: func(remote.Helper) { f.log(w.Host, "sending the helper") }})
	if err != nil && kindOf(err) == tasks.Unreachable {
		s.drop(c)
	}
	return client, err
}

func login(c conn.Conn) func(context.Context, string) (remote.Process, error) {
	return func(ctx context.Context, cmd string) (remote.Process, error) { return c.Start(ctx, cmd) }
}

// kindOf tells what an error of a connection means to a task: a host that does not let us in is not there, but one that does not let us
// become another user is, and the task has failed, as under Ansible.
func kindOf(err error) tasks.Kind {
	var e *conn.Error
	switch {
	case !errors.As(err, &e):
		return tasks.KindOf(err)
	case e.Kind == conn.Failed, strings.HasPrefix(e.Op, "become "):
		return tasks.Failed
	}
	return tasks.Unreachable
}

// again is the helper for a way that has worked on this run before; when it is lost, the host is connected to anew.
func (f *fleet) again(ctx context.Context, w way) (c *remote.Client, done func(), err error) {
	s := f.enter(w)
	defer f.leave(s)
	b := f.berth(s, w)
	b.mu.Lock()
	if b.made && !alive(b.it) && b.on != nil {
		s.drop(b.on)
	}
	b.mu.Unlock()
	return f.of(ctx, w)
}

// remember keeps how an identity is reached, and that it has a journal of the run.
func (f *fleet) remember(w way, kept bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.past[w.identity()] = w
	f.kept[w.identity()] = f.kept[w.identity()] || kept
}

// hasJournal tells whether the run is known to have a journal on the host of w.
func (f *fleet) hasJournal(w way) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.kept[w.identity()]
}

// ways are how the identities that have worked on a host are reached, the controller's own work first: it was done last.
func (f *fleet) ways(host string) []way {
	f.mu.Lock()
	defer f.mu.Unlock()
	var ways []way
	for id, w := range f.past {
		if id.Host == host {
			ways = append(ways, w)
		}
	}
	sort.Slice(ways, func(i, j int) bool {
		a, b := ways[i], ways[j]
		return a.cluster && !b.cluster || a.cluster == b.cluster && a.journalName() < b.journalName()
	})
	return ways
}

// held are the ways to a host that this process has begun on: it is locked for the run, also where a helper has died since.
func (f *fleet) held(host string) []way {
	return slices.DeleteFunc(f.ways(host), func(w way) bool { return !f.hasBegun(w) })
}

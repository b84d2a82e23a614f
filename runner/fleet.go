package runner

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
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

	cluster bool // the controller's own work on behalf of the host
}

// identity names the journal that work done this way is kept in.
func (w way) identity() store.Identity {
	return store.Identity{Host: w.Host, Become: w.becomeName()}
}

func (w way) becomeName() string {
	switch {
	case w.cluster:
		return clusterIdentity
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

func (w way) connKey() string {
	return fmt.Sprintf("%s|%v|%s|%s|%d", w.Host, w.Local, w.SSH.User, w.SSH.Host, w.SSH.Port)
}

func (w way) clientKey() string { return w.connKey() + "|" + w.becomeName() }

// fleet holds the connections of a run, and the helpers at their ends.
type fleet struct {
	carried Carried
	run     string
	holder  journal.Holder
	used    func(store.Identity) error // told before an identity's journal is opened
	log     func(host, message string)
	dialer  *conn.Dialer
	guests  chan struct{} // a place each for connections being made

	// lease is the right to a host that the bastions share; nil gives none.
	lease func(host string) *journal.Lease

	// user is the way to a host as a user whom no task of this run worked as: a rollback's.
	user func(store.Identity) (way, error)

	mu      sync.Mutex // guards links, clients, users, past, tokens and back
	links   map[string]*slot[conn.Conn]
	clients map[string]*slot[*remote.Client]
	users   map[store.Identity]way   // how files of hosts are read as each user that a cluster module worked as
	past    map[store.Identity]way   // how each identity was reached that has worked on this run
	tokens  map[store.Identity]int64 // what its host has given each
	back    map[string]bool          // hosts that may have gone back by themselves, and are taken back
}

// slot is one connection or helper: made by the first who needs it while others wait.
type slot[T any] struct {
	mu   sync.Mutex // held while it is being made or looked at
	made bool
	it   T
}

func newFleet(c Carried, run string, forks int, used func(store.Identity) error, log func(host, message string)) *fleet {
	f := &fleet{carried: c, run: run, used: used, log: log, guests: make(chan struct{}, max(forks, 1)),
		links: map[string]*slot[conn.Conn]{}, clients: map[string]*slot[*remote.Client]{}, users: map[store.Identity]way{}, past: map[store.Identity]way{}, tokens: map[store.Identity]int64{}}
	f.dialer = &conn.Dialer{Log: log}
	f.holder = newHolder(run)
	return f
}

func at[T any](f *fleet, slots map[string]*slot[T], key string) *slot[T] {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := slots[key]
	if s == nil {
		s = &slot[T]{}
		slots[key] = s
	}
	return s
}

// link is the connection to a host, made when it is first needed.
func (f *fleet) link(ctx context.Context, w way) (conn.Conn, error) {
	s := at(f, f.links, w.connKey())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made {
		return s.it, nil
	}
	f.guests <- struct{}{}
	defer func() { <-f.guests }()
	c, err := f.dial(ctx, w)
	if err != nil {
		return nil, err
	}
	s.it, s.made = c, true
	return c, nil
}

func (f *fleet) dial(ctx context.Context, w way) (conn.Conn, error) {
	if w.Local {
		return conn.Local(), nil
	}
	return f.dialer.Dial(ctx, w.SSH)
}

// client is the helper for a way, started when it is first needed, and begun on this run.
func (f *fleet) client(ctx context.Context, w way) (*remote.Client, error) {
	return f.helper(ctx, w, func() (*remote.Client, error) { return f.open(ctx, w) })
}

// cluster is the controller's own helper for cluster modules; what it dials goes through the host's connection.
func (f *fleet) cluster(ctx context.Context, w way) (*remote.Client, error) {
	f.remembers(w)
	w.cluster, w.Become = true, nil
	return f.clusterHelper(ctx, w)
}

func (f *fleet) clusterHelper(ctx context.Context, w way) (*remote.Client, error) {
	return f.helper(ctx, w, func() (*remote.Client, error) {
		dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := f.link(ctx, w)
			if err != nil {
				return nil, err
			}
			return c.Dial(ctx, network, addr)
		}
		reach := tasks.Reach{Dial: dial, File: f.filesOf(w)}
		return remote.Pipe(ctx, w.Host, remote.ServeOptions{Modules: f.carried.Cluster, Kinds: f.carried.ClusterKinds(reach), Dial: dial, HostFile: reach.File,
			StateDir: filepath.Join(f.carried.StateDir, "cluster", w.Host)})
	})
}

// clusterIdentity stands in the run store for the controller's own work on behalf of a host.
const clusterIdentity = "controller"

// helper is the client for a way, opened and begun on this run unless it is there already.
func (f *fleet) helper(ctx context.Context, w way, open func() (*remote.Client, error)) (*remote.Client, error) {
	s := at(f, f.clients, w.clientKey())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made && alive(s.it) {
		return s.it, nil
	}
	s.made = false
	f.remember(w.identity(), w)
	if err := f.used(w.identity()); err != nil {
		return nil, err
	}
	c, err := open()
	if err != nil {
		return nil, err
	}
	if f.run != "" {
		if err := c.Begin(ctx, f.run, f.holderFor(w)); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		f.began(w, c.Token())
	}
	s.it, s.made = c, true
	return c, nil
}

func alive(c *remote.Client) bool {
	select {
	case <-c.Done():
		return false
	default:
		return true
	}
}

func (f *fleet) open(ctx context.Context, w way) (*remote.Client, error) {
	if w.Local && w.Become == nil {
		return remote.Pipe(ctx, w.Host, remote.ServeOptions{Modules: f.carried.Modules, Kinds: f.carried.Kinds,
			StateDir: filepath.Join(f.carried.StateDir, "local", w.Host)}) // each its own: several inventory hosts may be this machine
	}
	c, err := f.link(ctx, w)
	if err != nil {
		return nil, err
	}
	h := remote.Host{Name: w.Host, Start: login(c), Put: c.Put, Kind: kindOf}
	if w.Become != nil {
		h.Login = h.Start
		h.Start = func(ctx context.Context, cmd string) (remote.Process, error) { return w.Become.Start(ctx, c, cmd) }
	}
	client, err := remote.Open(ctx, h, remote.Options{Helpers: f.carried.Helpers, Pushed: func(remote.Helper) { f.log(w.Host, "sending the helper") }})
	if err != nil && kindOf(err) == tasks.Unreachable {
		f.forget(w)
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

// forget drops a host's connection and helpers, so that the next use makes them anew.
func (f *fleet) forget(w way) {
	f.mu.Lock()
	link, client := f.links[w.connKey()], f.clients[w.clientKey()]
	delete(f.links, w.connKey())
	delete(f.clients, w.clientKey())
	f.mu.Unlock()
	if client != nil && client.made {
		client.it.Abandon() // the host stays ours
	}
	if link != nil && link.made {
		_ = link.it.Close() // it is lost
	}
}

// again is the helper for a way that has worked on this run before; when it is lost, the host is connected to anew.
func (f *fleet) again(ctx context.Context, w way) (*remote.Client, error) {
	f.mu.Lock()
	s := f.clients[w.clientKey()]
	f.mu.Unlock()
	if s != nil && s.made && !alive(s.it) {
		f.forget(w)
	}
	if w.cluster {
		return f.clusterHelper(ctx, w)
	}
	return f.client(ctx, w)
}

// remember keeps how an identity is reached.
func (f *fleet) remember(id store.Identity, w way) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.past[id] = w
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
		return a.cluster && !b.cluster || a.cluster == b.cluster && a.becomeName() < b.becomeName()
	})
	return ways
}

// working are the helpers of a host that are alive.
func (f *fleet) working(host string) []*remote.Client {
	var clients []*remote.Client
	for _, w := range f.ways(host) {
		f.mu.Lock()
		s := f.clients[w.clientKey()]
		f.mu.Unlock()
		if s != nil && s.made && alive(s.it) {
			clients = append(clients, s.it)
		}
	}
	return clients
}

// stats adds up what crossed the wire to every host.
func (f *fleet) stats() remote.Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	var total remote.Stats
	for _, s := range f.clients {
		if !s.made {
			continue
		}
		t := s.it.Stats()
		total.FramesOut += t.FramesOut
		total.FramesIn += t.FramesIn
		total.BytesOut += t.BytesOut
		total.BytesIn += t.BytesIn
		total.Blobs += t.Blobs
		total.BlobBytes += t.BlobBytes
	}
	return total
}

// close ends every helper and connection.
func (f *fleet) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range f.clients {
		if s.made {
			wg.Go(func() { _ = s.it.Close() }) // a helper that is lost cannot say farewell
		}
	}
	wg.Wait()
	for _, s := range f.links {
		if s.made {
			_ = s.it.Close() // nothing is running on it any more
		}
	}
}

package testenv

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Options say what lab to start.
type Options struct {
	// Name tells labs apart on one engine: 1 to 32 of a-z, 0-9 and '-'. Required.
	Name string

	// Hosts is how many hosts to make; they are called node1, node2 and so on. 0 means 1, or none where there is a control plane.
	Hosts int

	// ControlPlane makes one host more, called control: it comes first, and is alone in the inventory's group kube_control_plane.
	ControlPlane bool

	// Dir is the lab's folder; it is made if missing. Empty means DefaultDir(Name).
	Dir string

	// Binds are folders of this machine that every host sees, each "source:target" or
	// "source:target:ro", both absolute.
	Binds []string

	// Vars are written to the inventory as variables of all hosts.
	Vars map[string]any

	// Progress is told, one line a call, what is being done. It may be nil.
	Progress func(line string)

	// owner is the process that the lab must not outlive; empty for a lab that stays.
	owner string
}

// ErrExists is returned by Start when a lab of that name is there already.
var ErrExists = errors.New("a lab of this name exists")

// A Lab is a set of hosts on a network of its own.
type Lab struct {
	Name    string
	Dir     string       // absolute
	Subnet  netip.Prefix // of the hosts
	Gateway netip.Addr   // this machine, as the hosts see it

	// Hosts in the order of their numbers. A view made by ForTest has only its own hosts.
	Hosts []*Host

	// Password of the users root and guarded on every host; made for this lab. It opens
	// sudo and doas for guarded, su for everybody, and password logins as guarded.
	Password string

	engine  *engine
	network string // name of the engine's network
	created time.Time
	binds   []string
	vars    map[string]any
	owner   string

	mu     sync.Mutex // guards relays and the file of known hosts
	relays []*Relay   // opened with Host.Relay, closed with the lab
}

var labName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// DefaultDir is the folder of the lab called name: under XDG_STATE_HOME, which by default
// is ~/.local/state.
func DefaultDir(name string) (string, error) {
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("cannot find the folder for labs: %w", err)
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "calroll", "lab", name), nil
}

// Start makes a lab and returns once every host runs and answers on SSH. It installs and
// starts a Docker engine and builds the host image where they are missing. If it fails it
// has taken away again what it made of the lab.
func Start(ctx context.Context, o Options) (*Lab, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	eng, err := openEngine(ctx, o.Progress)
	if err != nil {
		return nil, err
	}
	if taken, err := eng.labExists(ctx, o.Name); err != nil {
		return nil, err
	} else if taken {
		return nil, fmt.Errorf("cannot start lab %s: %w", o.Name, ErrExists)
	}
	if err := eng.prepareImage(ctx); err != nil {
		return nil, err
	}
	l := &Lab{Name: o.Name, Dir: o.Dir, engine: eng, created: time.Now(), binds: o.Binds, vars: o.Vars, owner: o.owner}
	if err := l.raise(ctx, o); err != nil {
		return nil, errors.Join(err, l.abandon(ctx))
	}
	return l, nil
}

func (o *Options) complete() error {
	if !labName.MatchString(o.Name) {
		return fmt.Errorf("cannot start lab %q: a name is 1 to 32 of a-z, 0-9 and '-'", o.Name)
	}
	if o.Hosts < 0 || o.Hosts > maxHosts {
		return fmt.Errorf("cannot start lab %s: %d hosts asked for, 1 to %d are possible", o.Name, o.Hosts, maxHosts)
	}
	if !o.ControlPlane {
		o.Hosts = max(o.Hosts, 1)
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Dir == "" {
		var err error
		if o.Dir, err = DefaultDir(o.Name); err != nil {
			return err
		}
	}
	var err error
	o.Dir, err = filepath.Abs(o.Dir)
	return err
}

// raise makes the folder, the network and the hosts.
func (l *Lab) raise(ctx context.Context, o Options) error {
	l.Password = randomHex(12)
	if err := l.createFolder(); err != nil {
		return err
	}
	if err := l.createNetwork(ctx); err != nil {
		return err
	}
	if !o.ControlPlane {
		return l.Add(ctx, o.Hosts)
	}
	control, err := l.newHost(0)
	if err != nil {
		return err
	}
	return l.add(ctx, o.Hosts, control)
}

// Add makes n further hosts and returns once they run and answer on SSH. It must not be
// called twice at the same time.
func (l *Lab) Add(ctx context.Context, n int) error { return l.add(ctx, n) }

// add makes n hosts behind those that are fresh already.
func (l *Lab) add(ctx context.Context, n int, fresh ...*Host) error {
	next := l.nextNumber()
	if next-1+n > maxHosts {
		return fmt.Errorf("cannot add %d hosts to lab %s: the last is node%d and may be node%d", n, l.Name, next-1, maxHosts)
	}
	for i := range n {
		h, err := l.newHost(next + i)
		if err != nil {
			return err
		}
		fresh = append(fresh, h)
	}
	l.engine.raiseInotifyLimit(len(l.Hosts) + len(fresh))
	l.engine.say("starting %d hosts on %s", len(fresh), l.Subnet)
	if err := eachHost(ctx, fresh, (*Host).create); err != nil {
		return err
	}
	l.Hosts = append(l.Hosts, fresh...)
	return l.writeFolder()
}

// nextNumber is one more than the highest number of the hosts that are there.
func (l *Lab) nextNumber() int {
	next := 1
	for _, h := range l.Hosts {
		next = max(next, int(h.Address.As4()[3])-(firstHost-1)+1)
	}
	return next
}

// RemoveHost takes one host away with its volumes, and out of the inventory.
func (l *Lab) RemoveHost(ctx context.Context, h *Host) error {
	if err := l.engine.removeContainer(ctx, h.Container()); err != nil {
		return err
	}
	l.Hosts = slices.DeleteFunc(l.Hosts, func(other *Host) bool { return other == h })
	return l.writeFolder()
}

// IsCluster tells whether the lab has a host for a control plane.
func (l *Lab) IsCluster() bool { return l.Host(controlHost) != nil }

// Host returns the host called name, or nil.
func (l *Lab) Host(name string) *Host {
	i := slices.IndexFunc(l.Hosts, func(h *Host) bool { return h.Name == name })
	if i < 0 {
		return nil
	}
	return l.Hosts[i]
}

// Reset makes every host of the lab anew from the image, with the addresses, keys and
// passwords it had. Nothing else of a host survives.
func (l *Lab) Reset(ctx context.Context) error {
	return eachHost(ctx, l.Hosts, (*Host).reset)
}

// Resume starts the hosts that are stopped or paused and waits until all of them are ready.
func (l *Lab) Resume(ctx context.Context) error {
	return eachHost(ctx, l.Hosts, (*Host).resume)
}

// Down removes the lab: hosts, their volumes, the network and the files in its folder. It
// may be called again after an error.
func (l *Lab) Down(ctx context.Context) error {
	l.closeRelays()
	if err := l.engine.removeLab(ctx, l.Name); err != nil {
		return err
	}
	return removeFolder(l.Dir)
}

// abandon is Down for a lab that could not be raised, also when ctx is why.
func (l *Lab) abandon(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return l.Down(ctx)
}

// eachHost does one thing to several hosts at the same time. A few at a time are as fast as
// all at once, and leave the machine usable.
func eachHost(ctx context.Context, hosts []*Host, do func(*Host, context.Context) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, h := range hosts {
		g.Go(func() error { return do(h, ctx) })
	}
	return g.Wait()
}

// poll calls try until it succeeds or ctx ends; then it returns the last error of try.
func poll(ctx context.Context, every time.Duration, try func(context.Context) error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-tick.C:
		}
	}
}

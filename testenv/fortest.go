package testenv

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// ForTest lends n hosts to a test and takes them back when it ends. The hosts are in use by
// no other test meanwhile, and the lab has a folder and known hosts of its own.
//
// The tests of a process share one lab, which grows when tests in parallel need more hosts
// and goes away when the process ends, however it ends. So a host may show what an earlier
// test did to it, and a test that cannot have that calls [Lab.Reset] first; a host that an
// earlier test stopped or paused runs again. What the test's packages do in other processes
// does not matter: each has its own lab.
func ForTest(tb testing.TB, n int) *Lab {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 15*time.Minute)
	defer cancel()
	dir := tb.TempDir()
	lab, err := shared.lend(ctx, n, dir, func(line string) { tb.Log("lab: " + line) })
	if err != nil {
		tb.Fatalf("cannot have %d hosts: %v", n, err)
	}
	tb.Cleanup(func() {
		if err := shared.takeBack(lab); err != nil {
			tb.Errorf("cannot hand back the hosts: %v", err)
		}
	})
	return lab
}

// OwnLab starts a lab that is the test's alone and takes it away when the test ends, however it ends. o.Name and o.Dir are chosen here. It suits tests
// that alter hosts for good or need other hosts than [ForTest] lends.
func OwnLab(tb testing.TB, o Options) *Lab {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 15*time.Minute)
	defer cancel()
	if o.Progress == nil {
		o.Progress = func(line string) { tb.Log("lab: " + line) }
	}
	lab, err := startForProcess(ctx, o)
	if err != nil {
		tb.Fatalf("cannot have a lab: %v", err)
	}
	lab.engine.progress = func(string) {} // a line after the test's end would be a panic
	tb.Cleanup(func() {
		if err := lab.abandon(context.Background()); err != nil {
			tb.Errorf("cannot take the lab away: %v", err)
		}
	})
	return lab
}

// shared is the lab of this process's tests.
var shared pool

// A pool lends the hosts of one lab.
type pool struct {
	mu   sync.Mutex // guards what follows; held while hosts are being made
	lab  *Lab       // nil until first asked for
	free []*Host    // of lab
}

// lend returns a view of n free hosts, made now if there are too few.
func (p *pool) lend(ctx context.Context, n int, dir string, progress func(string)) (*Lab, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.grow(ctx, n-len(p.free), progress); err != nil {
		return nil, err
	}
	p.lab.engine.progress = func(string) {} // the test that listened may end before the next
	view, err := p.lab.view(p.free[:n], dir)
	if err == nil {
		p.free = slices.Delete(p.free, 0, n)
	}
	return view, err
}

// grow makes n further hosts.
func (p *pool) grow(ctx context.Context, n int, progress func(string)) error {
	if p.lab == nil {
		lab, err := startForProcess(ctx, Options{Hosts: max(n, 1), Progress: progress})
		if err != nil {
			return err
		}
		p.lab, p.free = lab, slices.Clone(lab.Hosts)
		return nil
	}
	if n <= 0 {
		return nil
	}
	p.lab.engine.progress = progress
	before := len(p.lab.Hosts)
	if err := p.lab.Add(ctx, n); err != nil {
		return err
	}
	p.free = append(p.free, p.lab.Hosts[before:]...)
	return nil
}

// takeBack ends a loan. Hosts that cannot be brought to run again are not lent any more.
func (p *pool) takeBack(view *Lab) error {
	ctx, cancel := context.WithTimeout(context.Background(), readyPatience)
	defer cancel()
	view.closeRelays()
	err := view.Resume(ctx)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range view.Hosts {
		p.free = append(p.free, p.lab.Host(h.Name))
	}
	return nil
}

// view is a lab of some hosts of l with a folder of its own, which is removed by its owner.
func (l *Lab) view(hosts []*Host, dir string) (*Lab, error) {
	v := &Lab{
		Name: l.Name, Dir: dir, Subnet: l.Subnet, Gateway: l.Gateway, Password: l.Password,
		engine: l.engine, network: l.network, created: l.created, vars: l.vars, owner: l.owner,
	}
	for _, h := range hosts {
		v.Hosts = append(v.Hosts, &Host{Name: h.Name, Address: h.Address, lab: v, identity: h.identity})
	}
	slices.SortFunc(v.Hosts, func(a, b *Host) int { return naturalOrder(a.Name, b.Name) })
	for from, to := range map[string]string{l.KeyFile(): v.KeyFile(), l.KeyFile() + ".pub": v.KeyFile() + ".pub"} {
		key, err := os.ReadFile(from)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(to, key, 0o600); err != nil {
			return nil, err
		}
	}
	return v, v.writeFolder()
}

// startForProcess starts a lab that does not outlive this process.
func startForProcess(ctx context.Context, o Options) (*Lab, error) {
	eng, err := openEngine(ctx, o.Progress)
	if err != nil {
		return nil, err
	}
	if err := eng.removeOrphans(ctx); err != nil {
		return nil, err
	}
	program := strings.TrimSuffix(filepath.Base(os.Args[0]), ".test")
	o.Name = fmt.Sprintf("t-%.20s-%s", strings.ToLower(strings.Map(nameLetter, program)), randomHex(4))
	if o.Dir, err = os.MkdirTemp("", "calroll-"+o.Name+"-"); err != nil {
		return nil, err
	}
	if err := reapAtExit(o.Name, o.Dir); err != nil {
		return nil, err
	}
	o.owner = thisProcess()
	return Start(ctx, o)
}

// nameLetter keeps what may be in the name of a lab.
func nameLetter(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
		return r
	}
	return '-'
}

package testenv

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"golang.org/x/sync/errgroup"
)

// The labels on the containers and the network of a lab.
const (
	labelLab   = "calroll.lab"       // the lab's name
	labelDir   = "calroll.lab.dir"   // its folder
	labelHost  = "calroll.lab.host"  // on a container: the host's name
	labelOwner = "calroll.lab.owner" // the process it must not outlive
)

// labFilter selects what belongs to a lab, or to any lab if name is empty.
func labFilter(name string) filters.Args {
	label := labelLab
	if name != "" {
		label += "=" + name
	}
	return filters.NewArgs(filters.Arg("label", label))
}

// A Summary is one line of the list of labs.
type Summary struct {
	Name  string
	Dir   string // its folder
	Hosts []HostSummary
	InUse bool // a test process that still runs has made it for itself
	owner string
}

// A HostSummary says how a host of a lab is.
type HostSummary struct {
	Name    string
	State   string // the engine's word: created, running, paused, exited and so on
	Address string // empty unless it runs
	Created time.Time
}

// List returns the labs on the engine, by name, with their hosts, by name.
func List(ctx context.Context) ([]Summary, error) {
	eng, err := reachEngine(ctx, nil)
	if err != nil {
		return nil, err
	}
	return eng.list(ctx)
}

func (e *engine) list(ctx context.Context) ([]Summary, error) {
	labs := map[string]*Summary{}
	at := func(labels map[string]string) *Summary {
		name := labels[labelLab]
		if labs[name] == nil {
			labs[name] = &Summary{Name: name, Dir: labels[labelDir], owner: labels[labelOwner]}
			labs[name].InUse = labs[name].owner != "" && !orphaned(labs[name].owner)
		}
		return labs[name]
	}
	networks, err := e.NetworkList(ctx, network.ListOptions{Filters: labFilter("")})
	if err != nil {
		return nil, fmt.Errorf("cannot list the labs: %w", err)
	}
	for _, n := range networks {
		at(n.Labels)
	}
	containers, err := e.ContainerList(ctx, container.ListOptions{All: true, Filters: labFilter("")})
	if err != nil {
		return nil, fmt.Errorf("cannot list the labs: %w", err)
	}
	for _, c := range containers {
		s := at(c.Labels)
		s.Hosts = append(s.Hosts, summarize(c))
	}
	var all []Summary
	for _, s := range labs {
		slices.SortFunc(s.Hosts, func(a, b HostSummary) int { return naturalOrder(a.Name, b.Name) })
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b Summary) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func summarize(c container.Summary) HostSummary {
	h := HostSummary{Name: c.Labels[labelHost], State: c.State, Created: time.Unix(c.Created, 0)}
	if c.NetworkSettings != nil {
		for _, n := range c.NetworkSettings.Networks {
			h.Address = n.IPAddress
		}
	}
	return h
}

// naturalOrder puts node2 before node10.
func naturalOrder(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// Remove takes away everything that belongs to the lab called name, also what a crash left
// behind. A lab that is not there is not an error.
func Remove(ctx context.Context, name string) error {
	eng, err := reachEngine(ctx, nil)
	if err != nil {
		return err
	}
	labs, err := eng.list(ctx)
	if err != nil {
		return err
	}
	dir := ""
	if i := slices.IndexFunc(labs, func(s Summary) bool { return s.Name == name }); i >= 0 {
		dir = labs[i].Dir
	} else if dir, err = DefaultDir(name); err != nil {
		return err
	}
	if err := eng.removeLab(ctx, name); err != nil {
		return err
	}
	return removeFolder(dir)
}

// removeLab removes the containers of a lab with their volumes, then its network.
func (e *engine) removeLab(ctx context.Context, name string) error {
	containers, err := e.ContainerList(ctx, container.ListOptions{All: true, Filters: labFilter(name)})
	if err != nil {
		return fmt.Errorf("cannot remove lab %s: %w", name, err)
	}
	g, removing := errgroup.WithContext(ctx)
	for _, c := range containers {
		g.Go(func() error { return e.removeContainer(removing, c.ID) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("cannot remove lab %s: %w", name, err)
	}
	if err := e.removeNetworks(ctx, name); err != nil {
		return fmt.Errorf("cannot remove lab %s: %w", name, err)
	}
	return nil
}

func (e *engine) labExists(ctx context.Context, name string) (bool, error) {
	labs, err := e.list(ctx)
	return slices.ContainsFunc(labs, func(s Summary) bool { return s.Name == name }), err
}

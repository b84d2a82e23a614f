package node

import (
	"context"

	"github.com/calroll/calroll/tasks"
)

var _ = register("service", func() tasks.Module { return &Service{} })

// Service brings a service to a state. The machines that calroll works on run systemd, so it is systemd by another name, and the
// arguments for older service managers are ignored with a warning, as under Ansible.
type Service struct {
	Name string `arg:"name,required" doc:"the service"`
	unitArgs

	Use       string `arg:"use,choices=auto|systemd,default=auto" doc:"the service manager; systemd is the one there is"`
	Arguments string `arg:"arguments,alias=args" doc:"ignored: for service managers before systemd"`
	Pattern   string `arg:"pattern" doc:"ignored: for service managers before systemd"`
	Runlevel  string `arg:"runlevel" doc:"ignored: for service managers before systemd"`
	Sleep     *int   `arg:"sleep" doc:"ignored: for service managers before systemd"`
}

// Run brings the service to the state.
func (m *Service) Run(ctx context.Context, sys *tasks.Sys) (tasks.Result, error) {
	for _, a := range []struct {
		name  string
		given bool
	}{{"pattern", m.Pattern != ""}, {"runlevel", m.Runlevel != ""}, {"sleep", m.Sleep != nil}, {"arguments", m.Arguments != ""}} {
		if a.given {
			sys.Warn("Ignoring %q as it is not used in \"systemd\"", a.name)
		}
	}
	return m.set(ctx, sys, m.Name)
}

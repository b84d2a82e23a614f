package node

import (
	"context"
	"net"
	"strings"

	"github.com/calroll/calroll/tasks"
)

var _ = register("dns_srv", func() tasks.Module { return &DNSSrv{} })

// DNSSrv asks the host's own name servers for SRV records, as programs that find their cluster by DNS do. It alters nothing.
type DNSSrv struct {
	Name string `arg:"name,required" doc:"the whole name, such as _etcd-server._tcp.etcd.mesos"`
}

// Run fails when the name has no record. The result's records are sorted by priority: target, port, priority, weight.
func (m *DNSSrv) Run(ctx context.Context, _ *tasks.Sys) (tasks.Result, error) {
	var r tasks.Result
	_, found, err := net.DefaultResolver.LookupSRV(ctx, "", "", m.Name)
	records := []any{}
	for _, s := range found {
		records = append(records, map[string]any{"target": strings.TrimSuffix(s.Target, "."), "port": int(s.Port), "priority": int(s.Priority), "weight": int(s.Weight)})
	}
	r.Set("records", records)
	switch {
	case err != nil:
		return r, fail("cannot find SRV records of %s: %v", m.Name, err)
	case len(found) == 0:
		return r, fail("cannot find SRV records of %s: there are none", m.Name)
	}
	return r, nil
}

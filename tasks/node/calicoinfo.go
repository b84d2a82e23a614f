package node

import (
	"context"

	"github.com/calroll/calroll/tasks"
)

var _ = register("calico_resource_info", func() tasks.Module { return &CalicoResourceInfo{} })

// CalicoResourceInfo is the module calico_resource_info: it reads objects of Calico through the host's calicoctl. An object that is not there is an empty
// list; a datastore that does not answer is an error. A cluster of another version is read too.
type CalicoResourceInfo struct {
	APIVersion string `arg:"api_version,alias=version,default=projectcalico.org/v3" doc:"v1 before Calico 3.0"`
	Kind       string `arg:"kind,required" doc:"the kind, such as IPPool; large and small letters are the same to calicoctl"`
	Name       string `arg:"name" doc:"the one object; default all"`
	Namespace  string `arg:"namespace" doc:"of objects that have one"`
	All        bool   `arg:"all_namespaces,default=false" doc:"of every namespace, for kinds that have one"`
	calicoWay
}

// Rules are constraints between the arguments.
func (*CalicoResourceInfo) Rules() tasks.Rules {
	return tasks.Rules{MutuallyExclusive: [][]string{{"all_namespaces", "namespace"}, {"all_namespaces", "name"}}}
}

// Run implements tasks.Module.
func (m *CalicoResourceInfo) Run(ctx context.Context, sys *tasks.Sys) (r tasks.Result, err error) {
	ctl, err := m.ctl(sys)
	if err != nil {
		return r, err
	}
	id := calicoID{APIVersion: m.APIVersion, Kind: m.Kind, Metadata: map[string]string{}}
	if m.Name != "" {
		id.Metadata["name"] = m.Name
	}
	if m.Namespace != "" {
		id.Metadata["namespace"] = m.Namespace
	}
	var more []string
	if m.All {
		more = append(more, "--all-namespaces")
	}
	found, err := ctl.list(ctx, id, more...)
	if isMismatch(err) { // as a rolling upgrade has it; reading does no harm
		ctl.lenient = true
		found, err = ctl.list(ctx, id, more...)
	}
	if err != nil {
		return r, err
	}
	resources := make([]any, len(found))
	for i, o := range found {
		resources[i] = map[string]any(o)
	}
	r.Set("resources", resources)
	return r, nil
}

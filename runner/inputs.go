package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/calroll/calroll/inventory"
	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/runner/event"
	"github.com/calroll/calroll/runner/store"
)

// describe adds to a run's Meta what it takes to understand the run later: what it was made from, and what it set out to do.
func (o Options) describe(m *store.Meta) error {
	dir, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("cannot record the run: %w", err)
	}
	m.Dir, m.Process, m.Forks, m.Tags, m.SkipTags = dir, store.ThisProcess(), o.Forks, o.Tags, o.SkipTags
	m.SudoUser = os.Getenv("SUDO_USER")
	m.From, _, _ = strings.Cut(os.Getenv("SSH_CONNECTION"), " ")
	m.Helpers = map[string]string{}
	for _, h := range o.Carried.Helpers.List {
		m.Helpers[h.Platform] = h.Hash
	}
	m.Inputs, m.Plan = o.inputs(o.key), o.plan()
	return nil
}

// sealingKey is the key of hashes of what may hold secrets: that of the state which bastions share, else of the run store here. Who goes on with a run
// takes the one that it was begun with.
func (o Options) sealingKey(ctx context.Context) ([]byte, error) {
	local, err := o.Store.Key()
	if err != nil || o.Shared == nil {
		return local, err
	}
	if o.Resume != nil && slices.Contains([]string{"", store.KeyName(local)}, o.Resume.Run.Inputs.Key) {
		return local, nil
	}
	return o.Shared.State.Key(ctx, local)
}

// inputs are what a run is made from, as far as it has been read by now.
func (o Options) inputs(key []byte) store.Inputs {
	in := store.Inputs{Key: store.KeyName(key), Files: o.files(), Hosts: map[string]string{}, ExtraVars: map[string]string{}}
	for _, name := range o.ExtraVars.Names() {
		v, _ := o.ExtraVars.Var(name)
		in.ExtraVars[name] = store.Keyed(key, written(v))
	}
	sealer := sealer{key, map[*value.Vars]string{}}
	var beside []*inventory.Folder
	for _, b := range o.books {
		if !strings.HasPrefix(b.Dir, playbooks.CatalogPrefix) {
			beside = append(beside, inventory.NewFolder(b.Dir))
		}
	}
	for _, h := range o.Inventory.Hosts() {
		in.Hosts[h.Name] = sealer.host(o.Inventory, h, beside)
	}
	return in
}

// files are the hashes of what the loader has read, by absolute name.
func (o Options) files() map[string]string {
	sums := map[string]string{}
	for name, sum := range o.Loader.Files.Sums.All() {
		if abs, err := filepath.Abs(name); err == nil && !strings.HasPrefix(name, playbooks.CatalogPrefix) {
			name = abs
		}
		sums[name] = sum
	}
	return sums
}

// sealer hashes what the inventory says of hosts. What hosts share is hashed once.
type sealer struct {
	key  []byte
	done map[*value.Vars]string
}

// host is the hash of a host's groups and variables. A file that cannot be read is told where it is used.
func (s sealer) host(inv *inventory.Inventory, h *inventory.Host, beside []*inventory.Folder) string {
	text := strings.Join(h.GroupNames(), " ")
	if len(beside) == 0 {
		beside = []*inventory.Folder{nil}
	}
	for _, folder := range beside {
		layers, err := inv.Layers(h, folder)
		if err != nil {
			continue
		}
		for _, l := range layers {
			text += fmt.Sprintf("\n%d %s", l.Kind, s.vars(l.Vars))
		}
	}
	return store.Keyed(s.key, text)
}

func (s sealer) vars(v *value.Vars) string {
	if sum, ok := s.done[v]; ok {
		return sum
	}
	sum := store.Keyed(s.key, written(v.Dict()))
	s.done[v] = sum
	return sum
}

// written is a value as JSON with templates and encrypted texts as they are written: the same however its keys are ordered and wherever it stands.
func written(v any) string {
	text, err := json.Marshal(plain(v))
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}

func plain(v any) any {
	switch v := v.(type) {
	case value.Template:
		return map[string]any{"template": v.Text}
	case value.Vault:
		return map[string]any{"vault": v.Text}
	case *value.Dict:
		m := map[string]any{}
		for k, e := range v.All() {
			m[value.KeyString(k)] = plain(e)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = plain(v[i])
		}
		return list
	}
	return v
}

// plan is what the plays set out to do, as far as it is known before there are facts.
func (o Options) plan() []store.Play {
	var plan []store.Play
	for _, b := range o.books {
		for _, p := range b.Plays {
			entry := store.Play{Name: p.Title(), Where: p.Pos.String()}
			var patterns []string
			for _, h := range p.Hosts {
				patterns = append(patterns, h.Text())
			}
			entry.Pattern = strings.Join(patterns, ",")
			entry.Hosts, _ = o.HostsOf(p)
			for _, s := range p.Serial {
				entry.Serial = append(entry.Serial, s.Text())
			}
			plan = append(plan, entry)
		}
	}
	return plan
}

// alsoRecorded has the events that follow recorded with an older run, as those of a rollback are; the function ends it.
func (r *run) alsoRecorded(s *store.Store, id string) (done func() error, err error) {
	if s == nil {
		return func() error { return nil }, nil
	}
	rec, err := s.Reopen(id)
	if err != nil {
		return nil, err
	}
	r.sink = r.mask.Sink(event.Sinks{r.o.Sink, rec})
	return rec.Leave, nil
}

package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/calroll/calroll/tasks"
)

var _ = register("calico_resource", func() tasks.Module { return &CalicoResource{} })

// conflictTries is how often an object is read and written again when somebody else writes other fields of it at the same time.
const conflictTries = 5

// CalicoResource is the module calico_resource: objects of Calico, of both generations of its API and in every datastore, through the calicoctl that
// is installed on the host.
//
// Only the fields that the definition gives are compared and written; an explicit null takes a field away; a list is one field. From Calico 3.0 on
// an object is replaced only in the version that was read. Calico before 3.0 has no versions: a change by somebody else between the reading and
// the writing, some milliseconds, is not noticed. What it keeps outside of objects goes by two kinds that exist here alone, both of apiVersion v1:
// felixConfig, whose spec has Felix's own names (IpInIpMtu), and bgpConfig, whose spec has asNumber, nodeToNodeMesh (on, off), logLevel and ipip;
// metadata.node makes a setting the node's.
type CalicoResource struct {
	Definition any    `arg:"definition,alias=resource_definition" doc:"the object, or a list of objects, with the fields that it shall have"`
	State      string `arg:"state,choices=present|absent,default=present" doc:"whether it shall be there"`
	APIVersion string `arg:"api_version,alias=version,default=projectcalico.org/v3" doc:"without a definition: v1 before Calico 3.0"`
	Kind       string `arg:"kind" doc:"without a definition: the kind"`
	Name       string `arg:"name" doc:"without a definition: the name"`
	Namespace  string `arg:"namespace" doc:"without a definition: the namespace"`
	calicoWay
}

// calicoWay is how calico_resource and calico_resource_info get at the datastore.
type calicoWay struct {
	Config  tasks.Path `arg:"config,default=/etc/calico/calicoctl.cfg" doc:"calicoctl's configuration file; the environment is not asked"`
	Program string     `arg:"calicoctl,default=calicoctl" doc:"the program, a path or a name in the search path"`
	Timeout int        `arg:"timeout,default=60" doc:"seconds within which the datastore has to answer"`
}

func (w calicoWay) ctl(sys *tasks.Sys) (calicoctl, error) {
	program, err := sys.LookPath(w.Program)
	if err != nil {
		return calicoctl{}, &tasks.Error{Kind: tasks.Failed, Op: "find calicoctl", Err: err}
	}
	return calicoctl{Program: program, Config: w.Config.Expand(), run: sys.Exec, limit: time.Duration(w.Timeout) * time.Second}, nil
}

// Rules are constraints between the arguments.
func (*CalicoResource) Rules() tasks.Rules {
	return tasks.Rules{RequiredOneOf: [][]string{{"definition", "kind"}}, MutuallyExclusive: [][]string{{"definition", "kind"}, {"definition", "name"}}, RequiredTogether: [][]string{{"kind", "name"}}}
}

// Run implements tasks.Module.
func (m *CalicoResource) Run(ctx context.Context, sys *tasks.Sys) (r tasks.Result, err error) {
	wanted, err := m.wanted()
	if err != nil {
		return r, err
	}
	ctl, err := m.ctl(sys)
	if err != nil {
		return r, err
	}
	results := []any{}
	for _, w := range wanted {
		w.ctl = ctl
		changed, err := w.bring(ctx, sys, m.State == "present")
		r.Changed = r.Changed || changed
		if err != nil {
			return r, err
		}
		if w.now != nil {
			results = append(results, map[string]any(w.now))
		}
	}
	r.Set("resources", results)
	if len(results) == 1 {
		r.Set("result", results[0])
	}
	return r, nil
}

// wanted are the objects of the definition, the settings of Calico before 3.0 one by one.
func (m *CalicoResource) wanted() (all []*calicoChange, err error) {
	definition := m.Definition
	if definition == nil {
		definition = map[string]any{"apiVersion": m.APIVersion, "kind": m.Kind, "metadata": map[string]any{"name": m.Name, "namespace": m.Namespace}}
	}
	v, err := plainJSON(definition)
	if err != nil {
		return nil, fail("definition cannot be read: %v", err)
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	for i, e := range list {
		o, ok := e.(map[string]any)
		if !ok {
			return nil, fail("definition %d is no object with apiVersion, kind, metadata and spec", i+1)
		}
		changes, err := changesOf(o, m.State)
		if err != nil {
			return nil, err
		}
		all = append(all, changes...)
	}
	return all, nil
}

func changesOf(o object, state string) ([]*calicoChange, error) {
	id := idOf(o)
	switch {
	case id.Kind == "":
		return nil, fail("definition has no kind")
	case id.APIVersion != "v1" && !strings.HasPrefix(id.APIVersion, "projectcalico.org/"):
		return nil, fail("definition of %s has apiVersion %q; it is projectcalico.org/v3, or v1 before Calico 3.0", id.Kind, id.APIVersion)
	case id.isConfig():
		return settingsOf(id, o, state)
	case len(id.Metadata) == 0:
		return nil, fail("definition of %s has no name in its metadata", id.Kind)
	}
	return []*calicoChange{{id: id, want: o, owned: id.owned(o)}}, nil
}

// settingsOf takes a felixConfig or bgpConfig apart: calicoctl sets one at a time, so each has its own record.
func settingsOf(id calicoID, o object, state string) (all []*calicoChange, err error) {
	spec, ok := o["spec"].(map[string]any)
	if !ok || len(spec) == 0 {
		return nil, fail("definition of %s has no settings in its spec", id.Kind)
	}
	for _, k := range slices.Sorted(maps.Keys(spec)) {
		id := id
		id.Setting = k
		want := id.object()
		value := settingText(id, spec[k])
		if state == "absent" {
			value = nil
		}
		if value == nil && id.Kind == bgpConfig && slices.Contains(namedSettings, k) && id.Metadata["node"] == "" {
			return nil, fail("%s of %s always has a value; give the one that it shall have", k, id.Kind)
		}
		want["spec"] = map[string]any{k: value}
		all = append(all, &calicoChange{id: id, want: want, owned: [][]string{{"spec", k}}})
	}
	return all, nil
}

// settingText is a setting as calicoctl takes and shows it. YAML reads on and off as true and false.
func settingText(id calicoID, v any) any {
	switch v := v.(type) {
	case nil:
		return nil
	case bool:
		words := map[bool]string{true: "true", false: "false"}
		if id.Kind == bgpConfig {
			words = map[bool]string{true: "on", false: "off"}
		}
		return words[v]
	}
	return fmt.Sprint(v)
}

// calicoChange is one object on its way to what it shall be.
type calicoChange struct {
	ctl   calicoctl
	id    calicoID
	want  object
	owned [][]string
	now   object // as it is, or in check mode would be, in the end
}

// bring makes the object as it shall be, if it is not.
func (c *calicoChange) bring(ctx context.Context, sys *tasks.Sys, present bool) (bool, error) {
	before, err := c.ctl.get(ctx, c.id)
	if err != nil {
		return false, err
	}
	c.now = before
	if c.id.isConfig() {
		present = true // a setting that shall be away is a null by now
	}
	if !present {
		c.want, c.owned = nil, c.id.owned(before)
	}
	if (before == nil) == (c.want == nil) && c.id.same(before, c.want, c.owned) {
		return false, nil
	}
	c.showDiff(sys, before)
	if sys.Check() {
		c.now = c.after(before)
		return true, nil
	}
	if err := c.record(ctx, sys, before); err != nil {
		return false, err
	}
	return true, c.write(ctx, sys, before)
}

// after is the object as it shall be, made from what it is.
func (c *calicoChange) after(now object) object {
	switch {
	case c.want == nil:
		return nil
	case now == nil:
		return c.id.object().with(c.want, c.owned)
	}
	return now.with(c.want, c.owned)
}

func (c *calicoChange) record(ctx context.Context, sys *tasks.Sys, before object) error {
	var image *tasks.Image
	if before != nil {
		raw, err := json.Marshal(before)
		if err != nil {
			return err
		}
		image = &tasks.Image{Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }}
	}
	b := tasks.Before{Kind: calicoKindName, Key: c.id.String(), Was: c.id.word(before, c.owned), After: c.id.word(c.want, c.owned)}
	return sys.Record(ctx, b, calicoMeta{Ctl: c.ctl, ID: c.id, Owned: c.owned}, image)
}

// write alters the object. When somebody else writes it at the same time, it is tried again as long as the fields in question are as they were read:
// then the record holds.
func (c *calicoChange) write(ctx context.Context, sys *tasks.Sys, before object) error {
	now := before
	for range conflictTries {
		err := c.alter(ctx, now)
		if !errors.Is(err, errConflict) {
			if err == nil {
				err = c.readBack(ctx, sys)
			}
			return err
		}
		if now, err = c.ctl.get(ctx, c.id); err != nil {
			return err
		}
		if c.id.word(now, c.owned) != c.id.word(before, c.owned) {
			break
		}
	}
	return &tasks.Error{Kind: tasks.Refused, Op: "write " + c.id.String(), Detail: "somebody else changed it at the same time"}
}

func (c *calicoChange) alter(ctx context.Context, now object) error {
	switch {
	case c.want == nil:
		return c.ctl.remove(ctx, c.id, now)
	case now == nil:
		return c.ctl.write(ctx, c.id, "create", c.after(nil))
	}
	return c.ctl.write(ctx, c.id, "replace", c.after(now).withVersionOf(now))
}

// readBack notices when Calico stores something else than it was given, which would be changed again by every run.
func (c *calicoChange) readBack(ctx context.Context, sys *tasks.Sys) (err error) {
	if c.now, err = c.ctl.get(ctx, c.id); err != nil {
		return err
	}
	if c.want != nil && (c.now == nil || !c.id.same(c.now, c.want, c.owned)) {
		sys.Warn("Calico keeps other values for %s than it was given: %s", c.id, indented(c.id.view(c.now, c.owned)))
	}
	return nil
}

func (c *calicoChange) showDiff(sys *tasks.Sys, before object) {
	sys.AddDiff(tasks.Diff{Before: indented(c.id.view(before, c.owned)), After: indented(c.id.view(c.want, c.owned)), BeforeHeader: c.id.String(), AfterHeader: c.id.String()})
}

func indented(v map[string]any) string {
	if len(v) == 0 {
		return ""
	}
	raw, _ := json.MarshalIndent(v, "", "  ") // it came from JSON
	return string(raw) + "\n"
}

func readObject(raw []byte) (object, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var o object
	err := d.Decode(&o)
	return o, err
}

// isMismatch tells that calicoctl refuses because the cluster has another version.
func isMismatch(err error) bool {
	return err != nil && strings.Contains(strings.ToLower(err.Error()), "version mismatch")
}

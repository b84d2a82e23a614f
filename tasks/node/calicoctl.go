package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/calroll/calroll/tasks"
)

// calicoctl is the host's own calicoctl with its configuration, so that version and datastore are always those of the host. It goes into records.
type calicoctl struct {
	Program string `json:"program"`
	Config  string `json:"config"`
	run     func(context.Context, tasks.Cmd) (tasks.Output, error)
	lenient bool // look past calicoctl's refusal to work on a cluster of another version
	limit   time.Duration
}

// answerLimit is how long calicoctl may take to answer unless the task says otherwise. It waits for a datastore that is away for ever.
const answerLimit = time.Minute

// errConflict says that an object changed between the reading and the writing.
var errConflict = fmt.Errorf("it changed at the same time")

// call runs calicoctl. It must take where the datastore is from its file alone, so the file has to be there, and the environment says nothing of it.
func (c calicoctl) call(ctx context.Context, stdin []byte, args ...string) (string, error) {
	what := "run calicoctl " + strings.Join(args, " ")
	if _, err := os.Stat(c.Config); err != nil {
		return "", &tasks.Error{Kind: tasks.Failed, Op: what, Detail: "without " + c.Config + " it does not know the datastore", Err: err}
	}
	if c.lenient {
		args = append(args, "--allow-version-mismatch")
	}
	limited, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	out, err := c.run(limited, tasks.Cmd{Argv: append(append([]string{c.Program}, args...), "--config="+c.Config), Stdin: stdin,
		Without: []string{"ETCD_", "DATASTORE_TYPE=", "CALICO_", "APIV1_", "K8S_", "KUBECONFIG="}})
	said := strings.TrimSpace(string(out.Stdout) + "\n" + string(out.Stderr))
	switch {
	case limited.Err() != nil && ctx.Err() == nil:
		return said, &tasks.Error{Kind: tasks.Failed, Op: what, Detail: fmt.Sprintf("the datastore did not answer within %v", c.limit)}
	case err != nil:
		return said, err
	case out.Code == 0:
		return string(out.Stdout), nil
	case strings.Contains(said, "update conflict"), args[0] == "create" && strings.Contains(said, "already exists"),
		args[0] != "get" && strings.Contains(said, "resource does not exist"):
		return said, errConflict
	}
	return said, &tasks.Error{Kind: tasks.Failed, Op: what, Detail: said}
}

// get reads an object; nil is that there is none.
func (c calicoctl) get(ctx context.Context, id calicoID) (object, error) {
	if id.isConfig() {
		return c.getConfig(ctx, id)
	}
	found, err := c.list(ctx, id)
	for _, o := range found {
		if id.names(o) {
			return o, err
		}
	}
	return nil, err
}

// lacksKind tells whether the datastore is a Kubernetes API that does not know the object's kind.
func (c calicoctl) lacksKind(ctx context.Context, id calicoID) bool {
	if id.isConfig() {
		return false
	}
	said, err := c.call(ctx, nil, append([]string{"get"}, id.words()...)...)
	return err != nil && strings.Contains(said, "the server could not find the requested resource")
}

// list reads the objects of a kind, or one of them; more are further words of `calicoctl get`.
func (c calicoctl) list(ctx context.Context, id calicoID, more ...string) ([]object, error) {
	said, err := c.call(ctx, nil, slices.Concat([]string{"get"}, id.words(), more, []string{"-o", "json"})...)
	if err != nil {
		if strings.Contains(said, "resource does not exist") {
			return nil, nil
		}
		return nil, err
	}
	var v any
	d := json.NewDecoder(strings.NewReader(said))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, &tasks.Error{Kind: tasks.Failed, Op: "read what calicoctl says of " + id.String(), Err: err}
	}
	return objectsIn(v), nil
}

// objectsIn are the objects of an answer: one, a list object, or (before 3.0) a list of either.
func objectsIn(v any) (all []object) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			all = append(all, objectsIn(e)...)
		}
	case map[string]any:
		if items, ok := v["items"]; ok {
			return objectsIn(items)
		}
		all = append(all, v)
	}
	return all
}

// write creates an object, or replaces the one whose resourceVersion it has. Before 3.0 objects have none.
func (c calicoctl) write(ctx context.Context, id calicoID, verb string, o object) error {
	if id.isConfig() {
		return c.setConfig(ctx, id, o)
	}
	raw, err := json.Marshal(o)
	if err != nil {
		return err
	}
	_, err = c.call(ctx, raw, verb, "-f", "-")
	return err
}

// remove deletes an object as it was read.
func (c calicoctl) remove(ctx context.Context, id calicoID, o object) error {
	if id.Old() {
		_, err := c.call(ctx, nil, append([]string{"delete"}, id.words()...)...)
		return err
	}
	return c.write(ctx, id, "delete", o)
}

// unsetWord is how calicoctl 1.x shows a setting that nobody set; inheritedWord follows one of a node that only the cluster has.
const (
	unsetWord     = "(unset)"
	inheritedWord = "(inherited from global)"
)

// getConfig reads a setting that before 3.0 is no object.
func (c calicoctl) getConfig(ctx context.Context, id calicoID) (object, error) {
	said, err := c.call(ctx, nil, append([]string{"config", "get"}, id.settingWords()...)...)
	if err != nil {
		return nil, err
	}
	o := id.object()
	spec := map[string]any{}
	if said = strings.TrimSpace(said); said != unsetWord && !strings.HasSuffix(said, inheritedWord) {
		spec[id.Setting] = said
	}
	o["spec"] = spec
	return o, nil
}

func (c calicoctl) setConfig(ctx context.Context, id calicoID, o object) error {
	value, set := o.at([]string{"spec", id.Setting})
	words := id.settingWords()
	if !set || value == nil {
		_, err := c.call(ctx, nil, append([]string{"config", "unset"}, words...)...)
		return err
	}
	words = append([]string{"config", "set", words[0], fmt.Sprint(value)}, words[1:]...)
	_, err := c.call(ctx, nil, words...)
	return err
}

// plainJSON is a value as JSON has it, so that values from a task and from calicoctl can be compared.
func plainJSON(v any) (any, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var out any
	err = d.Decode(&out)
	return out, err
}

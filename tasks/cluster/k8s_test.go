package cluster_test

import (
	"cmp"
	"context"
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/cluster"
	"github.com/calroll/calroll/tasks/journal"
	"github.com/calroll/calroll/testenv/kube"
)

// kubeBed is a real Kubernetes API, a journal, and the modules between them.
type kubeBed struct {
	*testing.T
	api     *kube.API
	config  string // the kubeconfig; that of the API if it is empty
	dir     string
	journal *journal.Journal
	dialed  atomic.Int64
	step    func(string)
}

func (b *kubeBed) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	b.dialed.Add(1)
	return (&net.Dialer{}).DialContext(ctx, network, addr)
}

func (b *kubeBed) reach() tasks.Reach { return tasks.Reach{Dial: b.dial} }

// fresh is a bed for a subtest: the same API, and a run of its own.
func (b *kubeBed) fresh(t *testing.T) *kubeBed {
	t.Helper()
	n := &kubeBed{T: t, api: b.api, config: b.config, dir: filepath.Join(t.TempDir(), "runs")}
	n.open()
	return n
}

func (b *kubeBed) open() {
	b.Helper()
	var err error
	if b.journal, err = journal.Open(b.dir, "run", journal.Holder{}); err != nil {
		b.Fatal(err)
	}
	j := b.journal
	b.Cleanup(func() { j.Close() })
}

type how struct{ check, diff bool }

// args is a dictionary as it comes over the wire.
func args(b *testing.T, text string) map[string]any {
	b.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		b.Fatalf("%v in %s", err, text)
	}
	return m
}

func (b *kubeBed) try(h how, module string, args map[string]any) tasks.Result {
	b.Helper()
	if args["kubeconfig"] == nil {
		args["kubeconfig"] = cmp.Or(b.config, b.api.Kubeconfig)
	}
	m, errs := tasks.SpecOf(cluster.Modules()[module]()).Decode(args)
	if len(errs) > 0 {
		b.Fatal(errs)
	}
	sys := tasks.NewSys(tasks.Options{Recorder: b.journal, Check: h.check, Diff: h.diff, Dial: b.dial, Step: b.step})
	defer sys.Close()
	return tasks.Run(b.Context(), m, sys)
}

// run runs a module that must succeed.
func (b *kubeBed) run(module string, args map[string]any) tasks.Result {
	b.Helper()
	r := b.try(how{}, module, args)
	if r.Failed {
		b.Fatalf("%s %v: %s", module, args, r.Msg)
	}
	return r
}

// apply applies manifests server-side.
func (b *kubeBed) apply(text string) map[string]any {
	return map[string]any{"definition": text, "apply": true, "server_side_apply": map[string]any{"field_manager": "calroll"}}
}

func (b *kubeBed) kubectl(args ...string) string {
	b.Helper()
	out, err := b.api.Kubectl(b.Context(), args...).CombinedOutput()
	if err != nil {
		b.Fatalf("kubectl %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// undo takes the run back.
func (b *kubeBed) undo(force bool) journal.Report {
	b.Helper()
	b.journal.Close()
	report, err := journal.Undo(b.Context(), b.dir, "run", journal.UndoOptions{Force: force}, cluster.Kinds(b.reach()))
	if err != nil {
		b.Fatal(err)
	}
	return report
}

func (b *kubeBed) undone() {
	b.Helper()
	if r := b.undo(false); !r.OK() {
		b.Errorf("not taken back: %+v", r.Problems())
	}
}

const configMap = `
apiVersion: v1
kind: ConfigMap
metadata: {name: one, namespace: default, labels: {app: x}}
data: {a: "1", b: "2"}
`

func TestK8s(t *testing.T) {
	b := &kubeBed{T: t, api: kube.APIForTest(t, kube.APIOptions{Controllers: true})}
	for kind, name := range map[string]string{"ServiceAccount": "default", "ConfigMap": "kube-root-ca.crt"} { // pods need them, and they come by themselves
		b.fresh(t).run("k8s_info", map[string]any{"kind": kind, "name": name, "namespace": "default", "wait": true, "wait_sleep": 1})
	}
	for name, test := range map[string]func(*kubeBed){
		"apply, again, undo": applyAgainUndo, "lists": listsAndCustomResources, "cascade": cascadeComesBack, "passing": passingStaysAway, "selectors": selectors, "wait": waits,
		"secrets": secretsDoNotShow, "diffs": diffs, "conflicts": conflicts, "foreign": foreignStays, "ownership": ownershipReturns, "plain": plain,
		"errors": errorsSayWhy, "cluster_info": clusterInfo, "can_i": canI, "drain": drains, "cordon of others": cordonOfOthersStays, "cut": cutAnywhere, "undo cut": undoCutAnywhere, "logins": logins,
	} {
		t.Run(name, func(t *testing.T) { test(b.fresh(t)) }) // they share the API: each leaves it as it was
	}
}

func applyAgainUndo(b *kubeBed) {
	if r := b.try(how{check: true}, "k8s", b.apply(configMap)); !r.Changed || r.Failed {
		b.Errorf("check mode: %+v", r)
	}
	if r := b.run("k8s", b.apply(configMap)); !r.Changed || r.Values["method"] != "apply" {
		b.Errorf("create: %+v", r)
	}
	before := b.kubectl("get", "configmap", "one", "-o", "jsonpath={.metadata.resourceVersion}")
	if r := b.run("k8s", b.apply(configMap)); r.Changed {
		b.Errorf("again: %+v", r)
	}
	if after := b.kubectl("get", "configmap", "one", "-o", "jsonpath={.metadata.resourceVersion}"); after != before {
		b.Error("the second run wrote")
	}
	if r := b.run("k8s", b.apply(strings.Replace(configMap, `, b: "2"`, `, c: "3"`, 1))); !r.Changed {
		b.Errorf("change: %+v", r)
	}
	if got := b.kubectl("get", "configmap", "one", "-o", "jsonpath={.data}"); got != `{"a":"1","c":"3"}` {
		b.Errorf("data: %s", got)
	}
	b.undone()
	if got := b.kubectl("get", "configmap", "-o", "name"); strings.Contains(got, "one") {
		b.Errorf("after the undo: %s", got)
	}
}

package node_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
	"github.com/calroll/calroll/tasks/node"
	"github.com/calroll/calroll/testenv/artifacts"
)

// calicoBed is a real calicoctl with a datastore behind it, and runs of the module between.
type calicoBed struct {
	*testing.T
	program, config string
	etcd            *artifacts.Etcd
	dir             string
	runs            int
	open            *journal.Journal
}

func calicoPrograms(t *testing.T) *artifacts.Set {
	t.Helper()
	set, err := artifacts.Build(t.Context(), artifacts.Request{Parts: []artifacts.Part{artifacts.EtcdPrograms, artifacts.CalicoRelease, artifacts.Calicoctl}}, artifacts.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// newCalicoBed is a bed with etcd and TLS. The environment names another datastore, which nobody may ask.
func newCalicoBed(t *testing.T) *calicoBed {
	t.Helper()
	set := calicoPrograms(t)
	etcd, err := artifacts.StartEtcd(t.Context(), artifacts.EtcdOptions{Programs: set, TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := etcd.Stop(); err != nil {
			t.Error(err)
		}
	})
	b := &calicoBed{T: t, program: set.Program("calicoctl"), etcd: etcd, dir: t.TempDir()}
	b.configure(fmt.Sprintf("{datastoreType: etcdv3, etcdEndpoints: %q, etcdCACertFile: %s, etcdCertFile: %s, etcdKeyFile: %s}",
		etcd.Endpoints()[0], etcd.CA, etcd.ClientCert, etcd.ClientKey))
	return b
}

func (b *calicoBed) configure(spec string) {
	b.Helper()
	b.config = filepath.Join(b.dir, "calicoctl.cfg")
	if err := os.WriteFile(b.config, []byte("apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata: {}\nspec: "+spec+"\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	b.Setenv("ETCD_ENDPOINTS", "http://127.0.0.1:1")
	b.Setenv("DATASTORE_TYPE", "kubernetes")
	b.Setenv("KUBECONFIG", "/nonexistent")
}

// clusterIs has the cluster's record say that it is of a version, and calicoctl of another one refuse to work on it; "" takes the record away.
func (b *calicoBed) clusterIs(version string) {
	b.Helper()
	args := []string{"del", "/calico/resources/v3/projectcalico.org/clusterinformations/default"}
	if version != "" {
		args = []string{"put", args[1], `{"kind": "ClusterInformation", "apiVersion": "projectcalico.org/v3", "metadata": {"name": "default"}, "spec": {"calicoVersion": "` + version + `"}}`}
	}
	if out, err := b.etcd.Command(b.Context(), args...).CombinedOutput(); err != nil {
		b.Fatalf("etcdctl %v: %v\n%s", args, err, out)
	}
	if out, err := exec.CommandContext(b.Context(), b.program, "get", "ippool", "--config="+b.config).CombinedOutput(); (err == nil) != (version == "") {
		b.Fatalf("calicoctl on a cluster of version %q: %v\n%s", version, err, out)
	}
}

// ctl is calicoctl as an operator runs it.
func (b *calicoBed) ctl(stdin string, args ...string) string {
	b.Helper()
	cmd := exec.Command(b.program, append(args, "--config="+b.config)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Fatalf("calicoctl %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// all are the objects of some kinds, without what every write of them changes.
func (b *calicoBed) all(kinds ...string) string {
	b.Helper()
	var text []string
	for _, k := range kinds {
		var list struct{ Items []map[string]any }
		if err := json.Unmarshal([]byte(b.ctl("", "get", k, "-o", "json")), &list); err != nil {
			b.Fatal(err)
		}
		for _, o := range list.Items {
			m := o["metadata"].(map[string]any)
			delete(m, "resourceVersion")
			delete(m, "uid")
			delete(m, "creationTimestamp")
			raw, _ := json.Marshal(o)
			text = append(text, string(raw))
		}
	}
	return strings.Join(text, "\n")
}

func (b *calicoBed) journal() *journal.Journal {
	b.Helper()
	if b.open == nil {
		b.runs++
		j, err := journal.Open(filepath.Join(b.dir, "runs"), fmt.Sprintf("run%d", b.runs), journal.Holder{})
		if err != nil {
			b.Fatal(err)
		}
		b.open = j
	}
	return b.open
}

func (b *calicoBed) run(module string, o tasks.Options, args map[string]any) tasks.Result {
	b.Helper()
	args["calicoctl"], args["config"] = b.program, b.config
	m, errs := tasks.SpecOf(node.Modules()[module]()).Decode(args)
	if len(errs) > 0 {
		b.Fatal(errs)
	}
	if o.Recorder == nil {
		o.Recorder = b.journal()
	}
	sys := tasks.NewSys(o)
	defer sys.Close()
	return tasks.Run(b.Context(), m, sys)
}

func (b *calicoBed) undo(force bool) journal.Report {
	b.Helper()
	b.open.Close()
	b.open = nil
	report, err := journal.Undo(context.Background(), filepath.Join(b.dir, "runs"), fmt.Sprintf("run%d", b.runs), journal.UndoOptions{Force: force}, node.Kinds())
	if err != nil {
		b.Fatal(err)
	}
	return report
}

func v3(kind, name string, spec map[string]any) map[string]any {
	return map[string]any{"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": map[string]any{"name": name}, "spec": spec}
}

// calicoCases alter objects of each kind that the catalogue writes: new ones, some fields of old ones, and gone ones.
var calicoCases = []struct {
	name string
	args map[string]any
}{
	{"pool", map[string]any{"definition": v3("IPPool", "made", map[string]any{"cidr": "10.7.0.0/16", "ipipMode": "Always", "natOutgoing": false, "blockSize": 26})}},
	{"felix", map[string]any{"definition": v3("FelixConfiguration", "default", map[string]any{"prometheusMetricsEnabled": true, "prometheusMetricsPort": 9081, "logSeverityScreen": nil})}},
	{"bgp", map[string]any{"definition": []any{
		v3("BGPConfiguration", "default", map[string]any{"nodeToNodeMeshEnabled": false, "asNumber": "64600"}),
		v3("BGPPeer", "rrs", map[string]any{"nodeSelector": "all()", "peerSelector": "has(rr)"})}}},
	{"node", map[string]any{"definition": map[string]any{"apiVersion": "projectcalico.org/v3", "kind": "Node",
		"metadata": map[string]any{"name": "node1", "labels": map[string]any{"calico-route-reflector": "yes"}},
		"spec":     map[string]any{"bgp": map[string]any{"routeReflectorClusterID": "244.0.0.1"}}}}},
	{"gone", map[string]any{"state": "absent", "kind": "IPPool", "name": "old"}},
	{"policy gone", map[string]any{"state": "absent", "kind": "NetworkPolicy", "name": "p", "namespace": "default"}},
}

var calicoKinds = []string{"ippool", "felixconfiguration", "bgpconfiguration", "bgppeer", "node", "networkpolicy"}

// operatorsObjects are there before, with fields that calroll does not own.
func (b *calicoBed) operatorsObjects() {
	b.Helper()
	for _, o := range []map[string]any{
		v3("IPPool", "old", map[string]any{"cidr": "10.6.0.0/16", "nodeSelector": "has(x)"}),
		v3("FelixConfiguration", "default", map[string]any{"logSeverityScreen": "Debug", "bpfLogLevel": ""}),
		{"apiVersion": "projectcalico.org/v3", "kind": "Node", "metadata": map[string]any{"name": "node1", "labels": map[string]any{"rack": "r1"}},
			"spec": map[string]any{"bgp": map[string]any{"ipv4Address": "10.0.0.1/24"}}},
		{"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy", "metadata": map[string]any{"name": "p", "namespace": "default"}, "spec": map[string]any{"selector": "all()"}},
	} {
		raw, _ := json.Marshal(o)
		b.ctl(string(raw), "create", "-f", "-")
	}
}

// TestCalicoResource: check mode predicts, a second run changes nothing, fields of others stay, and an undo brings all back.
func TestCalicoResource(t *testing.T) {
	b := newCalicoBed(t)
	b.operatorsObjects()
	before := b.all(calicoKinds...)
	for _, c := range calicoCases {
		checked := b.run("calico_resource", tasks.Options{Check: true, Diff: true}, c.args)
		first := b.run("calico_resource", tasks.Options{Diff: true}, c.args)
		second := b.run("calico_resource", tasks.Options{}, c.args)
		if first.Failed || !first.Changed || !checked.Changed || len(first.Warnings) > 0 || len(first.Diff) == 0 || fmt.Sprint(first.Diff) != fmt.Sprint(checked.Diff) {
			t.Errorf("%s: %+v (check mode: %+v)", c.name, first, checked)
		}
		if second.Failed || second.Changed {
			t.Errorf("%s, again: %+v", c.name, second)
		}
	}
	after := b.all(calicoKinds...)
	for _, want := range []string{`"ipv4Address":"10.0.0.1/24"`, `"rack":"r1"`, `"calico-route-reflector":"yes"`, `"prometheusMetricsPort":9081`, `"asNumber":64600`, `"nodeToNodeMeshEnabled":false`} {
		if !strings.Contains(after, want) {
			t.Errorf("%s is missing in\n%s", want, after)
		}
	}
	for _, gone := range []string{`"Debug"`, `"old"`} {
		if strings.Contains(after, gone) {
			t.Errorf("%s is still in\n%s", gone, after)
		}
	}
	if report := b.undo(false); !report.OK() || b.all(calicoKinds...) != before {
		t.Errorf("undo: %+v\n%s\nbefore it was\n%s", report, b.all(calicoKinds...), before)
	}
}

// TestCalicoUndoMeetsOthers: what others did to other fields stays, what they did to ours is refused by name.
func TestCalicoUndoMeetsOthers(t *testing.T) {
	b := newCalicoBed(t)
	b.operatorsObjects()
	b.run("calico_resource", tasks.Options{}, map[string]any{"definition": v3("FelixConfiguration", "default", map[string]any{"prometheusMetricsPort": 9081})})
	b.run("calico_resource", tasks.Options{}, map[string]any{"definition": v3("BGPConfiguration", "default", map[string]any{"asNumber": 64600})})
	b.ctl("", "patch", "felixconfiguration", "default", "-p", `{"spec":{"ipipMTU":1400}}`)
	b.ctl("", "patch", "bgpconfiguration", "default", "-p", `{"spec":{"asNumber":64700}}`)
	report := b.undo(false)
	if report.OK() || !strings.Contains(fmt.Sprint(report), "BGPConfiguration default") || !strings.Contains(fmt.Sprint(report), "somebody else changed it") {
		t.Errorf("%+v", report)
	}
	got := b.all("felixconfiguration", "bgpconfiguration")
	if strings.Contains(got, "prometheusMetricsPort") || !strings.Contains(got, `"ipipMTU":1400`) || !strings.Contains(got, "64700") {
		t.Errorf("after the undo:\n%s", got)
	}
}

// meddling changes the datastore between a record and its alteration.
type meddling struct {
	tasks.Recorder
	meddle func()
}

// Record records, and then somebody else is faster.
func (m meddling) Record(ctx context.Context, b tasks.Before, image *tasks.Image) (int64, error) {
	seq, err := m.Recorder.Record(ctx, b, image)
	m.meddle()
	return seq, err
}

// TestCalicoConflict: a change of other fields at the same time is kept and ours is tried again; one of the same fields is refused.
func TestCalicoConflict(t *testing.T) {
	b := newCalicoBed(t)
	b.operatorsObjects()
	patch := func(p string) tasks.Options {
		return tasks.Options{Recorder: meddling{b.journal(), func() { b.ctl("", "patch", "felixconfiguration", "default", "-p", p) }}}
	}
	definition := v3("FelixConfiguration", "default", map[string]any{"prometheusMetricsPort": 9081})
	r := b.run("calico_resource", patch(`{"spec":{"ipipMTU":1400}}`), map[string]any{"definition": definition})
	if got := b.all("felixconfiguration"); r.Failed || !r.Changed || !strings.Contains(got, `"ipipMTU":1400`) || !strings.Contains(got, "9081") {
		t.Errorf("another field: %+v\n%s", r, got)
	}
	definition["spec"] = map[string]any{"prometheusMetricsPort": 9082}
	r = b.run("calico_resource", patch(`{"spec":{"prometheusMetricsPort":9999}}`), map[string]any{"definition": definition})
	if !r.Failed || r.Kind != tasks.Refused || !strings.Contains(r.Msg, "somebody else changed it") || !strings.Contains(b.all("felixconfiguration"), "9999") {
		t.Errorf("the same field: %+v", r)
	}
	pool := v3("IPPool", "made", map[string]any{"cidr": "10.7.0.0/16"})
	raw, _ := json.Marshal(v3("IPPool", "made", map[string]any{"cidr": "10.8.0.0/16"}))
	r = b.run("calico_resource", tasks.Options{Recorder: meddling{b.journal(), func() { b.ctl(string(raw), "create", "-f", "-") }}}, map[string]any{"definition": pool})
	if !r.Failed || r.Kind != tasks.Refused {
		t.Errorf("made at the same time: %+v", r)
	}
}

// TestCalicoCuts cuts the module at every point and takes back what it did until then.
func TestCalicoCuts(t *testing.T) {
	b := newCalicoBed(t)
	b.operatorsObjects()
	before := b.all(calicoKinds...)
	for _, c := range calicoCases {
		if c.name == "felix" || c.name == "policy gone" { // as node and gone
			continue
		}
		for at, cut := 1, true; cut; at++ {
			steps := 0
			cut = b.cutRun(c.args, func(point string) {
				if steps++; steps == at {
					panic(tasks.Cut{Point: point})
				}
			})
			if report := b.undo(false); !report.OK() || b.all(calicoKinds...) != before {
				t.Fatalf("%s, cut at point %d: %+v\n%s\nbefore it was\n%s", c.name, at, report, b.all(calicoKinds...), before)
			}
		}
	}
}

// cutRun runs the module and tells whether it was cut.
func (b *calicoBed) cutRun(args map[string]any, step func(string)) (cut bool) {
	b.Helper()
	defer func() {
		if p := recover(); p != nil {
			if _, cut = p.(tasks.Cut); !cut {
				panic(p)
			}
		}
	}()
	b.journal()
	if r := b.run("calico_resource", tasks.Options{Step: step}, args); r.Failed {
		b.Fatalf("%+v", r)
	}
	return false
}

func TestCalicoInfoAndMistakes(t *testing.T) {
	b := newCalicoBed(t)
	b.operatorsObjects()
	info := func(args map[string]any) []any {
		r := b.run("calico_resource_info", tasks.Options{}, args)
		if r.Failed || r.Changed {
			t.Fatalf("%+v", r)
		}
		return r.Values["resources"].([]any)
	}
	if got := info(map[string]any{"kind": "IPPool"}); len(got) != 1 || got[0].(map[string]any)["spec"].(map[string]any)["cidr"] != "10.6.0.0/16" {
		t.Errorf("pools: %v", got)
	}
	if got := info(map[string]any{"kind": "IPPool", "name": "none"}); len(got) != 0 {
		t.Errorf("no pool: %v", got)
	}
	if got := info(map[string]any{"kind": "NetworkPolicy", "name": "p", "namespace": "default"}); len(got) != 1 {
		t.Errorf("policy: %v", got)
	}
	b.clusterIs("v3.1.0")
	if got := info(map[string]any{"kind": "IPPool"}); len(got) != 1 {
		t.Errorf("pools of a cluster of another version: %v", got)
	}
	b.clusterIs("")
	b.ctl(`{"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy", "metadata": {"name": "q", "namespace": "other"}, "spec": {"selector": "all()"}}`, "create", "-f", "-")
	if got := info(map[string]any{"kind": "NetworkPolicy", "all_namespaces": true}); len(got) != 2 {
		t.Errorf("policies of every namespace: %v", got)
	}
	if got := info(map[string]any{"kind": "NetworkPolicy", "namespace": "other"}); len(got) != 1 || got[0].(map[string]any)["metadata"].(map[string]any)["name"] != "q" {
		t.Errorf("policies of a namespace: %v", got)
	}
	for want, args := range map[string]map[string]any{
		"has no kind":                      {"definition": map[string]any{"apiVersion": "v1"}},
		"it is projectcalico.org/v3, or v": {"definition": map[string]any{"apiVersion": "v2", "kind": "IPPool"}},
		"no name in its metadata":          {"definition": map[string]any{"apiVersion": "v1", "kind": "node"}},
		"is no object with apiVersion":     {"definition": []any{"x"}},
		"always has a value":               {"definition": map[string]any{"apiVersion": "v1", "kind": "bgpConfig", "spec": map[string]any{"asNumber": nil}}},
		"cidr":                             {"definition": v3("IPPool", "bad", map[string]any{"cidr": "nonsense"})},
		"not supported":                    {"definition": v3("IPPol", "bad", map[string]any{"cidr": "10.0.0.0/16"})},
	} {
		if r := b.run("calico_resource", tasks.Options{}, args); !r.Failed || !strings.Contains(strings.ToLower(r.Msg), want) && !strings.Contains(r.Msg, want) {
			t.Errorf("%v: %+v, want %q", args, r, want)
		}
	}
	for _, args := range []map[string]any{{"kind": "IPPool"}, {"kind": "IPPool", "name": "old"}} {
		b.configure(`{datastoreType: etcdv3, etcdEndpoints: "http://127.0.0.1:1"}`)
		args["timeout"] = 1
		if r := b.run("calico_resource_info", tasks.Options{}, args); !r.Failed || r.Values["resources"] != nil || !strings.Contains(r.Msg, "did not answer within 1s") {
			t.Errorf("nobody answers for %v: %+v", args, r)
		}
	}
	b.config += ".missing"
	if r := b.run("calico_resource", tasks.Options{}, map[string]any{"kind": "IPPool", "name": "x", "state": "absent"}); !r.Failed || !strings.Contains(r.Msg, "does not know the datastore") {
		t.Errorf("without a file: %+v", r)
	}
}

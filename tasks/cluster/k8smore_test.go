package cluster_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/calroll/calroll/tasks"
)

func resultsOf(t *testing.T, r tasks.Result) []map[string]any {
	t.Helper()
	one, _ := r.Values["result"].(map[string]any)
	list, _ := one["results"].([]any)
	out := make([]map[string]any, len(list))
	for i := range list {
		out[i] = list[i].(map[string]any)
	}
	return out
}

// widgets is a custom resource, before its definition, in the order in which nobody could apply it.
const widgets = `
apiVersion: example.org/v1
kind: Widget
metadata: {name: w, namespace: wid}
spec: {size: 3}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.org}
spec:
  group: example.org
  scope: Namespaced
  names: {kind: Widget, plural: widgets, singular: widget, shortNames: [wd]}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
---
apiVersion: v1
kind: Namespace
metadata: {name: wid}
`

func listsAndCustomResources(b *kubeBed) {
	if r := b.try(how{check: true}, "k8s", b.apply(widgets)); r.Failed || !r.Changed {
		b.Errorf("check mode: %+v", r)
	}
	r := b.run("k8s", b.apply(widgets))
	results := resultsOf(b.T, r)
	if !r.Changed || len(results) != 3 || results[0]["result"].(map[string]any)["kind"] != "Widget" || results[2]["changed"] != true {
		b.Fatalf("%+v", r)
	}
	if r := b.run("k8s", b.apply(widgets)); r.Changed {
		b.Errorf("again: %+v", r)
	}
	if r := b.run("k8s_info", map[string]any{"kind": "wd", "api_version": "example.org/v1", "namespace": "wid"}); len(r.Values["resources"].([]any)) != 1 {
		b.Errorf("by its short name: %+v", r)
	}
	gone := map[string]any{"state": "absent", "definition": widgets, "wait": true, "wait_sleep": 1}
	if r := b.run("k8s", gone); !r.Changed {
		b.Errorf("absent: %+v", r)
	}
	if r := b.run("k8s", gone); r.Changed || r.Failed {
		b.Errorf("absent again: %+v", r)
	}
	b.run("k8s", b.apply(widgets))
	r = b.run("k8s", map[string]any{"state": "absent", "api_version": "apiextensions.k8s.io/v1", "kind": crd, "name": "widgets.example.org"})
	if !r.Changed || !strings.Contains(strings.Join(r.Warnings, " "), "its 1 objects too") {
		b.Errorf("absent with contents: %+v", r)
	}
	b.undone()
	if got := b.kubectl("get", "crd,namespaces", "-o", "name"); strings.Contains(got, "widgets") || strings.Contains(got, "wid") {
		b.Errorf("after the undo: %s", got)
	}
}

const crd = "CustomResourceDefinition"

func cascadeComesBack(b *kubeBed) {
	b.kubectl("create", "namespace", "casc")
	b.kubectl("-n", "casc", "create", "configmap", "c", "--from-literal=k=v")
	b.kubectl("-n", "casc", "create", "secret", "generic", "s", "--from-literal=k=v")
	r := b.run("k8s", map[string]any{"state": "absent", "kind": "Namespace", "name": "casc", "wait": true, "wait_sleep": 1})
	if !r.Changed || !strings.Contains(strings.Join(r.Warnings, " "), "2 objects") {
		b.Errorf("%+v", r)
	}
	b.undone()
	if got := b.kubectl("-n", "casc", "get", "configmap/c", "secret/s", "-o", "jsonpath={.items[*].data}"); got != `{"k":"v"} {"k":"dg=="}` {
		b.Errorf("after the undo: %s", got)
	}
}

// passingStaysAway: a namespace that the run made and deleted does not come back for the time of the undo, nor does what others had put into it.
func passingStaysAway(b *kubeBed) {
	b.run("k8s", b.apply("{apiVersion: v1, kind: Namespace, metadata: {name: passing, labels: {app.kubernetes.io/managed-by: calroll}}}"))
	b.run("k8s", b.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: ours, namespace: passing, labels: {app.kubernetes.io/managed-by: calroll}}, data: {k: v}}"))
	gone := map[string]any{"state": "absent", "kind": "Namespace", "name": "passing", "wait": true, "wait_sleep": 1}
	if r := b.try(how{check: true}, "k8s", gone); len(r.Warnings) > 0 {
		b.Errorf("it warns of what calroll made itself: %v", r.Warnings)
	}
	b.kubectl("-n", "passing", "create", "configmap", "theirs", "--from-literal=k=v")
	if r := b.run("k8s", gone); !strings.Contains(strings.Join(r.Warnings, " "), "the 1 objects in it") {
		b.Errorf("it does not warn of what others made: %+v", r)
	}
	report := b.undo(false)
	for _, i := range report.Items {
		if i.Outcome == tasks.Restored {
			b.Errorf("%s came back, or went", i.Key)
		}
	}
	if !report.OK() || len(report.Items) != 5 {
		b.Errorf("the undo came to %+v", report)
	}
}

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: %s, namespace: default}
spec:
  replicas: %d
  selector: {matchLabels: {app: %s}}
  template:
    metadata: {labels: {app: %[3]s}}
    spec: {containers: [{name: c, image: nothing}]}
`

func selectors(b *kubeBed) {
	b.kubectl("create", "deployment", "sel", "--image=old", "--replicas=0")
	before := b.kubectl("get", "deployment", "sel", "-o", "jsonpath={.spec}")
	text := fmt.Sprintf(deployment, "sel", 0, "other")
	if r := b.try(how{check: true}, "k8s", b.apply(text)); !r.Changed || r.Failed {
		b.Errorf("check mode: %+v", r)
	}
	if r := b.run("k8s", b.apply(text)); !r.Changed || r.Values["method"] != "replace" {
		b.Errorf("%+v", r)
	}
	if r := b.run("k8s", b.apply(text)); r.Changed {
		b.Errorf("again: %+v", r)
	}
	b.undone()
	if got := b.kubectl("get", "deployment", "sel", "-o", "jsonpath={.spec}"); got != before {
		b.Errorf("after the undo: %s, not %s", got, before)
	}
}

func waits(b *kubeBed) {
	ready := b.apply(fmt.Sprintf(deployment, "waits", 0, "w"))
	ready["wait"], ready["wait_sleep"] = true, 1
	if r := b.run("k8s", ready); r.Values["duration"] == nil {
		b.Errorf("no replicas are ready at once: %+v", r)
	}
	never := b.apply(fmt.Sprintf(deployment, "waits", 1, "w"))
	never["wait"], never["wait_sleep"], never["wait_timeout"] = true, 1, 1
	if r := b.try(how{}, "k8s", never); !r.Failed || !strings.Contains(r.Msg, `"Deployment" "waits": Timed out waiting on resource`) ||
		!strings.Contains(r.Msg, "of 1 pods are new, 0 available") {
		b.Errorf("without a node no pod gets ready: %+v", r)
	}
	condition := map[string]any{"kind": "Deployment", "api_version": "apps/v1", "name": "waits", "namespace": "default", "wait": true, "wait_sleep": 1,
		"wait_timeout": 30, "wait_condition": map[string]any{"type": "Available", "status": "False"}}
	if r := b.run("k8s_info", condition); len(r.Values["resources"].([]any)) != 1 {
		b.Errorf("wait_condition: %+v", r)
	}
	b.undone()
}

const secret = `{apiVersion: v1, kind: Secret, metadata: {name: hush, namespace: default}, stringData: {key: %s}}`

func secretsDoNotShow(b *kubeBed) {
	b.run("k8s", b.apply(fmt.Sprintf(secret, "first-word")))
	b.journal.Close()
	b.open()
	for _, h := range []how{{check: true, diff: true}, {diff: true}} {
		r := b.try(h, "k8s", b.apply(fmt.Sprintf(secret, "second-word")))
		if r.Failed || !r.Changed || len(r.Diff) != 1 {
			b.Fatalf("%+v", r)
		}
		shown := fmt.Sprintf("%+v", r)
		for _, word := range []string{"first-word", "second-word", "Zmlyc3Qtd29yZA", "c2Vjb25kLXdvcmQ"} {
			if strings.Contains(shown, word) {
				b.Errorf("%s shows: %s", word, shown)
			}
		}
		if !strings.Contains(shown, "(changed)") {
			b.Errorf("nothing shows that it changes: %s", shown)
		}
	}
	b.undone()
}

func diffs(b *kubeBed) {
	b.run("k8s", b.apply(configMap))
	r := b.try(how{check: true, diff: true}, "k8s", b.apply(strings.Replace(configMap, `a: "1"`, `a: "9"`, 1)))
	want := []tasks.Diff{{Before: map[string]any{"data": map[string]any{"a": "1"}}, After: map[string]any{"data": map[string]any{"a": "9"}},
		BeforeHeader: "ConfigMap default/one", AfterHeader: "ConfigMap default/one"}}
	if !reflect.DeepEqual(r.Diff, want) {
		b.Errorf("%+v", r.Diff)
	}
	if got := b.kubectl("get", "configmap", "one", "-o", "jsonpath={.data.a}"); got != "1" {
		b.Error("check mode altered")
	}
	b.undone()
}

func conflicts(b *kubeBed) {
	b.run("k8s", b.apply(configMap))
	theirs := strings.Replace(configMap, `a: "1"`, `a: "theirs"`, 1)
	other := b.apply(theirs)
	other["server_side_apply"] = map[string]any{"field_manager": "somebody"}
	if r := b.try(how{}, "k8s", other); !r.Failed || !strings.Contains(r.Msg, `conflict with "calroll"`) || !strings.Contains(r.Msg, "take_over=true") {
		b.Errorf("%+v", r)
	}
	other["server_side_apply"] = map[string]any{"field_manager": "somebody", "force_conflicts": true}
	if r := b.run("k8s", other); !r.Changed {
		b.Errorf("forced: %+v", r)
	}
	b.undone()
}

// foreignStays: what others add besides stays, what they change of ours is refused by name.
func foreignStays(b *kubeBed) {
	b.kubectl("create", "configmap", "theirs", "--from-literal=a=old")
	force := b.apply(strings.Replace(configMap, "name: one", "name: theirs", 1))
	force["server_side_apply"] = map[string]any{"field_manager": "calroll", "force_conflicts": true}
	b.run("k8s", force)
	b.run("k8s", b.apply(strings.Replace(configMap, "name: one", "name: ours", 1)))
	b.kubectl("annotate", "configmap", "theirs", "note=mine")
	b.kubectl("patch", "configmap", "ours", "-p", `{"data":{"a":"meddled"}}`)
	report := b.undo(false)
	if p := report.Problems(); len(p) != 1 || !strings.Contains(p[0].Key, "ConfigMap default/ours") || p[0].Outcome != tasks.Foreign {
		b.Errorf("%+v", p)
	}
	if got := b.kubectl("get", "configmap", "theirs", "-o", "jsonpath={.data} {.metadata.annotations} {.metadata.labels}"); got != `{"a":"old"} {"note":"mine"}` {
		b.Errorf("theirs: %s", got)
	}
	if report := b.undo(true); !report.OK() {
		b.Errorf("forced: %+v", report)
	}
	if got := b.kubectl("get", "configmaps", "-o", "name"); strings.Contains(got, "ours") {
		b.Errorf("forced: %s", got)
	}
	b.kubectl("delete", "configmap", "theirs")
}

// ownershipReturns shows that after an undo the one who owned a field may apply it again without a conflict.
func ownershipReturns(b *kubeBed) {
	other := b.apply(configMap)
	other["server_side_apply"] = map[string]any{"field_manager": "somebody"}
	b.run("k8s", other)
	b.journal.Close()
	b.dir += "2"
	b.open()
	ours := b.apply(strings.Replace(configMap, `a: "1"`, `a: "7"`, 1))
	ours["server_side_apply"] = map[string]any{"field_manager": "calroll", "force_conflicts": true}
	b.run("k8s", ours)
	b.undone()
	if got := b.kubectl("get", "configmap", "one", "--show-managed-fields", "-o", "jsonpath={.metadata.managedFields[*].manager}"); got != "somebody" {
		b.Errorf("owners: %s", got)
	}
	b.kubectl("delete", "configmap", "one")
}

// plain are the other ways than server-side apply.
func plain(b *kubeBed) {
	for _, step := range []struct {
		args    string
		changed bool
		method  string
	}{
		{`{"kind":"ConfigMap","name":"p","namespace":"default","definition":{"data":{"a":"1","b":"1"}}}`, true, "create"},
		{`{"kind":"ConfigMap","name":"p","namespace":"default","definition":{"data":{"a":"1"}}}`, false, "update"},
		{`{"kind":"ConfigMap","name":"p","namespace":"default","definition":{"data":{"a":"2"}}}`, true, "update"},
		{`{"kind":"ConfigMap","name":"p","namespace":"default","force":true,"definition":{"data":{"a":"2"}}}`, true, "replace"},
		{`{"kind":"ConfigMap","name":"p","namespace":"default","apply":true,"definition":{"data":{"a":"2","c":"1"}}}`, true, "apply"},
		{`{"kind":"ConfigMap","name":"p","namespace":"default","apply":true,"definition":{"data":{"a":"2","c":"1"}}}`, false, "apply"},
		{`{"kind":"ConfigMap","name":"p","namespace":"default","apply":true,"definition":{"data":{"a":"3"}}}`, true, "apply"},
		{`{"kind":"ConfigMap","name":"none","namespace":"default","state":"patched","definition":{"data":{"a":"3"}}}`, false, ""},
		{`{"kind":"ConfigMap","name":"p","namespace":"default","state":"absent"}`, true, "delete"},
		{`{"kind":"ConfigMap","name":"p","namespace":"default","state":"absent"}`, false, "delete"},
		{`{"kind":"ConfigMap","generate_name":"gen-","namespace":"default","definition":{"metadata":{"labels":{"gen":"yes"}}}}`, true, "create"},
		{`{"kind":"ConfigMap","namespace":"default","state":"absent","label_selectors":["gen=yes"]}`, true, "delete"},
	} {
		checked := b.try(how{check: true}, "k8s", args(b.T, step.args))
		r := b.run("k8s", args(b.T, step.args))
		method, _ := r.Values["method"].(string)
		if r.Changed != step.changed || checked.Changed != r.Changed || method != step.method {
			b.Errorf("%s: %+v (check mode: %+v)", step.args, r, checked)
		}
		if step.method == "apply" && strings.Contains(step.args, `"3"`) {
			if got := b.kubectl("get", "configmap", "p", "-o", "jsonpath={.data}"); got != `{"a":"3"}` {
				b.Errorf("what the last apply had and this one has not stays: %s", got)
			}
		}
	}
	b.undone()
	if got := b.kubectl("get", "configmaps", "-o", "name"); strings.Contains(got, "gen-") || strings.Contains(got, "/p") {
		b.Errorf("after the undo: %s", got)
	}
}

func errorsSayWhy(b *kubeBed) {
	for text, want := range map[string]string{
		`{"kind":"Nothing","name":"x","namespace":"default"}`:                                          "Failed to find exact match for v1.Nothing",
		`{"kind":"ConfigMap","name":"x"}`:                                                              "Namespace is required for v1.ConfigMap",
		`{"kind":"ConfigMap","name":"x","namespace":"nowhere"}`:                                        `namespaces "nowhere" not found`,
		`{"definition":"{kind: ["}`:                                                                    "document 1 of the definition",
		`{"kind":"ConfigMap","name":"x","namespace":"default","kubeconfig":"/nonexistent/kubeconfig"}`: "/nonexistent/kubeconfig",
		`{"kind":"ConfigMap","name":"x","namespace":"default","definition":{"data":[1]}}`:              "create ConfigMap default/x",
		`{"kind":"ConfigMap","name":"x","namespace":"default","kubeconfig":{"users":"secret-word"}}`:   "it is no kubeconfig",
	} {
		r := b.try(how{}, "k8s", args(b.T, text))
		if !r.Failed || !strings.Contains(r.Msg, want) || strings.Contains(r.Msg, "secret-word") {
			b.Errorf("%s: %+v", text, r)
		}
	}
	on := b.apply(`[{kind: Nothing, metadata: {name: x}}, {apiVersion: v1, kind: Namespace, metadata: {name: goes-on}}]`)
	on["definition"] = []any{map[string]any{"kind": "Nothing", "metadata": map[string]any{"name": "x"}}, map[string]any{"kind": "Namespace", "metadata": map[string]any{"name": "goes-on"}}}
	on["continue_on_error"] = true
	r := b.run("k8s", on)
	if results := resultsOf(b.T, r); len(results) != 2 || results[0]["error"] == nil || results[1]["changed"] != true {
		b.Errorf("%+v", r)
	}
	b.undone()
}

func clusterInfo(b *kubeBed) {
	r := b.run("k8s_cluster_info", args(b.T, `{"prefer":{"Deployment":["extensions/v1beta1","apps/v1"],"Nothing":["v1"]}}`))
	apis := r.Values["apis"].(map[string]any)
	if apis["apps/v1"].(map[string]any)["Deployment"].(map[string]any)["name"] != "deployments" {
		b.Errorf("%+v", apis["apps/v1"])
	}
	if got := fmt.Sprint(r.Values["api_versions"]); got != "map[Deployment:apps/v1]" {
		b.Errorf("api_versions: %s", got)
	}
	version := r.Values["version"].(map[string]any)["server"].(map[string]any)["kubernetes"].(map[string]any)
	if version["major"] != "1" {
		b.Errorf("%v", version)
	}
}

func canI(b *kubeBed) {
	for text, want := range map[string]bool{
		`{"verb":"create","resource":"daemonsets","group":"apps"}`:                                 true,
		`{"verb":"create","resource":"daemonsets","group":"apps","user":"nobody"}`:                 false,
		`{"verb":"get","non_resource_url":"/healthz","user":"nobody","groups":["system:masters"]}`: true,
	} {
		if r := b.run("k8s_can_i", args(b.T, text)); r.Values["allowed"] != want || r.Changed {
			b.Errorf("%s: %+v", text, r)
		}
	}
}

// node makes a node object and pods on it; no kubelet is behind them.
func (b *kubeBed) node(name string) {
	b.Helper()
	b.run("k8s", map[string]any{"definition": fmt.Sprintf(`
{apiVersion: v1, kind: Node, metadata: {name: %[1]s}}
---
{apiVersion: v1, kind: Pod, metadata: {name: %[1]s-bare, namespace: default, labels: {on: %[1]s}}, spec: {nodeName: %[1]s, terminationGracePeriodSeconds: 0, automountServiceAccountToken: false, containers: [{name: c, image: nothing}]}}
`, name)})
	b.journal.Close()
	b.dir += "2" // what made them is not to be undone
	b.open()
}

func drains(b *kubeBed) {
	b.node("n1")
	if r := b.try(how{}, "k8s_drain", args(b.T, `{"name":"n1"}`)); !r.Failed || !strings.Contains(r.Msg, "default/n1-bare") {
		b.Errorf("a bare pod: %+v", r)
	}
	if got := b.kubectl("get", "node", "n1", "-o", "jsonpath={.spec.unschedulable}"); got != "" {
		b.Error("the node is cordoned although its pods may not go")
	}
	drain := `{"name":"n1","delete_options":{"force":true,"terminate_grace_period":0,"wait_timeout":60,"wait_sleep":1}}`
	if r := b.try(how{check: true}, "k8s_drain", args(b.T, drain)); !r.Changed || r.Failed {
		b.Errorf("check mode: %+v", r)
	}
	if r := b.run("k8s_drain", args(b.T, drain)); !r.Changed || r.Values["result"] != "node n1 marked unschedulable. 1 Pod(s) deleted from node." {
		b.Errorf("%+v", r)
	}
	if r := b.run("k8s_drain", args(b.T, drain)); r.Changed || r.Values["result"] != "node n1 already marked unschedulable." {
		b.Errorf("again: %+v", r)
	}
	if got := b.kubectl("get", "node", "n1", "-o", `jsonpath={.metadata.annotations.calroll\.io/cordoned-by}`); got != "calroll" {
		b.Errorf("mark: %q", got)
	}
	if got := b.kubectl("get", "pods", "-o", "name"); strings.Contains(got, "n1-bare") {
		b.Errorf("pods: %s", got)
	}
	b.undone()
	if got := b.kubectl("get", "node", "n1", "-o", `jsonpath={.spec.unschedulable}{.metadata.annotations.calroll\.io/cordoned-by}`); got != "" {
		b.Errorf("after the undo: %s", got)
	}
	if got := b.kubectl("get", "pods", "-o", "name"); !strings.Contains(got, "n1-bare") {
		b.Errorf("after the undo: %s", got)
	}
	b.kubectl("delete", "pod", "n1-bare", "--force", "--grace-period=0")
	b.kubectl("delete", "node", "n1")
}

func cordonOfOthersStays(b *kubeBed) {
	b.node("n2")
	b.kubectl("cordon", "n2")
	if r := b.run("k8s_drain", args(b.T, `{"name":"n2","state":"cordon"}`)); r.Changed {
		b.Errorf("%+v", r)
	}
	if r := b.run("k8s_drain", args(b.T, `{"name":"n2","state":"uncordon","only_marked":true}`)); r.Changed {
		b.Errorf("%+v", r)
	}
	b.undone()
	if got := b.kubectl("get", "node", "n2", "-o", "jsonpath={.spec.unschedulable}"); got != "true" {
		b.Error("an undo uncordoned what somebody else cordoned")
	}
	b.kubectl("delete", "pod", "n2-bare", "--force", "--grace-period=0")
	b.kubectl("delete", "node", "n2")
}

package cluster_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/calroll/calroll/testenv/kube"
)

// oldBed is a bed whose API behaves as one of an early release.
type oldBed struct {
	*kubeBed
	mu     sync.Mutex
	writes []string
}

// wrote are the writes since the last time.
func (b *oldBed) wrote() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() { b.writes = nil }()
	return b.writes
}

// wants runs k8s, first in check mode, and demands these writes and no others; no write means no change.
func (b *oldBed) wants(args map[string]any, writes ...string) {
	b.Helper()
	checked := b.try(how{check: true}, "k8s", args)
	if got := b.wrote(); len(got) > 0 || checked.Failed || checked.Changed != (len(writes) > 0) {
		b.Errorf("check mode wrote %q, want %q later: %+v", got, writes, checked)
	}
	r := b.run("k8s", args)
	if got := b.wrote(); !slices.Equal(got, writes) || r.Changed != (len(writes) > 0) {
		b.Errorf("it wrote %q, want %q: %+v", got, writes, r.Values)
	}
}

// state is an object as its server keeps it, without what every write changes.
func (b *oldBed) state(what ...string) string {
	b.Helper()
	return b.kubectl(append([]string{"get", "-o", "jsonpath={.metadata.labels}{.metadata.annotations}{.spec}{.data}"}, what...)...)
}

// TestK8sOnOldServers: what the server cannot say without doing it is worked out, in releases that carry a dry run out, that refuse it, and that have
// no server-side apply. The API behind them is real; what is old about it is in kube.Old.
func TestK8sOnOldServers(t *testing.T) {
	api := kube.APIForTest(t, kube.APIOptions{})
	for _, minor := range []int{9, 12, 15} {
		b := &oldBed{}
		old, err := api.Old(minor, func(method, path string) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.writes = append(b.writes, method+" "+path[strings.LastIndex(path, "/")+1:])
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = old.Stop() })
		put := "PUT " // a server that says what would be is asked to patch
		if minor >= 13 {
			put = "PATCH "
		}
		for name, test := range map[string]func(*oldBed, string){"apply": oldApply, "patch": oldPatch, "custom": oldCustom, "others": oldOthers, "race": oldRace, "cut": oldCut} {
			t.Run(fmt.Sprintf("1.%d, %s", minor, name), func(t *testing.T) {
				b.kubeBed = (&kubeBed{T: t, api: api, config: old.Kubeconfig}).fresh(t)
				test(b, put)
			})
		}
	}
}

// deploymentOf is a Deployment with some things that a server writes in another way than they were given.
func deploymentOf(image, env string) string {
	return `
apiVersion: apps/v1
kind: Deployment
metadata: {name: one, namespace: default, labels: {app: one}}
spec:
  replicas: 1
  selector: {matchLabels: {app: one}}
  template:
    metadata: {labels: {app: one}}
    spec:
      hostNetwork: false
      nodeSelector: {}
      containers:
        - {name: one, image: "` + image + `", resources: {limits: {cpu: 1000m}}, env: [` + env + `]}
`
}

func oldApply(b *oldBed, put string) {
	first := b.apply(deploymentOf("example.com/one:1", "{name: A, value: a}, {name: B, value: b}"))
	b.wants(first, "POST deployments")
	b.wants(first)
	b.kubectl("set", "env", "deployment/one", "OTHER=x")
	b.kubectl("label", "deployment", "one", "theirs=y")
	was := b.state("deployment", "one")
	b.undoneLater(func() {
		b.wants(b.apply(deploymentOf("example.com/one:2", "{name: A, value: c}")), put+"one")
		now := b.kubectl("get", "deployment", "one", "-o", "jsonpath={.metadata.labels}{.spec}")
		for word, want := range map[string]bool{`"image":"example.com/one:2"`: true, `"value":"c"`: true, `"name":"B"`: false, `"theirs":"y"`: true} {
			if strings.Contains(now, word) != want {
				b.Errorf("%s is there: %t, in %s", word, !want, now)
			}
		}
		b.wants(b.apply(deploymentOf("example.com/one:2", "{name: A, value: c}")))
	})
	if got := b.state("deployment", "one"); got != was {
		b.Errorf("after the undo it is\n%s\nand was\n%s", got, was)
	}
	b.kubectl("delete", "deployment", "one", "--wait")
}

// undoneLater does something as a run of its own and takes it back.
func (b *oldBed) undoneLater(work func()) {
	b.Helper()
	outer := b.kubeBed
	b.kubeBed = outer.fresh(b.T)
	work()
	b.undone()
	b.kubeBed = outer
	b.wrote()
}

func oldPatch(b *oldBed, put string) {
	b.kubectl("create", "configmap", "two", "--from-literal=a=1", "--from-literal=b=2")
	b.kubectl("create", "deployment", "two", "--image=example.com/two:1")
	maps, deployment := b.state("configmap", "two"), b.state("deployment", "two")
	b.undoneLater(func() {
		change := map[string]any{"state": "patched", "definition": "{apiVersion: v1, kind: ConfigMap, metadata: {name: two, namespace: default}, data: {a: null, c: \"3\"}}"}
		b.wants(change, put+"two")
		b.wants(change)
		if got := b.state("configmap", "two"); got != `{"b":"2","c":"3"}` {
			b.Errorf("the map is %s", got)
		}
		// A list is merged by the names of its elements.
		sidecar := map[string]any{"definition": "{apiVersion: apps/v1, kind: Deployment, metadata: {name: two, namespace: default}, spec: {template: {spec: {containers: [{name: side, image: example.com/side:1}]}}}}"}
		b.wants(sidecar, put+"two")
		b.wants(sidecar)
		if got := b.state("deployment", "two"); !strings.Contains(got, "example.com/side:1") || !strings.Contains(got, "example.com/two:1") {
			b.Errorf("the Deployment is %s", got)
		}
		b.wants(map[string]any{"state": "patched", "definition": "{apiVersion: v1, kind: ConfigMap, metadata: {name: none, namespace: default}, data: {a: x}}"})
		b.wants(map[string]any{"force": true, "definition": "{apiVersion: v1, kind: ConfigMap, metadata: {name: two, namespace: default}, data: {d: \"4\"}}"}, "PUT two")
		if got := b.state("configmap", "two"); got != `{"d":"4"}` {
			b.Errorf("the replaced map is %s", got)
		}
		b.wants(map[string]any{"state": "absent", "kind": "ConfigMap", "name": "two", "namespace": "default"}, "DELETE two")
	})
	if got := b.state("configmap", "two"); got != maps {
		b.Errorf("after the undo the map is %s, and was %s", got, maps)
	}
	if got := b.state("deployment", "two"); got != deployment {
		b.Errorf("after the undo the Deployment is\n%s\nand was\n%s", got, deployment)
	}
	b.kubectl("delete", "configmap/two", "deployment/two")
}

const thing = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  scope: Cluster
  names: {plural: things, singular: thing, kind: Thing, listKind: ThingList}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`

func oldCustom(b *oldBed, put string) {
	b.wants(b.apply(thing), "POST customresourcedefinitions")
	b.wants(b.apply(thing))
	one := func(spec string) map[string]any {
		return b.apply("{apiVersion: example.com/v1, kind: Thing, metadata: {name: t}, spec: " + spec + "}")
	}
	b.wants(one("{a: 1, b: [x]}"), "POST things")
	b.wants(one("{a: 1, b: [x]}"))
	b.wants(one("{b: [x, z]}"), put+"t")
	if got := b.kubectl("get", "thing", "t", "-o", "jsonpath={.spec}"); got != `{"b":["x","z"]}` {
		b.Errorf("the thing is %s", got)
	}
	b.undone()
	if got := b.kubectl("get", "crd", "-o", "name"); got != "" {
		b.Errorf("there is %s", got)
	}
}

// oldRace: what somebody else writes between the reading and the writing is not lost.
func oldRace(b *oldBed, _ string) {
	b.kubectl("create", "configmap", "raced", "--from-literal=a=1")
	b.step = func(string) {
		b.step = nil
		b.kubectl("patch", "configmap", "raced", "-p", `{"data": {"b": "theirs"}}`)
	}
	b.run("k8s", b.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: raced, namespace: default}, data: {a: \"2\"}}"))
	if got := b.kubectl("get", "configmap", "raced", "-o", "jsonpath={.data}"); got != `{"a":"2","b":"theirs"}` || b.step != nil {
		b.Errorf("the map is %s", got)
	}
	b.undone()
	if got := b.kubectl("get", "configmap", "raced", "-o", "jsonpath={.data}"); got != `{"a":"1","b":"theirs"}` {
		b.Errorf("after the undo the map is %s", got)
	}
	b.kubectl("delete", "configmap", "raced")
	b.wrote()
}

func oldCut(b *oldBed, _ string) {
	cutAnywhere(b.kubeBed)
	b.wrote()
}

// oldOthers: a rollback refuses what somebody else changed since, and takes the rest back.
func oldOthers(b *oldBed, _ string) {
	for _, name := range []string{"mine", "theirs"} {
		b.run("k8s", b.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: "+name+", namespace: default}, data: {a: x}}"))
	}
	b.kubectl("patch", "configmap", "theirs", "-p", `{"data": {"a": "y"}}`)
	b.kubectl("patch", "configmap", "mine", "-p", `{"data": {"b": "z"}}`)
	report := b.undo(false)
	if report.OK() || !strings.Contains(fmt.Sprint(report.Problems()), "theirs") {
		b.Errorf("it takes back what somebody else wrote: %+v", report)
	}
	if got := b.kubectl("get", "configmap", "-o", "name"); got != "configmap/theirs" {
		b.Errorf("there is %s", got)
	}
	b.kubectl("delete", "configmap", "theirs")
	b.wrote()
}

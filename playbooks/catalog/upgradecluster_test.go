package catalog_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/testenv/artifacts"
	"github.com/calroll/calroll/testenv/kube"
	"github.com/calroll/calroll/testenv/site"
)

// The releases that a cluster goes between.
var opsTo, opsFrom = site.Versions[0], site.Versions[1]

// opsWork are pods that stay where they are, one on each node, and pods that a drain moves, one after the other.
const opsWork = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: probe, namespace: default}
spec:
  selector: {matchLabels: {app: probe}}
  template:
    metadata: {labels: {app: probe}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: pod, image: IMAGE, imagePullPolicy: Never}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: pod, image: IMAGE, imagePullPolicy: Never}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: default}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
`

// apply makes objects, whose pods have the image of all pods here.
func (h *hosted) apply(objects string) {
	h.Helper()
	if err := h.cluster.Apply(h.Context(), strings.ReplaceAll(objects, "IMAGE", artifacts.ImageTag(artifacts.PodImage, ""))); err != nil {
		h.Fatal(err)
	}
}

// says demands words of a run.
func (h *hosted) says(o outcome, words ...string) {
	h.Helper()
	for _, want := range words {
		if !strings.Contains(o.text, want) {
			h.Errorf("the run does not say %q:\n%s", want, o.text)
		}
	}
}

// opsTyphaBack is said when Typha does not get on with the nodes.
const opsTyphaBack = "TASK [calico_roll : Put Typha back until the nodes have changed]"

// probes are the addresses of pods that stay on their nodes, by node, each of which keeps asking the others.
type probes map[string]string

// works starts the pods, and has them begin to ask.
func (h *hosted) works() probes {
	h.Helper()
	h.apply(opsWork)
	h.kubectl("rollout", "status", "daemonset/probe", "--timeout", "3m")
	h.kubectl("rollout", "status", "deployment/web", "--timeout", "3m")
	return h.probe()
}

// probe has the pods begin to ask. A request is lost that finds no connection in five seconds of its process, or no answer in twenty-five; hosts share a busy machine.
func (h *hosted) probe() probes {
	h.Helper()
	p := probes{}
	for line := range strings.Lines(h.kubectl("get", "pods", "-l", "app=probe", "-o", `jsonpath={range .items[*]}{.spec.nodeName} {.status.podIP}{"\n"}{end}`)) {
		node, address, _ := strings.Cut(strings.TrimSpace(line), " ")
		p[node] = address
	}
	for node, from := range p {
		for other, to := range p {
			if other != node {
				h.ask(node, from, "keep?timeout=5s&url=http://"+to+":8080/")
			}
		}
	}
	return p
}

func (h *hosted) ask(node, address, what string) string {
	h.Helper()
	return h.sh(h.lab.Host(node), "curl -fsS --noproxy '*' --max-time 60 'http://"+address+":8080/"+what+"'")
}

// lost are the requests that got no answer since a time, as "node -> URL: why", and how many were sent since the probes began.
func (h *hosted) lost(p probes, since time.Time) (failures []time.Time, why []string, sent int) {
	h.Helper()
	for node, address := range p {
		var all map[string]kube.Kept
		if err := json.Unmarshal([]byte(h.ask(node, address, "report")), &all); err != nil {
			h.Fatal(err)
		}
		for url, kept := range all {
			sent += kept.Sent
			for _, f := range kept.Failures {
				if f.At.After(since) {
					failures, why = append(failures, f.At), append(why, fmt.Sprintf("%s -> %s at %s: %s", node, url, f.At, f.Why))
				}
			}
		}
	}
	return failures, why, sent
}

// nodeImage is the image of calico/node on each node, and when it was started.
func (h *hosted) nodeImages() map[string]string {
	h.Helper()
	all := map[string]string{}
	for line := range strings.Lines(h.kubectl("-n", "kube-system", "get", "pods", "-l", "k8s-app=calico-node", "-o",
		`jsonpath={range .items[*]}{.spec.nodeName} {.spec.containers[0].image} {.metadata.creationTimestamp}{"\n"}{end}`)) {
		node, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		all[node] = rest
	}
	return all
}

// runs demands a release on every node, and that all are Ready and take pods.
func (h *hosted) runsOn(version string) {
	h.Helper()
	for node, image := range h.nodeImages() {
		if !strings.Contains(image, "calico/node:"+version+" ") {
			h.Errorf("%s runs %s, want %s", node, image, version)
		}
	}
	if got := h.kubectl("-n", "kube-system", "get", "deployments", "-o", "jsonpath={.items[*].spec.template.spec.containers[0].image}"); strings.Count(got, ":"+version) != 2 {
		h.Errorf("Typha and the controllers are %s, want %s", got, version)
	}
	if err := h.cluster.WaitReady(h.Context()); err != nil {
		h.Error(err)
	}
	if got := h.kubectl("get", "nodes", "-o", "jsonpath={.items[*].spec.unschedulable}"); strings.TrimSpace(got) != "" {
		h.Errorf("nodes take no pods: %s", got)
	}
	if got := h.kubectl("-n", "kube-system", "get", "daemonset", "calico-node", "-o", "jsonpath={.spec.updateStrategy.type}"); got != "RollingUpdate" {
		h.Errorf("the DaemonSet has the update strategy %s", got)
	}
}

// spoil gives a host what is no Calico under the name of an image, and mend takes that back.
func spoil(image string) string {
	return "set -e\nctr -n k8s.io images tag --force docker.io/" + image + " kept/" + image +
		"\nctr -n k8s.io images tag --force docker.io/" + artifacts.ImageTag(artifacts.PodImage, "") + " docker.io/" + image
}

func mend(image string) string {
	return "ctr -n k8s.io images tag --force kept/" + image + " docker.io/" + image
}

// oneAfterTheOther tells what was lost in all and while each node changed, and demands that it is nothing.
func (h *hosted) oneAfterTheOther(p probes, began time.Time) {
	h.Helper()
	failures, why, sent := h.lost(p, began)
	h.Logf("%d requests were sent, %d lost", sent, len(failures))
	for node, started := range h.nodeImages() {
		at, err := time.Parse(time.RFC3339, started[strings.LastIndex(started, " ")+1:])
		if err != nil {
			h.Fatal(err)
		}
		n := 0
		for _, f := range failures {
			if d := f.Sub(at); d > -5*time.Second && d < 30*time.Second {
				n++
			}
		}
		h.Logf("%d of them while %s changed", n, node)
	}
	for _, w := range why {
		h.Errorf("lost: %s", w)
	}
}

// breaksUpgrade upgrades with a new release that is none on the second node.
func (h *hosted) breaksUpgrade(p probes, settings ...string) {
	h.Helper()
	began, second, image := time.Now(), h.cluster.Nodes()[1], artifacts.ImageTag(artifacts.NodeImage, opsTo)
	h.sh(second, spoil(image))
	o := h.upgrade(exitFailed, append(settings, "-e", "on_error=rollback")...)
	h.sh(second, mend(image))
	h.says(o, "cannot upgrade "+second.Name+" to "+opsTo, "Every node is back at "+opsFrom)
	if strings.Contains(o.text, opsTyphaBack) {
		h.Error("Typha went back before the nodes changed, although it is what it should be")
	}
	h.runsOn(opsFrom)
	h.oneAfterTheOther(p, began)
}

// triedNode is said when pods of a node that has just changed and of others reach each other.
var triedNode = regexp.MustCompile(`(?m)^TASK \[smoke_test : H-11, the servers answer from other nodes\] \*+\n(?:\[WARNING.*\n)*ok: \[(\S+) -> `)

// upgrades rolls the cluster to the newer release.
func (h *hosted) upgrades(p probes, settings ...string) outcome {
	h.Helper()
	began, moved := time.Now(), h.kubectl("get", "pods", "-l", "app=web", "-o", "name")
	o := h.upgrade(exitOK, settings...)
	h.runsOn(opsTo)
	h.oneAfterTheOther(p, began)
	var tried []string
	for _, m := range triedNode.FindAllStringSubmatch(o.text, -1) {
		tried = append(tried, m[1])
	}
	var nodes []string
	for _, n := range h.cluster.Nodes() {
		nodes = append(nodes, n.Name)
	}
	if !slices.Equal(tried, nodes) {
		h.Errorf("the nodes %s were tried with pods, not %s", tried, nodes)
	}
	if now := h.kubectl("get", "pods", "-l", "app=web", "-o", "name"); now == moved {
		h.Error("no pod was moved: nothing was drained")
	}
	return o
}

func (h *hosted) upgrade(code int, settings ...string) outcome {
	h.Helper()
	o := h.carry(code, "upgrade", append(settings, "-e", "to_version="+opsTo)...)
	if testing.Verbose() {
		h.Log(o.text)
	}
	return o
}

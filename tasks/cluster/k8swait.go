package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/calroll/calroll/tasks"
)

// kubeWait are the arguments about waiting.
type kubeWait struct {
	Wait      bool           `arg:"wait,default=false" doc:"wait until the object is ready (Deployment, DaemonSet, StatefulSet, Pod), there, or gone"`
	Sleep     int            `arg:"wait_sleep,default=5" doc:"seconds between looks, at most"`
	Timeout   int            `arg:"wait_timeout,default=120" doc:"seconds to wait at most"`
	Condition *waitCondition `arg:"wait_condition" doc:"wait for a condition of status instead: type, status (True, False, Unknown; True if not given), reason"`
}

type waitCondition struct {
	Type   string `arg:"type"`
	Status any    `arg:"status"`
	Reason string `arg:"reason"`
}

func (w *kubeWait) timeout() time.Duration { return time.Duration(w.Timeout) * time.Second }
func (w *kubeWait) sleep() time.Duration   { return time.Duration(w.Sleep) * time.Second }

// ready tells whether an object is as wait wants it.
type ready func(o *unstructured.Unstructured) bool

func (w *kubeWait) ready(kind string) ready {
	if w.Condition != nil && w.Condition.Type != "" {
		return w.Condition.holds
	}
	switch kind {
	case "Deployment":
		return deploymentReady
	case "DaemonSet":
		return daemonSetReady
	case "StatefulSet":
		return statefulSetReady
	case "Pod":
		return podReady
	case crdKind:
		return (&waitCondition{Type: "Established"}).holds
	}
	return func(o *unstructured.Unstructured) bool { return o != nil }
}

// waitFor waits for an object, and gives it as it is then.
func (w *kubeWait) waitFor(ctx context.Context, k *kube, r resource, d definition, o *unstructured.Unstructured) (*unstructured.Unstructured, *int, error) {
	began, is := time.Now(), w.ready(r.kind)
	err := poll(ctx, w.timeout(), min(w.sleep(), w.timeout()), func() (bool, error) {
		now, err := k.get(ctx, r, d.namespace(), d.name())
		if now != nil {
			o = now
		}
		return err == nil && now != nil && is(now), nil // the API may be away for a moment
	}, fmt.Sprintf("%q %q: Timed out waiting on resource", r.kind, d.name()))
	seconds := int(time.Since(began).Seconds())
	if err != nil {
		err = explainWait(o, err)
	}
	return o, &seconds, err
}

// explainWait adds how far an object's pods are, and the conditions that say why it is not ready.
func explainWait(o *unstructured.Unstructured, err error) error {
	switch o.GetKind() {
	case "Deployment":
		err = fmt.Errorf("%w; %d of %d pods are new, %d available", err, number(o, "status", "updatedReplicas"), number(o, "spec", "replicas"), number(o, "status", "availableReplicas"))
	case "DaemonSet":
		err = fmt.Errorf("%w; %d of %d pods are new, %d available", err, number(o, "status", "updatedNumberScheduled"), number(o, "status", "desiredNumberScheduled"), number(o, "status", "numberAvailable"))
	}
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		m, _ := c.(map[string]any)
		if text, _ := m["message"].(string); text != "" {
			err = fmt.Errorf("%w; %v=%v: %s", err, m["type"], m["status"], text)
		}
	}
	return err
}

// firstPause is the pause after the first look. Most of what is waited for takes less than a second, and wait_sleep is five.
const firstPause = 50 * time.Millisecond

// poll asks until is says yes or fails, or the time is over, which is an error with the text late. It is late by a fifth of what the wait took, and by sleep
// at most.
func poll(ctx context.Context, limit, sleep time.Duration, is func() (bool, error), late string) error {
	began := time.Now()
	for {
		ok, err := is()
		if ok || err != nil {
			return err
		}
		waited := time.Since(began)
		if waited >= limit {
			return &tasks.Error{Kind: tasks.Failed, Detail: late}
		}
		timer := time.NewTimer(max(min(waited/5, sleep), firstPause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return &tasks.Error{Kind: tasks.Canceled, Op: "wait", Err: context.Cause(ctx)}
		}
	}
}

// number is an integer field, 0 where it is not there.
func number(o *unstructured.Unstructured, path ...string) int64 {
	n, _, _ := unstructured.NestedInt64(o.Object, path...)
	return n
}

func observed(o *unstructured.Unstructured) bool {
	return number(o, "status", "observedGeneration") == o.GetGeneration()
}

func deploymentReady(o *unstructured.Unstructured) bool {
	replicas := number(o, "status", "replicas")
	return observed(o) && number(o, "spec", "replicas") == replicas && number(o, "status", "availableReplicas") == replicas &&
		(replicas == 0 || number(o, "status", "updatedReplicas") == replicas) && number(o, "status", "unavailableReplicas") == 0
}

func daemonSetReady(o *unstructured.Unstructured) bool {
	desired, ok, _ := unstructured.NestedInt64(o.Object, "status", "desiredNumberScheduled")
	return ok && observed(o) && number(o, "status", "updatedNumberScheduled") == desired && number(o, "status", "numberReady") == desired &&
		number(o, "status", "numberUnavailable") == 0
}

func statefulSetReady(o *unstructured.Unstructured) bool {
	strategy, _, _ := unstructured.NestedString(o.Object, "spec", "updateStrategy", "type")
	update, _, _ := unstructured.NestedString(o.Object, "status", "updateRevision")
	current, _, _ := unstructured.NestedString(o.Object, "status", "currentRevision")
	want := number(o, "spec", "replicas")
	return strategy == "RollingUpdate" && observed(o) && update == current && number(o, "status", "updatedReplicas") == want &&
		number(o, "status", "readyReplicas") == want && number(o, "status", "replicas") == want
}

func podReady(o *unstructured.Unstructured) bool {
	containers, ok, _ := unstructured.NestedSlice(o.Object, "status", "containerStatuses")
	for _, c := range containers {
		if m, _ := c.(map[string]any); m["ready"] != true {
			return false
		}
	}
	return ok
}

// holds tells whether an object has the condition.
func (c *waitCondition) holds(o *unstructured.Unstructured) bool {
	if o == nil {
		return false
	}
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, e := range conditions {
		m, _ := e.(map[string]any)
		if m["type"] != c.Type {
			continue
		}
		return m["status"] == c.wanted() && (c.Reason == "" || m["reason"] == c.Reason)
	}
	return false
}

func (c *waitCondition) wanted() string {
	switch text := strings.ToLower(fmt.Sprint(c.Status)); {
	case c.Status == nil, text == "true", text == "yes":
		return "True"
	case text == "unknown":
		return "Unknown"
	}
	return "False"
}

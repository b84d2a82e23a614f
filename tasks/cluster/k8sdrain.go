package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/calroll/calroll/tasks"
)

// cordonMark is the annotation of a node that calroll cordoned.
const cordonMark = "calroll.io/cordoned-by"

// K8sDrain is the module k8s_drain: takes a node out of service and puts it back. A rollback makes a node schedulable again only if the run cordoned it;
// pods that were evicted are for their controllers to make anew, and those without one are recorded and come back.
type K8sDrain struct {
	kubeLogin
	State        string       `arg:"state,choices=cordon|drain|uncordon,default=drain" doc:"cordon: no new pods; drain: cordon, and evict the pods; uncordon: take new pods again"`
	Name         string       `arg:"name,required" doc:"the node"`
	OnlyMarked   bool         `arg:"only_marked,default=false" doc:"uncordon: leave a node alone that somebody else cordoned (it lacks the annotation calroll.io/cordoned-by)"`
	PodSelectors []string     `arg:"pod_selectors,alias=label_selectors" doc:"drain: only pods with these labels"`
	Options      drainOptions `arg:"delete_options" doc:"drain: force (also pods that nothing makes anew), ignore_daemonsets, delete_emptydir_data, disable_eviction (delete instead), terminate_grace_period, wait_timeout (seconds to wait until the pods are gone and for disruption budgets to allow it; 0 is for ever; not given: do not wait), wait_sleep (5)"`
}

type drainOptions struct {
	Force          bool   `arg:"force"`
	IgnoreDaemons  bool   `arg:"ignore_daemonsets"`
	DeleteEmptyDir bool   `arg:"delete_emptydir_data"`
	NoEviction     bool   `arg:"disable_eviction"`
	Grace          *int64 `arg:"terminate_grace_period"`
	WaitTimeout    *int   `arg:"wait_timeout"`
	WaitSleep      *int   `arg:"wait_sleep"`
}

var (
	nodes = resource{GroupVersionResource: schema.GroupVersionResource{Version: "v1", Resource: "nodes"}, kind: "Node", verbs: []string{"get"}}
	pods  = resource{GroupVersionResource: schema.GroupVersionResource{Version: "v1", Resource: "pods"}, kind: "Pod", namespaced: true}
)

// Run implements tasks.Module.
func (m *K8sDrain) Run(ctx context.Context, sys *tasks.Sys) (tasks.Result, error) {
	k, err := m.open(ctx, sys)
	if err != nil {
		return tasks.Result{}, err
	}
	defer k.close()
	n := &draining{K8sDrain: m, k8sWork: &k8sWork{K8s: &K8s{State: "patched", MergeType: []string{"merge"}}, kube: k, sys: sys}}
	node, err := k.get(ctx, nodes, "", m.Name)
	if err == nil && node == nil {
		err = &tasks.Error{Kind: tasks.Failed, Detail: fmt.Sprintf("Node %s not found.", m.Name)}
	}
	if err != nil {
		return tasks.Result{}, err
	}
	var r tasks.Result
	switch m.State {
	case "cordon":
		err = n.schedulable(ctx, &r, node, false)
	case "uncordon":
		err = n.schedulable(ctx, &r, node, true)
	default:
		err = n.drain(ctx, &r, node)
	}
	r.Set("result", strings.Join(n.said, " "))
	return r, err
}

// draining is one run of the module.
type draining struct {
	*K8sDrain
	*k8sWork
	said []string
}

// schedulable cordons a node, with a mark, or uncordons it.
func (n *draining) schedulable(ctx context.Context, r *tasks.Result, node *unstructured.Unstructured, yes bool) error {
	off, _, _ := unstructured.NestedBool(node.Object, "spec", "unschedulable")
	word := map[bool]string{true: "schedulable", false: "unschedulable"}[yes]
	_, marked := node.GetAnnotations()[cordonMark]
	switch {
	case off != yes:
		n.said = append(n.said, fmt.Sprintf("node %s already marked %s.", node.GetName(), word))
		return nil
	case yes && n.OnlyMarked && !marked:
		n.said = append(n.said, fmt.Sprintf("node %s was cordoned by somebody else.", node.GetName()))
		return nil
	}
	patch := map[string]any{"unschedulable": true}
	mark := any("calroll")
	if yes {
		patch["unschedulable"], mark = nil, nil
	}
	meta := map[string]any{"name": node.GetName()}
	if !yes || marked {
		meta["annotations"] = map[string]any{cordonMark: mark}
	}
	d := definition{object: map[string]any{"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": patch}}
	after, changed, err := n.alter(ctx, nodes, d, node)
	if err != nil {
		return err
	}
	n.show("Node", node, after)
	r.Changed = r.Changed || changed
	n.said = append(n.said, fmt.Sprintf("node %s marked %s.", node.GetName(), word))
	return nil
}

// drain cordons the node once it is clear that its pods may go, and has them go.
func (n *draining) drain(ctx context.Context, r *tasks.Result, node *unstructured.Unstructured) error {
	if _, err := n.leaving(ctx); err != nil {
		return err
	}
	if err := n.schedulable(ctx, r, node, false); err != nil {
		return err
	}
	going, err := n.leaving(ctx) // what came meanwhile too
	if err != nil {
		return err
	}
	for _, w := range going.warnings {
		n.sys.Warn("%s", w)
	}
	if len(going.pods) == 0 {
		return nil
	}
	r.Changed = true
	n.said = append(n.said, fmt.Sprintf("%d Pod(s) deleted from node.", len(going.pods)))
	if n.sys.Check() {
		return nil
	}
	return n.evictAll(ctx, going)
}

// leaving are the pods that go, and what there is to say about the others.
type leaving struct {
	pods      []*unstructured.Unstructured
	unmanaged map[string]bool // those of them that nothing makes anew, by uid
	warnings  []string
}

func (n *draining) leaving(ctx context.Context) (leaving, error) {
	o := metav1.ListOptions{FieldSelector: "spec.nodeName=" + n.K8sDrain.Name, LabelSelector: joined(n.PodSelectors)}
	all, err := n.list(ctx, pods, "", o)
	if err != nil {
		return leaving{}, err
	}
	by := map[string][]*unstructured.Unstructured{}
	for _, p := range all {
		c := classOf(p)
		by[c] = append(by[c], p)
	}
	return n.judge(by)
}

// classOf says why a pod may not simply go: "" when it may.
func classOf(p *unstructured.Unstructured) string {
	phase, _, _ := unstructured.NestedString(p.Object, "status", "phase")
	volumes, _, _ := unstructured.NestedSlice(p.Object, "spec", "volumes")
	owners := p.GetOwnerReferences()
	switch {
	case p.GetAnnotations()["kubernetes.io/config.mirror"] != "":
		return "mirror"
	case phase == "Succeeded" || phase == "Failed":
		return ""
	case len(owners) > 0 && owners[0].Kind == "DaemonSet":
		return "daemon"
	case hasEmptyDir(volumes):
		return "local"
	case len(owners) == 0:
		return "unmanaged"
	}
	return ""
}

func hasEmptyDir(volumes []any) bool {
	for _, v := range volumes {
		if m, _ := v.(map[string]any); m["emptyDir"] != nil {
			return true
		}
	}
	return false
}

// judge applies the options, with the collection's words.
func (n *draining) judge(by map[string][]*unstructured.Unstructured) (leaving, error) {
	l := leaving{pods: by[""], unmanaged: map[string]bool{}}
	var errs []string
	say := func(class string, allowed, goes bool, otherwise, done string) {
		if len(by[class]) == 0 {
			return
		}
		if !allowed {
			errs = append(errs, otherwise+": "+podNames(by[class])+".")
			return
		}
		l.warnings = append(l.warnings, done+": "+podNames(by[class])+".")
		if goes {
			l.pods = append(l.pods, by[class]...)
		}
	}
	o := n.Options
	say("unmanaged", o.Force, true, "cannot delete Pods not managed by ReplicationController, ReplicaSet, Job, DaemonSet or StatefulSet (use option force set to yes)",
		"Deleting Pods not managed by ReplicationController, ReplicaSet, Job, DaemonSet or StatefulSet")
	say("mirror", true, false, "", "cannot delete mirror Pods using API server")
	say("local", o.DeleteEmptyDir, true, "cannot delete Pods with local storage", "Deleting Pods with local storage")
	say("daemon", o.IgnoreDaemons, false, "cannot delete DaemonSet-managed Pods (use option ignore_daemonset set to yes)", "Ignoring DaemonSet-managed Pods")
	for _, p := range l.pods {
		l.unmanaged[string(p.GetUID())] = len(p.GetOwnerReferences()) == 0
	}
	if len(errs) > 0 {
		return l, &tasks.Error{Kind: tasks.Refused, Detail: "Pod deletion errors: " + strings.Join(errs, " ")}
	}
	return l, nil
}

func podNames(list []*unstructured.Unstructured) string {
	names := make([]string, len(list))
	for i, p := range list {
		names[i] = p.GetNamespace() + "/" + p.GetName()
	}
	return strings.Join(names, ",")
}

// longTime stands for wait_timeout 0.
const longTime = 10 * 365 * 24 * time.Hour

// evictAll has pods go, and waits for it if it was asked for.
func (n *draining) evictAll(ctx context.Context, l leaving) error {
	limit, sleep := time.Duration(0), 5*time.Second
	if t := n.Options.WaitTimeout; t != nil {
		if limit = time.Duration(*t) * time.Second; limit == 0 {
			limit = longTime
		}
	}
	if s := n.Options.WaitSleep; s != nil {
		sleep = time.Duration(*s) * time.Second
	}
	end := time.Now().Add(limit)
	for _, p := range l.pods {
		if err := n.evict(ctx, p, l.unmanaged[string(p.GetUID())], time.Until(end), sleep); err != nil {
			return err
		}
	}
	if limit == 0 {
		return nil
	}
	for _, p := range l.pods {
		err := n.goneWithin(ctx, pods, p, time.Until(end), sleep)
		switch {
		case tasks.KindOf(err) == tasks.Canceled:
			return err
		case err != nil:
			n.sys.Warn("timeout reached while pods were still running.")
			return nil
		}
	}
	return nil
}

// evict has one pod go; what a disruption budget does not allow is tried again while there is time.
func (n *draining) evict(ctx context.Context, p *unstructured.Unstructured, unmanaged bool, limit, sleep time.Duration) error {
	if unmanaged {
		if err := recordObject(ctx, n.sys, n.recordOf(pods, p), p, nil); err != nil {
			return err
		}
	}
	var refused error
	err := poll(ctx, limit, sleep, func() (bool, error) {
		err := n.push(ctx, p)
		refused = nil
		switch {
		case apierrors.IsNotFound(err):
			return true, nil
		case apierrors.IsTooManyRequests(err):
			refused = err
			return false, nil
		}
		return true, err
	}, "a disruption budget does not allow it")
	if err == nil {
		return nil
	}
	return fmt.Errorf("Failed to delete pod %s/%s due to: %w%s", p.GetNamespace(), p.GetName(), err, budgetOf(refused))
}

// budgetOf says which disruption budget refused an eviction, and what that wants.
func budgetOf(refused error) string {
	var said apierrors.APIStatus
	if !errors.As(refused, &said) {
		return ""
	}
	text := said.Status().Message
	if d := said.Status().Details; d != nil && len(d.Causes) > 0 {
		text = d.Causes[0].Message
	}
	return ": " + text
}

func (n *draining) push(ctx context.Context, p *unstructured.Unstructured) error {
	uid := p.GetUID()
	o := metav1.DeleteOptions{GracePeriodSeconds: n.Options.Grace, Preconditions: &metav1.Preconditions{UID: &uid}}
	if n.Options.NoEviction {
		return n.in(pods, p.GetNamespace()).Delete(ctx, p.GetName(), o)
	}
	options, err := object(o)
	if err != nil {
		return err
	}
	eviction := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "policy/v1", "kind": "Eviction", "deleteOptions": options,
		"metadata": map[string]any{"name": p.GetName(), "namespace": p.GetNamespace()}}}
	if served, err := n.served("policy/v1"); err == nil && served == nil { // before Kubernetes 1.22
		eviction.SetAPIVersion("policy/v1beta1")
	}
	_, err = n.in(pods, p.GetNamespace()).Create(ctx, eviction, metav1.CreateOptions{}, "eviction")
	return err
}

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
	"k8s.io/apimachinery/pkg/types"

	"github.com/calroll/calroll/tasks"
)

const crdKind = "CustomResourceDefinition"

// absent deletes the object that is meant, or all that the selectors mean.
func (w *k8sWork) absent(ctx context.Context, r resource, d definition) outcome {
	out := outcome{method: "delete"}
	there, err := w.meant(ctx, r, d)
	if err != nil || len(there) == 0 {
		out.err = err
		return out
	}
	out.changed = true
	for _, o := range there {
		w.show(r.kind, o, nil)
		if w.sys.Check() {
			continue
		}
		if out.err = w.withContents(ctx, r, o); out.err == nil {
			out.err = w.delete(ctx, r, o, w.deletion())
		}
		if out.err != nil {
			return out
		}
	}
	if !w.sys.Check() && w.Wait {
		began := time.Now()
		for _, o := range there {
			if out.err = w.goneWithin(ctx, r, o, w.timeout(), w.sleep()); out.err != nil {
				return out
			}
		}
		seconds := int(time.Since(began).Seconds())
		out.duration = &seconds
	}
	return out
}

// meant are the objects that are there of those to delete.
func (w *k8sWork) meant(ctx context.Context, r resource, d definition) ([]*unstructured.Unstructured, error) {
	switch {
	case r.namespaced && d.name() != "" && d.namespace() == "":
		return nil, failed("delete "+d.named(), fmt.Errorf("Namespace is required for %s.%s", r.apiVersion(), r.kind))
	case d.name() != "" && len(w.LabelSelectors) == 0:
		o, err := w.get(ctx, r, d.namespace(), d.name())
		if err != nil || o == nil {
			return nil, err
		}
		return []*unstructured.Unstructured{o}, nil
	case len(w.LabelSelectors) == 0 && !w.DeleteAll:
		return nil, failed("delete objects of kind "+r.kind, errors.New("there is no name, no label_selectors and no delete_all"))
	}
	o := metav1.ListOptions{LabelSelector: joined(w.LabelSelectors)}
	if d.name() != "" {
		o.FieldSelector = "metadata.name=" + d.name()
	}
	return w.list(ctx, r, d.namespace(), o)
}

func joined(selectors []string) string { return strings.Join(selectors, ",") }

func (w *k8sWork) deletion() metav1.DeleteOptions {
	var o metav1.DeleteOptions
	given := w.DeleteOptions
	if given == nil {
		return o
	}
	if given.PropagationPolicy != "" {
		p := metav1.DeletionPropagation(given.PropagationPolicy)
		o.PropagationPolicy = &p
	}
	o.GracePeriodSeconds = given.GracePeriod
	if len(given.Preconditions) > 0 {
		o.Preconditions = &metav1.Preconditions{}
		if v, ok := given.Preconditions["resourceVersion"]; ok {
			o.Preconditions.ResourceVersion = &v
		}
		if v, ok := given.Preconditions["uid"]; ok {
			uid := types.UID(v)
			o.Preconditions.UID = &uid
		}
	}
	return o
}

// delete records an object and deletes it, that one and no other of its name.
func (w *k8sWork) delete(ctx context.Context, r resource, o *unstructured.Unstructured, opts metav1.DeleteOptions) error {
	if !remade(r, o) {
		if err := recordObject(ctx, w.sys, w.recordOf(r, o), o, nil); err != nil {
			return err
		}
	}
	if opts.Preconditions == nil {
		opts.Preconditions = &metav1.Preconditions{}
	}
	if opts.Preconditions.UID == nil {
		uid := o.GetUID()
		opts.Preconditions.UID = &uid
	}
	if opts.PropagationPolicy == nil {
		background := metav1.DeletePropagationBackground
		opts.PropagationPolicy = &background
	}
	err := w.in(r, o.GetNamespace()).Delete(ctx, o.GetName(), opts)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return failedOr("delete "+nameOfObject(o), err)
}

// remade tells whether an object is a pod whose controller makes it anew, of what the controller says then: bringing the old one back would make two.
func remade(r resource, o *unstructured.Unstructured) bool {
	return r.kind == "Pod" && r.Group == "" && metav1.GetControllerOf(o) != nil
}

// recordOf is the record of an object that goes as a whole.
func (w *k8sWork) recordOf(r resource, o *unstructured.Unstructured) k8sRecord {
	return k8sRecord{kubeAccess: w.access, Resource: r.Resource, Group: r.Group, Version: r.Version, Kind: r.kind, Namespace: o.GetNamespace(), Name: o.GetName(),
		Owned: shapeOf(cleaned(o))}
}

// Deleting waits for what is deleted before it is created anew for at most this long.
const goneLimit = 2 * time.Minute

const gonePoll = 200 * time.Millisecond

func (k *kube) gone(ctx context.Context, r resource, o *unstructured.Unstructured) error {
	return k.goneWithin(ctx, r, o, goneLimit, gonePoll)
}

// goneWithin waits until an object, that one, is not there any more.
func (k *kube) goneWithin(ctx context.Context, r resource, o *unstructured.Unstructured, limit, sleep time.Duration) error {
	return poll(ctx, limit, sleep, func() (bool, error) {
		now, err := k.get(ctx, r, o.GetNamespace(), o.GetName())
		if err != nil || now == nil || now.GetUID() != o.GetUID() {
			return err == nil, err
		}
		return false, nil
	}, fmt.Sprintf("%q %q: Timed out waiting on resource", o.GetKind(), o.GetName()))
}

// withContents records what goes together with a definition of custom resources, or with a namespace.
func (w *k8sWork) withContents(ctx context.Context, r resource, o *unstructured.Unstructured) error {
	switch {
	case r.kind == crdKind:
		return w.customResources(ctx, o)
	case r.kind == "Namespace" && r.Group == "":
		return w.namespaced(ctx, o.GetName())
	}
	return nil
}

// customResources records the objects of a definition at its storage version.
func (w *k8sWork) customResources(ctx context.Context, crd *unstructured.Unstructured) error {
	group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
	plural, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "plural")
	kind, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind")
	scope, _, _ := unstructured.NestedString(crd.Object, "spec", "scope")
	version := servedVersion(crd)
	if version == "" {
		return nil
	}
	r := resource{GroupVersionResource: schema.GroupVersionResource{Group: group, Version: version, Resource: plural}, kind: kind, namespaced: scope == "Namespaced"}
	n, err := w.recordAll(ctx, r, "")
	if n > 0 {
		w.sys.Warn("deleting the CustomResourceDefinition %s deletes its %d objects too; they are recorded and a rollback creates them again", crd.GetName(), n)
	}
	w.forgetCRD(crd)
	return err
}

// servedVersion is a version at which a definition's objects can be read.
func servedVersion(crd *unstructured.Unstructured) string {
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	found := ""
	for _, v := range versions {
		m, _ := v.(map[string]any)
		name, _ := m["name"].(string)
		if m["served"] == true && (found == "" || m["storage"] == true) {
			found = name
		}
	}
	if found == "" { // before apiextensions.k8s.io/v1
		found, _, _ = unstructured.NestedString(crd.Object, "spec", "version")
	}
	return found
}

func (w *k8sWork) forgetCRD(crd *unstructured.Unstructured) {
	group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
	for v := range w.known {
		if strings.HasPrefix(v, group+"/") {
			w.forget(v)
		}
	}
}

// recordAll records every object of a kind that nothing else brings back, and counts those that are not calroll's own.
func (w *k8sWork) recordAll(ctx context.Context, r resource, namespace string) (int, error) {
	all, err := w.list(ctx, r, namespace, metav1.ListOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
		return 0, nil
	}
	n := 0
	for _, o := range all {
		if err != nil || !lasting(r, o) {
			continue
		}
		if o.GetLabels()["app.kubernetes.io/managed-by"] != "calroll" {
			n++
		}
		err = recordObject(ctx, w.sys, w.recordOf(r, o), o, nil)
	}
	return n, err
}

// lasting tells an object that somebody made from one that the cluster makes by itself.
func lasting(r resource, o *unstructured.Unstructured) bool {
	switch {
	case len(o.GetOwnerReferences()) > 0, r.kind == "Event", r.kind == "Endpoints" && r.Group == "", r.kind == "EndpointSlice", r.Group == "metrics.k8s.io":
		return false
	case r.kind == "ConfigMap" && o.GetName() == "kube-root-ca.crt", r.kind == "ServiceAccount" && o.GetName() == "default":
		return false
	}
	return true
}

// namespaced records what is in a namespace.
func (w *k8sWork) namespaced(ctx context.Context, namespace string) error {
	lists, err := w.discovery.ServerPreferredNamespacedResources()
	if err != nil && len(lists) == 0 {
		return failed("ask Kubernetes for its namespaced resources", err)
	}
	if err != nil {
		return &tasks.Error{Kind: tasks.Refused, Op: "delete the namespace " + namespace, Detail: "what is in it cannot be recorded", Err: err}
	}
	total := 0
	for _, list := range lists {
		for _, a := range list.APIResources {
			gv, _ := schema.ParseGroupVersion(list.GroupVersion) // the API gave it
			r := resource{GroupVersionResource: gv.WithResource(a.Name), kind: a.Kind, namespaced: true, verbs: a.Verbs}
			if !r.can("list") || !r.can("create") {
				continue
			}
			n, err := w.recordAll(ctx, r, namespace)
			if err != nil {
				return err
			}
			total += n
		}
	}
	if total > 0 {
		w.sys.Warn("deleting the namespace %s deletes the %d objects in it too; they are recorded and a rollback creates them again, but what its pods kept to themselves is lost", namespace, total)
	}
	return nil
}

package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/calroll/calroll/tasks"
)

// conflictTries is how often an object is altered anew because somebody else changed it in between; controllers write often into status.
const conflictTries = 8

// alter brings an object to its definition: first the server says, without keeping it, what would come of it; only if that differs from what is there,
// the state is recorded and the alteration done.
func (w *k8sWork) alter(ctx context.Context, r resource, d definition, existing *unstructured.Unstructured) (*unstructured.Unstructured, bool, error) {
	for try := 1; ; try++ {
		got, changed, err := w.alterOnce(ctx, r, d, existing)
		if err == nil {
			return got, changed, nil
		}
		if !isRace(err) || try == conflictTries {
			return nil, false, w.explain(d, existing, err)
		}
		if existing, err = w.get(ctx, r, d.namespace(), d.name()); err != nil {
			return nil, false, err
		}
	}
}

func (w *k8sWork) alterOnce(ctx context.Context, r resource, d definition, existing *unstructured.Unstructured) (*unstructured.Unstructured, bool, error) {
	if old, err := w.lacks(dryRunSince, existing); old || err != nil {
		if err != nil {
			return nil, false, err
		}
		return w.alterOld(ctx, r, d, existing)
	}
	after, err := w.write(ctx, r, d, existing, true)
	switch {
	case w.sys.Check() && existing == nil && apierrors.IsNotFound(err): // its namespace would be there by then
		return &unstructured.Unstructured{Object: d.object}, true, nil
	case err != nil:
		return nil, false, err
	case existing != nil && same(existing, after):
		return existing, false, nil
	case w.sys.Check():
		return after, true, nil
	}
	if err := w.keep(ctx, r, d, existing, after); err != nil {
		return nil, false, err
	}
	got, err := w.write(ctx, r, d, existing, false)
	return got, true, err
}

// isRace tells a conflict with a change in between from one about who owns a field.
func isRace(err error) bool {
	return apierrors.IsConflict(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict) || apierrors.IsAlreadyExists(err)
}

// takeOver is what to do about fields that belong to somebody else, whom the server has named.
const takeOver = "to take the fields over set force_conflicts of server_side_apply, which take_over=true does in the playbooks that come with calroll"

func (w *k8sWork) explain(d definition, existing *unstructured.Unstructured, err error) error {
	var e *tasks.Error
	if errors.As(err, &e) {
		return err
	}
	op := map[string]string{"create": "create ", "apply": "apply ", "replace": "replace ", "update": "patch "}[w.method(existing == nil)]
	if apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict) {
		err = fmt.Errorf("%w; %s", err, takeOver)
	}
	return failed(op+d.named(), err)
}

// write asks the server for the alteration; dry: to say only what would come of it. What is there must be as it was read.
func (w *k8sWork) write(ctx context.Context, r resource, d definition, existing *unstructured.Unstructured, dry bool) (*unstructured.Unstructured, error) {
	var dryRun []string
	if dry {
		dryRun = []string{metav1.DryRunAll}
	}
	body := &unstructured.Unstructured{Object: runtime.DeepCopyJSON(d.object)}
	if existing != nil {
		body.SetResourceVersion(existing.GetResourceVersion())
	}
	to := w.in(r, d.namespace())
	byClient, err := w.lacks(serverApplySince, existing)
	switch {
	case err != nil:
		return nil, err
	case w.Apply && w.ServerSideApply != nil && !byClient:
		return w.patch(ctx, r, body, types.ApplyPatchType, metav1.PatchOptions{FieldManager: w.ServerSideApply.FieldManager, Force: &w.ServerSideApply.ForceConflicts, DryRun: dryRun})
	case w.Apply:
		return w.clientApply(ctx, r, body, existing, dryRun)
	case existing == nil:
		return to.Create(ctx, body, metav1.CreateOptions{FieldManager: fieldManager, DryRun: dryRun})
	case w.Force:
		return to.Update(ctx, body, metav1.UpdateOptions{FieldManager: fieldManager, DryRun: dryRun})
	}
	return w.merge(ctx, r, body, w.MergeType, dryRun)
}

func (w *k8sWork) patch(ctx context.Context, r resource, body *unstructured.Unstructured, t types.PatchType, o metav1.PatchOptions) (*unstructured.Unstructured, error) {
	raw, err := marshalJSON(body.Object)
	if err != nil {
		return nil, err
	}
	return w.in(r, body.GetNamespace()).Patch(ctx, body.GetName(), t, raw, o)
}

// merge patches by the first way that the API takes: it merges only kinds of its own strategically.
func (w *k8sWork) merge(ctx context.Context, r resource, body *unstructured.Unstructured, ways, dryRun []string) (got *unstructured.Unstructured, err error) {
	if len(ways) == 0 {
		ways = []string{"strategic-merge", "merge"}
	}
	for _, way := range ways {
		t := types.PatchType("application/" + way + "-patch+json")
		got, err = w.patch(ctx, r, body, t, metav1.PatchOptions{FieldManager: fieldManager, DryRun: dryRun})
		if !apierrors.IsUnsupportedMediaType(err) {
			return got, err
		}
	}
	return got, err
}

// clientApply keeps what was applied in an annotation, as kubectl does, and removes what the last apply had and this one has not.
func (w *k8sWork) clientApply(ctx context.Context, r resource, body, existing *unstructured.Unstructured, dryRun []string) (*unstructured.Unstructured, error) {
	if err := noteApplied(body); err != nil {
		return nil, err
	}
	if existing == nil {
		return w.in(r, body.GetNamespace()).Create(ctx, body, metav1.CreateOptions{FieldManager: fieldManager, DryRun: dryRun})
	}
	if last := lastOf(existing); last != nil {
		removeDropped(last, body.Object)
	}
	return w.merge(ctx, r, body, []string{"merge"}, dryRun)
}

// noteApplied writes into an annotation of an object what is applied.
func noteApplied(body *unstructured.Unstructured) error {
	plain := runtime.DeepCopyJSON(body.Object)
	meta := plain["metadata"].(map[string]any)
	delete(meta, "resourceVersion")
	if _, ok := meta["annotations"]; !ok {
		meta["annotations"] = map[string]any{}
	}
	raw, err := marshalJSON(plain)
	if err != nil {
		return err
	}
	notes := body.GetAnnotations()
	if notes == nil {
		notes = map[string]string{}
	}
	notes[lastApplied] = string(raw) + "\n"
	body.SetAnnotations(notes)
	return nil
}

// removeDropped has a patch remove the fields that last had and patch has not.
func removeDropped(last, patch map[string]any) {
	for k, v := range last {
		now, ok := patch[k]
		if !ok {
			patch[k] = nil
			continue
		}
		l, isL := v.(map[string]any)
		n, isN := now.(map[string]any)
		if isL && isN {
			removeDropped(l, n)
		}
	}
}

// keep records an object before it is altered.
func (w *k8sWork) keep(ctx context.Context, r resource, d definition, before, after *unstructured.Unstructured) error {
	rec := w.recordFor(r, d)
	if before == nil {
		rec.Owned = shapeOf(cleaned(&unstructured.Unstructured{Object: d.object}))
	} else {
		rec.Changed = difference(cleaned(before), cleaned(after))
		rec.Owned = rec.Changed.asked(cleaned(after), d.object)
	}
	return recordObject(ctx, w.sys, rec, before, after)
}

func (w *k8sWork) recordFor(r resource, d definition) k8sRecord {
	return k8sRecord{kubeAccess: w.access, Resource: r.Resource, Group: r.Group, Version: r.Version, Kind: r.kind, Namespace: d.namespace(), Name: d.name()}
}

// recordObject puts the state of an object before an alteration on stable storage; nil is none.
func recordObject(ctx context.Context, sys *tasks.Sys, rec k8sRecord, before, after *unstructured.Unstructured) error {
	b := tasks.Before{Kind: k8sKind, Key: fmt.Sprintf("%s %s", rec.groupVersion(), named(rec.Kind, rec.Namespace, rec.Name)), Was: rec.Owned.state(before), After: rec.Owned.state(after)}
	var image *tasks.Image
	if before != nil {
		raw, err := marshalJSON(before.Object)
		if err != nil {
			return err
		}
		image = &tasks.Image{Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }}
	}
	return sys.Record(ctx, b, rec, image)
}

// selectorDiffers tells that an object's selector, which the API lets nobody change, is not the definition's.
func selectorDiffers(d map[string]any, existing *unstructured.Unstructured) bool {
	if !strings.HasPrefix(existing.GetAPIVersion(), "apps/v1") {
		return false
	}
	switch existing.GetKind() {
	case "Deployment", "DaemonSet", "StatefulSet", "ReplicaSet":
	default:
		return false
	}
	want, ok, _ := unstructured.NestedMap(d, "spec", "selector")
	is, _, _ := unstructured.NestedMap(existing.Object, "spec", "selector")
	return ok && !reflect.DeepEqual(want, is)
}

// replaced deletes an object and creates it anew, because its selector cannot be changed. Each is a record of its own.
func (w *k8sWork) replaced(ctx context.Context, r resource, d definition, existing *unstructured.Unstructured) outcome {
	out := outcome{method: "replace", changed: true}
	if w.sys.Check() {
		w.show(r.kind, existing, &unstructured.Unstructured{Object: d.object})
		out.result = masked(r.kind, d.object)
		return out
	}
	if out.err = w.delete(ctx, r, existing, metav1.DeleteOptions{}); out.err == nil {
		out.err = w.gone(ctx, r, existing)
	}
	if out.err != nil {
		return out
	}
	var after *unstructured.Unstructured
	after, _, out.err = w.alter(ctx, r, d, nil)
	return w.conclude(ctx, r, d, existing, after, out)
}

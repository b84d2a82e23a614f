package cluster

import (
	"context"
	"encoding/json"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/kubernetes/scheme"
)

// What servers cannot do before these releases. A dry run is carried out before 1.11, which passes over the word, and refused before 1.13. Fields have
// managers, and the server applies, from 1.16 on.
const (
	dryRunSince      = 13
	serverApplySince = 16
)

// lacks tells whether the API is older than 1.minor. An object whose fields have managers says that it is not, and the API need not be asked.
func (k *kube) lacks(minor uint, existing *unstructured.Unstructured) (bool, error) {
	if existing != nil && len(existing.GetManagedFields()) > 0 {
		return false, nil
	}
	if k.release == nil {
		info, err := k.discovery.ServerVersion()
		if err == nil {
			k.release, err = version.ParseGeneric(info.GitVersion)
		}
		if err != nil {
			return false, failed("ask Kubernetes for its version", err)
		}
	}
	return k.release.LessThan(version.MajorMinor(1, minor)), nil
}

// foretold is what an alteration comes to on a server that cannot say so itself. Defaults that the server would add are not in it.
type foretold struct {
	write *unstructured.Unstructured // what is sent: a new object, or one in the place of the one that was read
	is    *unstructured.Unstructured // what is there and what would be, in the spelling of the kind's type: nothing that is left out when it is empty, and
	after *unstructured.Unstructured // quantities as the server writes them
	owned *shape
}

// alterOld brings an object of an old server to its definition. The difference is worked out here; only if there is one, the state is recorded and the
// object written, as long as it is as it was read.
func (w *k8sWork) alterOld(ctx context.Context, r resource, d definition, existing *unstructured.Unstructured) (*unstructured.Unstructured, bool, error) {
	f, err := w.foretell(d, existing)
	switch {
	case err != nil:
		return nil, false, err
	case existing != nil && f.owned == nil:
		return existing, false, nil
	case w.sys.Check():
		return f.after, true, nil
	}
	rec := w.recordFor(r, d)
	rec.Owned = f.owned
	if existing != nil {
		rec.Changed = difference(cleaned(f.is), cleaned(f.after))
	}
	if err := recordObject(ctx, w.sys, rec, existing, f.after); err != nil {
		return nil, false, err
	}
	to := w.in(r, d.namespace())
	if existing == nil {
		got, err := to.Create(ctx, f.write, metav1.CreateOptions{})
		return got, true, err
	}
	got, err := to.Update(ctx, f.write, metav1.UpdateOptions{})
	return got, true, err
}

// foretell works out what the definition makes of an object.
func (w *k8sWork) foretell(d definition, existing *unstructured.Unstructured) (*foretold, error) {
	f := &foretold{write: &unstructured.Unstructured{Object: runtime.DeepCopyJSON(d.object)}}
	if w.Apply {
		if err := noteApplied(f.write); err != nil {
			return nil, err
		}
	}
	merged := f.write
	if existing != nil {
		var err error
		if merged, err = w.mergedInto(existing, f.write); err != nil {
			return nil, failed("work out what is to change in "+d.named(), err)
		}
		f.write.SetResourceVersion(existing.GetResourceVersion())
	}
	return f, w.compare(f, d, existing, merged)
}

// compare finds what is meant by the alteration; nothing is meant when what is there has all of it.
func (w *k8sWork) compare(f *foretold, d definition, existing, merged *unstructured.Unstructured) (err error) {
	if f.after, err = spelled(merged); err != nil || existing == nil {
		f.owned = shapeOf(cleaned(&unstructured.Unstructured{Object: d.object}))
		return failedOr("read "+d.named(), err)
	}
	if f.is, err = spelled(existing); err != nil || same(f.is, f.after) {
		return failedOr("read "+d.named(), err)
	}
	if w.Force && !w.Apply { // what the definition lacks goes, or is the server's default again
		f.after, err = spelled(f.write)
		f.owned = shapeOf(cleaned(&unstructured.Unstructured{Object: d.object}))
		return failedOr("read "+d.named(), err)
	}
	f.write = merged
	f.owned = difference(cleaned(f.is), cleaned(f.after)).grown(cleaned(f.after))
	return nil
}

// mergedInto is an object with a definition merged into it, in the way that was asked for.
func (w *k8sWork) mergedInto(existing, body *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	kind, err := scheme.Scheme.New(existing.GroupVersionKind())
	custom := runtime.IsNotRegisteredError(err)
	switch {
	case err != nil && !custom:
		return nil, err
	case w.Apply && !custom:
		return threeWay(kind, existing, body)
	case w.Apply:
		patch := runtime.DeepCopyJSON(body.Object)
		if last := lastOf(existing); last != nil {
			removeDropped(last, patch)
		}
		return overlaid(existing, patch), nil
	case custom || len(w.MergeType) > 0 && w.MergeType[0] == "merge":
		return overlaid(existing, runtime.DeepCopyJSON(body.Object)), nil
	}
	merged, err := strategicpatch.StrategicMergeMapPatch(runtime.DeepCopyJSON(existing.Object), runtime.DeepCopyJSON(body.Object), kind)
	return &unstructured.Unstructured{Object: merged}, err
}

// threeWay merges as kubectl applies: what the last apply had and this one has not goes, lists are merged by the keys of their elements.
func threeWay(kind runtime.Object, existing, body *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	meta, err := strategicpatch.NewPatchMetaFromStruct(kind)
	if err != nil {
		return nil, err
	}
	current, err := marshalJSON(existing.Object)
	if err != nil {
		return nil, err
	}
	modified, err := marshalJSON(body.Object)
	if err != nil {
		return nil, err
	}
	var original []byte
	if last := lastOf(existing); last != nil {
		original = []byte(existing.GetAnnotations()[lastApplied])
	}
	patch, err := strategicpatch.CreateThreeWayMergePatch(original, modified, current, meta, true)
	if err != nil {
		return nil, err
	}
	raw, err := strategicpatch.StrategicMergePatchUsingLookupPatchMeta(current, patch, meta)
	if err != nil {
		return nil, err
	}
	o := &unstructured.Unstructured{}
	return o, utiljson.Unmarshal(raw, &o.Object)
}

// lastOf is what was applied last; nil when nothing was, or it cannot be read.
func lastOf(o *unstructured.Unstructured) map[string]any {
	var last map[string]any
	if json.Unmarshal([]byte(o.GetAnnotations()[lastApplied]), &last) != nil {
		return nil
	}
	return last
}

// overlaid is an object after a JSON merge patch (RFC 7386).
func overlaid(o *unstructured.Unstructured, patch map[string]any) *unstructured.Unstructured {
	var merge func(into, patch map[string]any) map[string]any
	merge = func(into, patch map[string]any) map[string]any {
		for k, v := range patch {
			p, isMap := v.(map[string]any)
			old, _ := into[k].(map[string]any)
			switch {
			case v == nil:
				delete(into, k)
			case isMap && old != nil:
				into[k] = merge(old, p)
			case isMap:
				into[k] = merge(map[string]any{}, p)
			default:
				into[k] = v
			}
		}
		return into
	}
	return &unstructured.Unstructured{Object: merge(runtime.DeepCopyJSON(o.Object), patch)}
}

// spelled is an object in the spelling of its type, which is how a server gives it back. Kinds without a type here are custom resources, which are
// kept as they are written.
func spelled(o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	kind, err := scheme.Scheme.New(o.GroupVersionKind())
	if runtime.IsNotRegisteredError(err) {
		return o, nil
	}
	if err == nil {
		err = runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, kind)
	}
	if err != nil {
		return nil, err
	}
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(kind)
	return &unstructured.Unstructured{Object: m}, err
}

// grown takes every value that is new apart into its fields, so that what the server adds to it is not meant.
func (s *shape) grown(after any) *shape {
	switch {
	case s == nil:
		return nil
	case s.Keys != nil:
		a, _ := after.(map[string]any)
		out := &shape{Keys: map[string]*shape{}}
		for k, sub := range s.Keys {
			out.Keys[k] = sub.grown(a[k])
		}
		return out
	case s.Items != nil:
		a, _ := after.([]any)
		out := &shape{Items: slices.Clone(s.Items)}
		for i, sub := range s.Items {
			if i < len(a) {
				out.Items[i] = sub.grown(a[i])
			}
		}
		return out
	}
	return shapeOf(after)
}

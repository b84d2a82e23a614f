package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// shape says which fields of an object are meant, without their values, so that a record can hold it.
type shape struct {
	Keys  map[string]*shape `json:"k,omitempty"`
	Items []*shape          `json:"i,omitempty"` // of a list of this length; nil elements are not meant
	Whole bool              `json:"w,omitempty"` // the value as it is
}

// shapeOf means every field that v has, and no other: what a server adds later is not meant.
func shapeOf(v any) *shape {
	switch v := v.(type) {
	case map[string]any:
		if len(v) > 0 {
			s := &shape{Keys: make(map[string]*shape, len(v))}
			for k, e := range v {
				s.Keys[k] = shapeOf(e)
			}
			return s
		}
	case []any:
		if len(v) > 0 {
			s := &shape{Items: make([]*shape, len(v))}
			for i, e := range v {
				s.Items[i] = shapeOf(e)
			}
			return s
		}
	}
	return &shape{Whole: true}
}

// difference means the fields in which before and after differ; nil when they do not.
func difference(before, after any) *shape {
	if reflect.DeepEqual(before, after) {
		return nil
	}
	switch b := before.(type) {
	case map[string]any:
		if a, ok := after.(map[string]any); ok {
			s := &shape{Keys: map[string]*shape{}}
			for k := range merged(a, b) {
				_, inA := a[k]
				_, inB := b[k]
				if inA != inB {
					s.Keys[k] = &shape{Whole: true}
				} else if d := difference(b[k], a[k]); d != nil {
					s.Keys[k] = d
				}
			}
			return s
		}
	case []any:
		if a, ok := after.([]any); ok && len(a) == len(b) {
			s := &shape{Items: make([]*shape, len(a))}
			for i := range a {
				s.Items[i] = difference(b[i], a[i])
			}
			return s
		}
	}
	return &shape{Whole: true}
}

func merged(a, b map[string]any) map[string]any {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// asked leaves out of a difference what nobody asked for: fields that are there after it although the definition has none such, which the server chose.
func (s *shape) asked(after, definition any) *shape {
	switch {
	case s == nil:
		return nil
	case s.Whole:
		if after != nil && definition == nil {
			return nil
		}
		return s
	case s.Items != nil:
		return s.askedItems(after, definition)
	}
	a, _ := after.(map[string]any)
	d, _ := definition.(map[string]any)
	out := &shape{Keys: map[string]*shape{}}
	for k, sub := range s.Keys {
		if kept := sub.asked(a[k], d[k]); kept != nil {
			out.Keys[k] = kept
		}
	}
	if len(out.Keys) == 0 {
		return nil
	}
	return out
}

func (s *shape) askedItems(after, definition any) *shape {
	a, _ := after.([]any)
	d, ok := definition.([]any)
	if !ok && definition == nil {
		return nil
	}
	if len(a) != len(s.Items) || len(d) != len(s.Items) {
		return s
	}
	out := &shape{Items: make([]*shape, len(s.Items))}
	some := false
	for i, sub := range s.Items {
		out.Items[i] = sub.asked(a[i], d[i])
		some = some || out.Items[i] != nil
	}
	if !some {
		return nil
	}
	return out
}

// of is the part of v that is meant.
func (s *shape) of(v any) any {
	switch {
	case s == nil:
		return nil
	case s.Keys != nil:
		m, ok := v.(map[string]any)
		if !ok {
			return v
		}
		out := make(map[string]any, len(s.Keys))
		for k, sub := range s.Keys {
			if e, ok := m[k]; ok {
				out[k] = sub.of(e)
			}
		}
		return out
	case s.Items != nil:
		l, ok := v.([]any)
		if !ok || len(l) != len(s.Items) {
			return v
		}
		out := make([]any, len(l))
		for i, sub := range s.Items {
			out[i] = sub.of(l[i])
		}
		return out
	}
	return v
}

// restore is now with the fields that are meant as they are in before.
func (s *shape) restore(now, before any) any {
	switch {
	case s == nil:
		return now
	case s.Keys != nil:
		b, isMap := before.(map[string]any)
		n, ok := now.(map[string]any)
		if !isMap || !ok {
			return before
		}
		return s.restoreKeys(maps.Clone(n), b)
	case s.Items != nil:
		b, isList := before.([]any)
		n, ok := now.([]any)
		if !isList || !ok || len(b) != len(n) || len(b) != len(s.Items) {
			return before
		}
		out := slices.Clone(n)
		for i, sub := range s.Items {
			out[i] = sub.restore(n[i], b[i])
		}
		return out
	}
	return before
}

func (s *shape) restoreKeys(now, before map[string]any) map[string]any {
	for k, sub := range s.Keys {
		was, ok := before[k]
		if !ok {
			delete(now, k)
			continue
		}
		if is, ok := now[k]; ok {
			now[k] = sub.restore(is, was)
		} else {
			now[k] = was
		}
	}
	return now
}

// absent is the state of an object that is not there.
const absent = "absent"

// state says, in the words of a record, how the fields that are meant are in an object; nil is none.
func (s *shape) state(o *unstructured.Unstructured) string {
	if o == nil {
		return absent
	}
	raw, _ := json.Marshal(s.of(cleaned(o))) // what came as JSON goes as JSON; keys are sorted
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// What servers and their controllers write into metadata by themselves.
var (
	serverMetadata = []string{"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink", "deletionTimestamp",
		"deletionGracePeriodSeconds", "generateName"}
	serverAnnotations = []string{"deprecated.daemonset.template.generation", "deployment.kubernetes.io/revision"}
	serverFinalizers  = []string{"customresourcecleanup.apiextensions.k8s.io", "foregroundDeletion", "orphan", "kubernetes.io/pvc-protection",
		"kubernetes.io/pv-protection", "service.kubernetes.io/load-balancer-cleanup"}
)

// cleaned is an object without its status and without what servers write by themselves: what somebody decided.
func cleaned(o *unstructured.Unstructured) map[string]any {
	c := runtime.DeepCopyJSON(o.Object)
	delete(c, "status")
	meta, _ := c["metadata"].(map[string]any)
	for _, k := range serverMetadata {
		delete(meta, k)
	}
	dropKeys(meta, "annotations", serverAnnotations)
	dropKeys(meta, "labels", nil)
	if list, ok := meta["finalizers"].([]any); ok {
		list = slices.DeleteFunc(list, func(f any) bool { s, _ := f.(string); return slices.Contains(serverFinalizers, s) })
		if meta["finalizers"] = list; len(list) == 0 {
			delete(meta, "finalizers")
		}
	}
	return c
}

func dropKeys(meta map[string]any, field string, names []string) {
	m, ok := meta[field].(map[string]any)
	if !ok {
		return
	}
	for _, n := range names {
		delete(m, n)
	}
	if len(m) == 0 {
		delete(meta, field)
	}
}

// same tells whether nothing differs that somebody decided.
func same(a, b *unstructured.Unstructured) bool {
	return reflect.DeepEqual(cleaned(a), cleaned(b))
}

// masked is an object, or a part of one, in which the values of a Secret do not show.
func masked(kind string, o map[string]any) map[string]any {
	if !strings.EqualFold(kind, "Secret") {
		return o
	}
	c := runtime.DeepCopyJSON(o)
	for _, field := range []string{"data", "stringData"} {
		if m, ok := c[field].(map[string]any); ok {
			for k := range m {
				m[k] = maskedValue
			}
		}
	}
	if meta, ok := c["metadata"].(map[string]any); ok { // client-side apply keeps a copy there
		if notes, ok := meta["annotations"].(map[string]any); ok && notes[lastApplied] != nil {
			notes[lastApplied] = maskedValue
		}
	}
	return c
}

const (
	maskedValue = "********"
	lastApplied = "kubectl.kubernetes.io/last-applied-configuration"
)

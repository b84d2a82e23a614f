package cluster

import (
	"reflect"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/calroll/calroll/tasks"
)

// diffOf shows the fields in which two states of an object differ, the values of Secrets masked; nil is none.
func diffOf(kind string, before, after *unstructured.Unstructured) tasks.Diff {
	var b, a map[string]any
	var name string
	if before != nil {
		b, name = cleaned(before), nameOfObject(before)
	}
	if after != nil {
		a, name = cleaned(after), nameOfObject(after)
	}
	maskPair(kind, b, a)
	onlyB, onlyA := parting(b, a)
	return tasks.Diff{Before: onlyB, After: onlyA, BeforeHeader: name, AfterHeader: name}
}

// maskPair masks the values of a Secret, in a way that shows which of them differ.
func maskPair(kind string, b, a map[string]any) {
	if kind != "Secret" {
		return
	}
	before, _ := b["data"].(map[string]any)
	after, _ := a["data"].(map[string]any)
	for k := range after {
		shown := maskedValue
		if _, ok := before[k]; ok && !reflect.DeepEqual(before[k], after[k]) {
			shown += " (changed)"
		}
		after[k] = shown
	}
	for k := range before {
		before[k] = maskedValue
	}
	for _, o := range []map[string]any{b, a} {
		meta, _ := o["metadata"].(map[string]any)
		if notes, ok := meta["annotations"].(map[string]any); ok && notes[lastApplied] != nil {
			notes[lastApplied] = maskedValue
		}
	}
}

// parting are the parts of two dictionaries that differ.
func parting(b, a map[string]any) (onlyB, onlyA map[string]any) {
	onlyB, onlyA = map[string]any{}, map[string]any{}
	for k, v := range b {
		w, ok := a[k]
		if !ok {
			onlyB[k] = v
			continue
		}
		if reflect.DeepEqual(v, w) {
			continue
		}
		vm, isV := v.(map[string]any)
		wm, isW := w.(map[string]any)
		if isV && isW {
			onlyB[k], onlyA[k] = anyParting(vm, wm)
		} else {
			onlyB[k], onlyA[k] = v, w
		}
	}
	for k, v := range a {
		if _, ok := b[k]; !ok {
			onlyA[k] = v
		}
	}
	return onlyB, onlyA
}

func anyParting(b, a map[string]any) (any, any) {
	onlyB, onlyA := parting(b, a)
	return onlyB, onlyA
}

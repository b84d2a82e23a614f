package node

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// object is an object of Calico as JSON has it.
type object map[string]any

// calicoID says which object is meant.
type calicoID struct {
	APIVersion string            `json:"api_version"`
	Kind       string            `json:"kind"`
	Metadata   map[string]string `json:"metadata,omitempty"` // what tells objects of the kind apart
	Setting    string            `json:"setting,omitempty"`  // of a felixConfig or bgpConfig: the one that is meant
}

// Kinds that exist in calroll alone: what calicoctl 1.x has under `calicoctl config`.
const (
	felixConfig = "felixConfig"
	bgpConfig   = "bgpConfig"
)

// notIdentity are keys of metadata that do not tell objects apart.
var notIdentity = []string{"labels", "annotations", "tags", "resourceVersion", "uid", "creationTimestamp", "generation", "managedFields", "ownerReferences", "finalizers"}

// ofServer are keys of metadata that the datastore writes.
var ofServer = []string{"resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"}

func idOf(o object) calicoID {
	id := calicoID{Metadata: map[string]string{}}
	id.APIVersion, _ = o["apiVersion"].(string)
	id.Kind, _ = o["kind"].(string)
	m, _ := o["metadata"].(map[string]any)
	for k, v := range m {
		if s, ok := v.(string); ok && s != "" && !slices.Contains(notIdentity, k) {
			id.Metadata[k] = s
		}
	}
	return id
}

// Old tells whether the object is of the API before Calico 3.0.
func (id calicoID) Old() bool { return id.APIVersion == "v1" }

func (id calicoID) isConfig() bool {
	return id.Old() && (id.Kind == felixConfig || id.Kind == bgpConfig)
}

// String names the object in messages and records.
func (id calicoID) String() string {
	words := []string{id.Kind}
	for _, k := range []string{"namespace", "scope", "node", "name", "cidr", "peerIP"} {
		if v := id.Metadata[k]; v != "" {
			words = append(words, v)
		}
	}
	if id.Setting != "" {
		words = append(words, id.Setting)
	}
	return strings.Join(words, " ")
}

// words are the object in words of `calicoctl get`.
func (id calicoID) words() []string {
	words := []string{id.Kind}
	for _, k := range []string{"name", "cidr", "peerIP"} {
		if v := id.Metadata[k]; v != "" {
			words = append(words, v)
			break
		}
	}
	for _, k := range []string{"namespace", "scope", "node", "orchestrator", "workload"} {
		if v := id.Metadata[k]; v != "" {
			words = append(words, "--"+k+"="+v)
		}
	}
	return words
}

// namedSettings are the settings of bgpConfig that calicoctl knows by name; others go to BGP as they are.
var namedSettings = []string{"asNumber", "nodeToNodeMesh", "logLevel", "ipip"}

func (id calicoID) settingWords() []string {
	words := []string{id.Setting}
	switch {
	case id.Kind == felixConfig:
		words = append(words, "--raw=felix")
	case !slices.Contains(namedSettings, id.Setting):
		words = append(words, "--raw=bgp")
	}
	if n := id.Metadata["node"]; n != "" {
		words = append(words, "--node="+n)
	}
	return words
}

// names tells whether o is the object.
func (id calicoID) names(o object) bool {
	theirs := idOf(o).Metadata
	for k, v := range id.Metadata {
		if theirs[k] != v {
			return false
		}
	}
	return true
}

// object is an object with nothing but its name.
func (id calicoID) object() object {
	m := map[string]any{}
	for k, v := range id.Metadata {
		m[k] = v
	}
	return object{"apiVersion": id.APIVersion, "kind": id.Kind, "metadata": m}
}

// owned are the paths of the fields that a definition gives: what it does not give is left alone, and a list is one field.
func (id calicoID) owned(o object) (paths [][]string) {
	var walk func(path []string, v any)
	walk = func(path []string, v any) {
		if m, ok := v.(map[string]any); ok {
			for _, k := range slices.Sorted(maps.Keys(m)) {
				if !id.isName(path, k) {
					walk(append(slices.Clone(path), k), m[k])
				}
			}
			return
		}
		paths = append(paths, path)
	}
	walk(nil, map[string]any(o))
	return paths
}

func (id calicoID) isName(path []string, key string) bool {
	switch len(path) {
	case 0:
		return key == "apiVersion" || key == "kind"
	case 1:
		return path[0] == "metadata" && (id.Metadata[key] != "" || slices.Contains(ofServer, key))
	}
	return false
}

func (o object) at(path []string) (any, bool) {
	var v any = map[string]any(o)
	for _, k := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = m[k]; !ok {
			return nil, false
		}
	}
	return v, true
}

// with is o with the fields at paths as from has them. What is under no path stays; folders that are left empty go if from has none.
func (o object) with(from object, paths [][]string) object {
	out := clone(map[string]any(o)).(map[string]any)
	for _, p := range paths {
		v, there := from.at(p)
		if !there || v == nil {
			drop(out, from, p)
			continue
		}
		put(out, p, v)
	}
	return out
}

func put(m map[string]any, path []string, v any) {
	for _, k := range path[:len(path)-1] {
		next, ok := m[k].(map[string]any)
		if !ok {
			next = map[string]any{}
			m[k] = next
		}
		m = next
	}
	m[path[len(path)-1]] = clone(v)
}

func drop(m map[string]any, from object, path []string) {
	for n := len(path); n > 0; n-- {
		parent, ok := object(m).at(path[:n-1])
		folder, isFolder := parent.(map[string]any)
		if !ok || !isFolder {
			return
		}
		delete(folder, path[n-1])
		if _, kept := from.at(path[:n-1]); len(folder) > 0 || kept {
			return
		}
	}
}

func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[k] = clone(e)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, e := range v {
			l[i] = clone(e)
		}
		return l
	}
	return v
}

// threeValued are kinds whose switches differ between false and not set.
var threeValued = []string{"FelixConfiguration", "BGPConfiguration", "KubeControllersConfiguration"}

// marked are the keys of metadata whose values say something even when they are empty.
var marked = []string{"labels", "annotations"}

// isMark tells whether a path leads to a label or an annotation.
func isMark(path []string) bool {
	return len(path) == 3 && path[0] == "metadata" && slices.Contains(marked, path[1])
}

// meaning is a value in the one spelling of all that mean the same: numbers as text, and what Calico leaves out when it stores it as nil.
func (id calicoID) meaning(v any) any {
	switch v := v.(type) {
	case json.Number:
		return v.String()
	case string:
		if v == "" {
			return nil
		}
	case bool:
		if !v && !slices.Contains(threeValued, id.Kind) {
			return nil
		}
	case []any:
		return id.meaningOfList(v)
	case map[string]any:
		return id.meaningOfMap(v)
	}
	return v
}

func (id calicoID) meaningOfList(v []any) any {
	if len(v) == 0 {
		return nil
	}
	l := make([]any, len(v))
	for i, e := range v {
		l[i] = id.meaning(e)
	}
	return l
}

func (id calicoID) meaningOfMap(v map[string]any) any {
	m := map[string]any{}
	for k, e := range v {
		if marks, ok := e.(map[string]any); ok && slices.Contains(marked, k) && len(marks) > 0 {
			m[k] = marks
		} else if e := id.meaning(e); e != nil {
			m[k] = e
		}
	}
	if len(m) == 0 {
		return nil
	}
	return m
}

// view is what o has at paths: what a change is judged by and a diff shows.
func (id calicoID) view(o object, paths [][]string) map[string]any {
	v := map[string]any{}
	for _, p := range paths {
		if e, ok := o.at(p); ok && (isMark(p) && e != nil || id.meaning(e) != nil) {
			put(v, p, e)
		}
	}
	return v
}

// word says in a record what o has at paths.
func (id calicoID) word(o object, paths [][]string) string {
	if o == nil {
		return "absent"
	}
	raw, _ := json.Marshal(id.meaning(id.view(o, paths))) // it came from JSON; keys are sorted
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (id calicoID) same(a, b object, paths [][]string) bool {
	return reflect.DeepEqual(id.meaning(id.view(a, paths)), id.meaning(id.view(b, paths)))
}

// fresh is o without what the datastore writes into it.
func (o object) fresh() object {
	out := clone(map[string]any(o)).(map[string]any)
	if m, ok := out["metadata"].(map[string]any); ok {
		for _, k := range ofServer {
			delete(m, k)
		}
	}
	return out
}

// withVersionOf is o to be written over now, and over nothing newer.
func (o object) withVersionOf(now object) object {
	m, _ := now["metadata"].(map[string]any)
	for _, k := range []string{"resourceVersion", "uid", "creationTimestamp"} {
		if v, ok := m[k]; ok {
			put(o, []string{"metadata", k}, v)
		}
	}
	return o
}

package kube

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/calroll/calroll/testenv"
)

// Objects takes a picture of all objects that the API has, for [testenv.Snapshot.Diff]: an entry "apps/v1 daemonsets kube-system/calico-node" each.
// Left out are events, leases, what a component reports of itself (status), and what the API counts and stamps.
func (c *Cluster) Objects(ctx context.Context) (testenv.Snapshot, error) {
	s, err := c.admin.objects(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot take a picture of the cluster's objects: %w", err)
	}
	return s, nil
}

func (c *client) objects(ctx context.Context) (testenv.Snapshot, error) {
	paths, err := c.groups(ctx)
	if err != nil {
		return nil, err
	}
	s := testenv.Snapshot{}
	for _, path := range paths {
		kinds, err := c.kinds(ctx, path)
		if err != nil {
			return nil, err
		}
		for _, kind := range kinds {
			if err := c.list(ctx, s, path, kind); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// groups are the paths of all groups in the version that the API prefers.
func (c *client) groups(ctx context.Context) ([]string, error) {
	var all struct {
		Groups []struct {
			PreferredVersion struct{ GroupVersion string }
		}
	}
	if err := c.get(ctx, "/apis", &all); err != nil {
		return nil, err
	}
	paths := []string{"/api/v1"}
	for _, g := range all.Groups {
		paths = append(paths, "/apis/"+g.PreferredVersion.GroupVersion)
	}
	return paths, nil
}

// passing are kinds of objects that come and go by themselves.
var passing = []string{"events", "leases", "componentstatuses"}

// kinds are the plural names of a group's kinds that can be listed.
func (c *client) kinds(ctx context.Context, path string) ([]string, error) {
	var all struct {
		Resources []struct {
			Name  string
			Verbs []string
		}
	}
	if err := c.get(ctx, path, &all); err != nil {
		return nil, err
	}
	var names []string
	for _, r := range all.Resources {
		if slices.Contains(r.Verbs, "list") && !slices.Contains(passing, r.Name) {
			names = append(names, r.Name)
		}
	}
	return names, nil
}

func (c *client) list(ctx context.Context, s testenv.Snapshot, path, kind string) error {
	var all struct{ Items []map[string]any }
	if err := c.get(ctx, path+"/"+kind, &all); err != nil {
		return err
	}
	group := strings.TrimPrefix(strings.TrimPrefix(path, "/apis/"), "/api/")
	for _, o := range all.Items {
		meta, _ := o["metadata"].(map[string]any)
		name := fmt.Sprint(meta["name"])
		if namespace, ok := meta["namespace"]; ok {
			name = fmt.Sprintf("%s/%s", namespace, name)
		}
		s[group+" "+kind+" "+name] = describe(o, meta)
	}
	return nil
}

// describe is the lasting content of an object, a word for each value.
func describe(o, meta map[string]any) string {
	delete(o, "status")
	for _, stamp := range []string{"name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"} {
		delete(meta, stamp)
	}
	var words []string
	for _, top := range slices.Sorted(maps.Keys(o)) {
		var part []string
		flatten(top, o[top], &part)
		if len(part) > 40 { // a schema, say: nobody reads it in a difference
			text, _ := json.Marshal(o[top]) // it has just been read from JSON
			part = []string{fmt.Sprintf("%s=sha256:%x", top, sha256.Sum256(text))}
		}
		words = append(words, part...)
	}
	return strings.Join(words, " ")
}

// stamps are keys whose values change by themselves at any depth.
var stamps = []string{"timeAdded", "uid", "endpoints.kubernetes.io/last-change-trigger-time"}

// flatten adds a word for each value below v.
func flatten(path string, v any, words *[]string) {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if !slices.Contains(stamps, key) {
				flatten(path+"."+key, v[key], words)
			}
		}
	case []any:
		for i, item := range v {
			flatten(fmt.Sprintf("%s[%d]", path, i), item, words)
		}
	default:
		text := fmt.Sprint(v)
		if len(text) > 100 || strings.ContainsAny(text, " \n\t") {
			text = fmt.Sprintf("%.20q...sha256:%.4x", text, sha256.Sum256([]byte(text)))
			text = strings.ReplaceAll(text, " ", "_")
		}
		*words = append(*words, path+"="+text)
	}
}

package cluster

import (
	"context"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"

	"github.com/calroll/calroll/tasks"
)

// K8sClusterInfo is the module k8s_cluster_info: what an API is and what it serves.
type K8sClusterInfo struct {
	kubeLogin
	InvalidateCache bool           `arg:"invalidate_cache,default=true" doc:"nothing is kept from one task to the next, so this changes nothing"`
	Prefer          map[string]any `arg:"prefer" doc:"for some kinds, API versions in the order in which they are liked; api_versions of the result has the first of them that is served"`
}

// Run implements tasks.Module. Besides the collection's values the result has served (kind: the API versions that serve it) and api_versions.
func (m *K8sClusterInfo) Run(ctx context.Context, sys *tasks.Sys) (tasks.Result, error) {
	var r tasks.Result
	k, err := m.open(ctx, sys)
	if err != nil {
		return r, err
	}
	defer k.close()
	server, err := k.discovery.ServerVersion()
	if err != nil {
		return r, failed("ask Kubernetes for its version", err)
	}
	groups, lists, err := k.discovery.ServerGroupsAndResources()
	if discovery.IsGroupDiscoveryFailedError(err) {
		sys.Warn("%v", err) // an aggregated API that is away
	} else if err != nil {
		return r, failed("ask Kubernetes what it serves", err)
	}
	version, err := object(server)
	if err != nil {
		return r, err
	}
	apis, served := apisOf(lists, preferredVersions(groups))
	r.Set("apis", apis)
	r.Set("served", served)
	r.Set("api_versions", choose(m.Prefer, served))
	r.Set("version", map[string]any{"server": map[string]any{"kubernetes": version}, "client": "calroll"})
	r.Set("connection", map[string]any{"host": k.config.Host, "username": k.config.Username, "verify_ssl": !k.config.Insecure})
	return r, nil
}

func preferredVersions(groups []*metav1.APIGroup) map[string]bool {
	preferred := map[string]bool{}
	for _, g := range groups {
		preferred[g.PreferredVersion.GroupVersion] = true
	}
	return preferred
}

func apisOf(lists []*metav1.APIResourceList, preferred map[string]bool) (apis map[string]any, served map[string][]string) {
	apis, served = map[string]any{}, map[string][]string{}
	for _, list := range lists {
		kinds := map[string]any{}
		for _, r := range list.APIResources {
			if strings.Contains(r.Name, "/") {
				continue
			}
			served[r.Kind] = append(served[r.Kind], list.GroupVersion)
			kinds[r.Kind] = map[string]any{"name": r.Name, "namespaced": r.Namespaced, "preferred": preferred[list.GroupVersion], "categories": some(r.Categories),
				"short_names": some(r.ShortNames), "singular_name": r.SingularName}
		}
		apis[list.GroupVersion] = kinds
	}
	return apis, served
}

// some is a list that is empty rather than nothing.
func some(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// choose takes for each kind the first API version of its preferences that is served.
func choose(prefer map[string]any, served map[string][]string) map[string]any {
	chosen := map[string]any{}
	for kind, given := range prefer {
		list, _ := given.([]any)
		for _, v := range list {
			if text, _ := v.(string); chosen[kind] == nil && contains(served[kind], text) {
				chosen[kind] = text
			}
		}
	}
	return chosen
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

// K8sCanI is the module k8s_can_i: asks whether somebody may do something. It alters nothing.
type K8sCanI struct {
	kubeLogin
	Verb           string   `arg:"verb,required" doc:"get, list, watch, create, update, patch, delete, ..."`
	Resource       string   `arg:"resource" doc:"the resource in the plural, as in rules of roles"`
	Subresource    string   `arg:"subresource" doc:"status, exec, ..."`
	Group          string   `arg:"group,alias=api_group" doc:"its API group; empty is the core group"`
	Version        string   `arg:"version" doc:"its version, where it matters"`
	Namespace      string   `arg:"namespace" doc:"in this namespace; everywhere when not given"`
	Name           string   `arg:"name" doc:"this object only"`
	NonResourceURL string   `arg:"non_resource_url" doc:"a path of the API such as /healthz instead of a resource"`
	User           string   `arg:"user" doc:"ask about this user instead of oneself"`
	Groups         []string `arg:"groups" doc:"and as a member of these groups"`
}

// Rules are constraints between the arguments.
func (*K8sCanI) Rules() tasks.Rules {
	both := [][]string{{"resource", "non_resource_url"}}
	return tasks.Rules{MutuallyExclusive: both, RequiredOneOf: both}
}

// Run implements tasks.Module.
func (m *K8sCanI) Run(ctx context.Context, sys *tasks.Sys) (tasks.Result, error) {
	var r tasks.Result
	k, err := m.open(ctx, sys)
	if err != nil {
		return r, err
	}
	defer k.close()
	kind := "SelfSubjectAccessReview"
	spec := m.attributes()
	if m.User != "" || len(m.Groups) > 0 {
		kind = "SubjectAccessReview"
		spec["user"] = m.User
		groups := make([]any, len(m.Groups))
		for i, g := range m.Groups {
			groups[i] = g
		}
		spec["groups"] = groups
	}
	kindOf, err := k.find("authorization.k8s.io/v1", kind)
	if err != nil {
		return r, failed("ask Kubernetes about permissions", err)
	}
	review := &unstructured.Unstructured{Object: map[string]any{"apiVersion": kindOf.apiVersion(), "kind": kind, "metadata": map[string]any{}, "spec": spec}}
	got, err := k.in(kindOf, "").Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return r, failed("ask Kubernetes about permissions", err)
	}
	for _, name := range []string{"allowed", "denied"} {
		v, _, _ := unstructured.NestedBool(got.Object, "status", name)
		r.Set(name, v)
	}
	reason, _, _ := unstructured.NestedString(got.Object, "status", "reason")
	r.Set("reason", reason)
	return r, nil
}

func (m *K8sCanI) attributes() map[string]any {
	if m.NonResourceURL != "" {
		return map[string]any{"nonResourceAttributes": map[string]any{"path": m.NonResourceURL, "verb": m.Verb}}
	}
	a := map[string]any{"verb": m.Verb, "resource": m.Resource}
	for k, v := range map[string]string{"subresource": m.Subresource, "group": m.Group, "version": m.Version, "namespace": m.Namespace, "name": m.Name} {
		if v != "" {
			a[k] = v
		}
	}
	return map[string]any{"resourceAttributes": a}
}

package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/calroll/calroll/tasks"
)

// kube is an API as one run of a module sees it.
type kube struct {
	access    kubeAccess
	config    *rest.Config
	http      *http.Client
	transport *http.Transport
	objects   dynamic.Interface
	discovery *discovery.DiscoveryClient
	known     map[string][]metav1.APIResource // by apiVersion
	release   *version.Version                // nil until somebody needs it
}

// openKube connects for a module.
func (l *kubeLogin) open(ctx context.Context, sys *tasks.Sys) (*kube, error) {
	a, s, err := l.resolve(sys)
	if err != nil {
		return nil, err
	}
	return openKube(ctx, a, sys.Reach(), s)
}

// openKube makes the clients; nothing is asked yet. They share one transport, which close ends: client-go would keep it for ever.
func openKube(ctx context.Context, a kubeAccess, reach tasks.Reach, s kubeSecrets) (*kube, error) {
	config, err := a.restConfig(ctx, reach, s)
	if err != nil {
		return nil, err
	}
	t, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, failed("use the certificates for Kubernetes at "+config.Host, err)
	}
	k := &kube{access: a, config: config, known: map[string][]metav1.APIResource{}}
	k.transport = &http.Transport{TLSClientConfig: t, DialContext: reach.Dial, Proxy: config.Proxy, ForceAttemptHTTP2: true}
	if reach.Dial == nil {
		k.transport.DialContext = (&net.Dialer{}).DialContext
	}
	wrapped, err := rest.HTTPWrappersForConfig(config, k.transport)
	if err != nil {
		return nil, failed("log in to Kubernetes at "+config.Host, err)
	}
	k.http = &http.Client{Transport: wrapped, Timeout: config.Timeout}
	if k.objects, err = dynamic.NewForConfigAndClient(config, k.http); err == nil {
		k.discovery, err = discovery.NewDiscoveryClientForConfigAndClient(config, k.http)
	}
	return k, failedOr("connect to Kubernetes at "+config.Host, err)
}

func (k *kube) close() { k.transport.CloseIdleConnections() }

// resource is a kind as the API serves it.
type resource struct {
	schema.GroupVersionResource
	kind       string
	namespaced bool
	verbs      []string
}

func (r resource) can(verb string) bool { return slices.Contains(r.verbs, verb) }

func (r resource) apiVersion() string { return r.GroupVersion().String() }

// errNoKind says that the API does not serve a kind.
type errNoKind struct{ apiVersion, kind string }

func (e errNoKind) Error() string {
	return fmt.Sprintf("Failed to find exact match for %s.%s by [kind, name, singularName, shortNames]", e.apiVersion, e.kind)
}

// find looks a kind up by its name, or by the resource's, its singular or a short one. A version without a group that the core group does not serve the
// kind at means that version of any group, as in Ansible's collection.
func (k *kube) find(apiVersion, kind string) (resource, error) {
	list, err := k.served(apiVersion)
	if err != nil {
		return resource{}, err
	}
	if r, ok := pick(list, apiVersion, kind); ok || strings.Contains(apiVersion, "/") {
		return r, absentKind(ok, apiVersion, kind)
	}
	return k.findAnywhere(apiVersion, kind)
}

func absentKind(ok bool, apiVersion, kind string) error {
	if ok {
		return nil
	}
	return errNoKind{apiVersion, kind}
}

func (k *kube) findAnywhere(version, kind string) (resource, error) {
	groups, err := k.discovery.ServerGroups()
	if err != nil {
		return resource{}, failed("ask Kubernetes for its API groups", err)
	}
	var found []resource
	for _, g := range groups.Groups {
		for _, v := range g.Versions {
			if v.Version != version || g.Name == "" {
				continue
			}
			list, err := k.served(v.GroupVersion)
			if err != nil {
				return resource{}, err
			}
			if r, ok := pick(list, v.GroupVersion, kind); ok {
				found = append(found, r)
			}
		}
	}
	if len(found) != 1 {
		return resource{}, errNoKind{version, kind}
	}
	return found[0], nil
}

// served are the resources of a group's version; none when the API does not know it.
func (k *kube) served(apiVersion string) ([]metav1.APIResource, error) {
	if list, ok := k.known[apiVersion]; ok {
		return list, nil
	}
	list, err := k.discovery.ServerResourcesForGroupVersion(apiVersion)
	if apierrors.IsNotFound(err) {
		return nil, nil // not kept: it may be served in a moment
	}
	if err != nil {
		return nil, failed("ask Kubernetes for the resources of "+apiVersion, err)
	}
	k.known[apiVersion] = list.APIResources
	return list.APIResources, nil
}

func (k *kube) forget(apiVersion string) { delete(k.known, apiVersion) }

func pick(list []metav1.APIResource, apiVersion, name string) (resource, bool) {
	for _, match := range []func(metav1.APIResource) bool{
		func(r metav1.APIResource) bool { return r.Kind == name },
		func(r metav1.APIResource) bool {
			return r.Name == name || r.SingularName != "" && r.SingularName == name
		},
		func(r metav1.APIResource) bool { return slices.Contains(r.ShortNames, name) },
	} {
		for _, r := range list {
			if !strings.Contains(r.Name, "/") && match(r) {
				gv, _ := schema.ParseGroupVersion(apiVersion) // the API gave it
				return resource{GroupVersionResource: gv.WithResource(r.Name), kind: r.Kind, namespaced: r.Namespaced, verbs: r.Verbs}, true
			}
		}
	}
	return resource{}, false
}

// in is where the objects of a resource are.
func (k *kube) in(r resource, namespace string) dynamic.ResourceInterface {
	if r.namespaced && namespace != "" {
		return k.objects.Resource(r.GroupVersionResource).Namespace(namespace)
	}
	return k.objects.Resource(r.GroupVersionResource)
}

// get reads an object; nil when there is none.
func (k *kube) get(ctx context.Context, r resource, namespace, name string) (*unstructured.Unstructured, error) {
	o, err := k.in(r, namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, failed("read "+named(r.kind, namespace, name), err)
	}
	return o, nil
}

// pageSize is how many objects of a list come at a time.
const pageSize = 500

// list reads all objects that match.
func (k *kube) list(ctx context.Context, r resource, namespace string, o metav1.ListOptions) ([]*unstructured.Unstructured, error) {
	var all []*unstructured.Unstructured
	o.Limit = pageSize
	for {
		page, err := k.in(r, namespace).List(ctx, o)
		if err != nil {
			return nil, failed("list "+r.Resource, err)
		}
		for i := range page.Items {
			all = append(all, &page.Items[i])
		}
		if o.Continue = page.GetContinue(); o.Continue == "" {
			return all, nil
		}
	}
}

// named is an object in messages.
func named(kind, namespace, name string) string {
	if namespace != "" {
		name = namespace + "/" + name
	}
	return kind + " " + name
}

func nameOfObject(o *unstructured.Unstructured) string {
	return named(o.GetKind(), o.GetNamespace(), o.GetName())
}

func marshalJSON(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	return raw, failedOr("write JSON", err)
}

// object turns what a playbook gave into an object with the number types that the API's own answers have.
func object(v any) (map[string]any, error) {
	raw, err := marshalJSON(v)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	return m, failedOr("read the definition", utiljson.Unmarshal(raw, &m))
}

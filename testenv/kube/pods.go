package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/artifacts"
)

// podWithin bounds how long a pod may take until it is ready, or gone.
const podWithin = 2 * time.Minute

// Pod is a pod that runs testenv/pod: it answers HTTP requests, and makes some where asked. All of that goes over the network that the pod is on.
type Pod struct {
	Namespace, Name string
	Address         string // of the pod
	Host            *testenv.Host
	cluster         *Cluster
}

// PodOptions say what pod to start.
type PodOptions struct {
	Namespace string            // empty means default; it has to be there
	Labels    map[string]string // beside app=NAME
	Node      string            // empty leaves the choice to the scheduler
}

// StartPod starts an HTTP pod and returns once it is ready.
func (c *Cluster) StartPod(ctx context.Context, name string, o PodOptions) (*Pod, error) {
	if o.Namespace == "" {
		o.Namespace = "default"
	}
	text, err := podManifest(name, o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, podWithin)
	defer cancel()
	if err := c.Apply(ctx, text); err != nil {
		return nil, err
	}
	p := &Pod{Namespace: o.Namespace, Name: name, cluster: c}
	if err := poll(ctx, func() error { return p.ready(ctx) }); err != nil {
		events, _ := c.Kubectl(context.WithoutCancel(ctx), "-n", p.Namespace, "get", "events", "--field-selector", "involvedObject.name="+name)
		return nil, fmt.Errorf("pod %s is not ready: %w\n%s", name, err, events)
	}
	return p, nil
}

func podManifest(name string, o PodOptions) (string, error) {
	labels := map[string]string{"app": name}
	maps.Copy(labels, o.Labels)
	spec := map[string]any{"terminationGracePeriodSeconds": 1, "containers": []any{map[string]any{
		"name": "pod", "image": artifacts.ImageTag(artifacts.PodImage, ""), "imagePullPolicy": "Never",
		"ports": []any{map[string]any{"containerPort": podPort}},
	}}}
	if o.Node != "" {
		spec["nodeSelector"] = map[string]string{"kubernetes.io/hostname": o.Node}
	}
	text, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Pod", "spec": spec,
		"metadata": map[string]any{"name": name, "namespace": o.Namespace, "labels": labels}})
	return string(text), err
}

const podPort = 8080

// ready reads the pod and fills in where it is.
func (p *Pod) ready(ctx context.Context) error {
	var is struct {
		Spec   struct{ NodeName string }
		Status struct {
			PodIP      string
			Conditions []Condition
		}
	}
	if err := p.cluster.admin.get(ctx, p.path(), &is); err != nil {
		return err
	}
	if now := findCondition(is.Status.Conditions, "Ready"); now.Status != "True" {
		return fmt.Errorf("it says %+v", now)
	}
	p.Address, p.Host = is.Status.PodIP, p.cluster.Lab.Host(is.Spec.NodeName)
	return nil
}

func (p *Pod) path() string { return "/api/v1/namespaces/" + p.Namespace + "/pods/" + p.Name }

// URL is where the pod answers.
func (p *Pod) URL() string { return "http://" + net.JoinHostPort(p.Address, fmt.Sprint(podPort)) + "/" }

// Get makes a request from the pod. It is asked to by its own node, so that nothing but the request itself crosses the network. The answer of another pod
// is its name and the address that it saw, a line each.
func (p *Pod) Get(ctx context.Context, target string) (string, error) {
	return p.ask(ctx, "get", url.Values{"url": {target}})
}

// Keep has the pod begin to make requests to a URL, one each 50 ms with a second's patience.
func (p *Pod) Keep(ctx context.Context, target string) error {
	_, err := p.ask(ctx, "keep", url.Values{"url": {target}})
	return err
}

// Kept is what became of the requests to one URL.
type Kept struct {
	Sent, Lost int
	Failures   []struct { // the first thousand
		At  time.Time // when it was sent
		Why string
	}
}

// Report tells what became of the requests that Keep began, by URL.
func (p *Pod) Report(ctx context.Context) (map[string]Kept, error) {
	text, err := p.ask(ctx, "report", nil)
	if err != nil {
		return nil, err
	}
	var all map[string]Kept
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, fmt.Errorf("pod %s reports %q: %w", p.Name, text, err)
	}
	return all, nil
}

func (p *Pod) ask(ctx context.Context, what string, q url.Values) (string, error) {
	answer, err := p.Host.Output(ctx, "curl", "--silent", "--show-error", "--fail-with-body", "--noproxy", "*", "--max-time", "10", p.URL()+what+"?"+q.Encode())
	if err != nil {
		err = fmt.Errorf("pod %s cannot %s: %w: %s", p.Name, what, err, answer)
	}
	return answer, err
}

// Delete removes the pod and returns once it is gone.
func (p *Pod) Delete(ctx context.Context) error {
	_, err := p.cluster.Kubectl(ctx, "-n", p.Namespace, "delete", "pod", p.Name, "--wait", "--ignore-not-found", "--timeout", podWithin.String())
	return err
}

// RoutePods gives the control plane's host a route to each pod that there is now, through the pod's node. That host is no node, so without it
// the API cannot call what runs in pods: webhooks, and servers behind the aggregation layer.
func (c *Cluster) RoutePods(ctx context.Context) error {
	var all struct {
		Items []struct {
			Spec   struct{ HostNetwork bool }
			Status struct{ PodIP, HostIP string }
		}
	}
	if err := c.admin.get(ctx, "/api/v1/pods", &all); err != nil {
		return err
	}
	var script strings.Builder
	for _, p := range all.Items {
		if !p.Spec.HostNetwork && p.Status.PodIP != "" {
			fmt.Fprintf(&script, "ip route replace %s/32 via %s || exit\n", p.Status.PodIP, p.Status.HostIP)
		}
	}
	_, err := c.Control.Sh(ctx, script.String())
	return err
}

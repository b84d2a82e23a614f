package kube

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/calroll/calroll/testenv/pki"
)

// client asks the API of a cluster from this machine, which costs less than a kubectl on a host.
type client struct {
	server string
	http   *http.Client
}

// newClient makes a client that logs in with a certificate.
func newClient(server string, ca []byte, p pki.Pair) (*client, error) {
	cert, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: roots}}
	return &client{server: server, http: &http.Client{Transport: transport, Timeout: 10 * time.Second}}, nil
}

// errNotFound is the answer of the API for an object that is not there.
var errNotFound = errors.New("not found")

// get reads an object, or the text if into is a string.
func (c *client) get(ctx context.Context, path string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.server+path, http.NoBody)
	if err != nil {
		return err
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return err
	case answer.StatusCode == http.StatusNotFound:
		return errNotFound
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s", answer.Status, body)
	case into == nil:
		return nil
	}
	return json.Unmarshal(body, into)
}

func (c *client) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, apiReadyWithin)
	defer cancel()
	return poll(ctx, func() error { return c.get(ctx, "/readyz", nil) })
}

// poll calls try several times a second until it succeeds or ctx ends.
func poll(ctx context.Context, try func() error) error {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// Node is what the API has of a node.
type Node struct {
	Metadata struct {
		Name        string            `json:"name"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		PodCIDR       string `json:"podCIDR"`
		Unschedulable bool   `json:"unschedulable"`
	} `json:"spec"`
	Status struct {
		Conditions []Condition `json:"conditions"`
		NodeInfo   struct {
			KubeletVersion          string `json:"kubeletVersion"`
			ContainerRuntimeVersion string `json:"containerRuntimeVersion"`
		} `json:"nodeInfo"`
	} `json:"status"`
}

// Condition is one of an object's conditions.
type Condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"` // True, False or Unknown
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// Condition returns a condition of the node; it is empty if the node has none of that type.
func (n *Node) Condition(kind string) Condition { return findCondition(n.Status.Conditions, kind) }

func findCondition(all []Condition, kind string) Condition {
	for _, c := range all {
		if c.Type == kind {
			return c
		}
	}
	return Condition{}
}

// Node reads a node.
func (c *Cluster) Node(ctx context.Context, name string) (*Node, error) {
	n := &Node{}
	if err := c.admin.get(ctx, "/api/v1/nodes/"+name, n); err != nil {
		return nil, fmt.Errorf("cannot read node %s: %w", name, err)
	}
	return n, nil
}

// WaitNode waits until a condition of a node has a status: WaitNode(ctx, "node1", "Ready", "True").
func (c *Cluster) WaitNode(ctx context.Context, name, condition, status string) error {
	return c.waitNode(ctx, name, func(n *Node) bool { return n.Condition(condition).Status == status })
}

func (c *Cluster) waitNode(ctx context.Context, name string, good func(*Node) bool) error {
	return poll(ctx, func() error {
		n, err := c.Node(ctx, name)
		if err == nil && !good(n) {
			err = fmt.Errorf("%s says %+v", name, n.Condition("Ready"))
		}
		return err
	})
}

// WaitReady waits until every node is ready, for at most five minutes.
func (c *Cluster) WaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, joinWithin)
	defer cancel()
	for _, h := range c.Nodes() {
		if err := c.WaitNode(ctx, h.Name, "Ready", "True"); err != nil {
			return err
		}
	}
	return nil
}

// Kubectl runs kubectl as the administrator on the control plane's host, and returns what it printed.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	return c.Control.Output(ctx, append([]string{"kubectl", "--kubeconfig", etc + "/admin.conf"}, args...)...)
}

// Apply has kubectl apply the manifests in text.
func (c *Cluster) Apply(ctx context.Context, text string) error {
	_, err := c.Control.Pipe(ctx, strings.NewReader(text), "kubectl", "--kubeconfig", etc+"/admin.conf", "apply", "-f", "-")
	return err
}

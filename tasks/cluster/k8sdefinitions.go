package cluster

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	utiljson "k8s.io/apimachinery/pkg/util/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/calroll/calroll/tasks"
)

// definition is one object that a task describes.
type definition struct {
	at     int // its place in the task
	object map[string]any
}

func (d definition) text(path ...string) string {
	var v any = d.object
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	s, _ := v.(string)
	return s
}

func (d definition) kind() string       { return d.text("kind") }
func (d definition) apiVersion() string { return d.text("apiVersion") }
func (d definition) name() string       { return d.text("metadata", "name") }
func (d definition) namespace() string  { return d.text("metadata", "namespace") }
func (d definition) named() string      { return named(d.kind(), d.namespace(), d.name()) }

func (d definition) meta() map[string]any { return d.object["metadata"].(map[string]any) }

// definitions are the objects that the arguments describe, Lists taken apart, completed by the arguments of the task.
func (m *K8s) definitions(ctx context.Context, sys *tasks.Sys) ([]definition, error) {
	docs, err := m.documents(ctx, sys)
	if err != nil {
		return nil, err
	}
	var all []definition
	for _, doc := range docs {
		if err := m.complete(doc); err != nil {
			return nil, err
		}
		items, err := m.unfold(doc)
		if err != nil {
			return nil, err
		}
		for _, o := range items {
			all = append(all, definition{at: len(all), object: o})
		}
	}
	return all, nil
}

func (m *K8s) documents(ctx context.Context, sys *tasks.Sys) ([]map[string]any, error) {
	switch {
	case m.Definition != nil:
		return documentsOf(m.Definition)
	case strings.HasPrefix(m.Src, "https://") || strings.HasPrefix(m.Src, "http://"):
		text, err := fetch(ctx, sys, m.Src)
		if err != nil {
			return nil, err
		}
		return documentsIn(m.Src, text)
	case m.Src != "":
		text, err := kubeFiles{sys.Reach(), sys.As()}.read(ctx, m.Src)
		if err != nil {
			return nil, err
		}
		return documentsIn(m.Src, text)
	}
	return []map[string]any{{}}, nil
}

// sourceLimit bounds a manifest that is fetched, in bytes.
const sourceLimit = 64 << 20

// fetch reads a manifest from a URL, from where the host is.
func fetch(ctx context.Context, sys *tasks.Sys, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, failed("fetch "+address, err)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: sys.Dial(), DisableKeepAlives: true}, Timeout: questionLimit}
	resp, err := client.Do(req)
	if err != nil {
		return nil, failed("fetch "+address, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, failed("fetch "+address, errors.New(resp.Status))
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, sourceLimit))
	return text, failedOr("fetch "+address, err)
}

// documentsOf reads a dictionary, YAML of one or more documents, or a list of these.
func documentsOf(v any) ([]map[string]any, error) {
	switch v := v.(type) {
	case string:
		return documentsIn("the definition", []byte(v))
	case map[string]any:
		o, err := object(v)
		return []map[string]any{o}, err
	case []any:
		var all []map[string]any
		for _, e := range v {
			docs, err := documentsOf(e)
			if err != nil {
				return nil, err
			}
			all = append(all, docs...)
		}
		return all, nil
	case nil:
		return nil, nil
	}
	return nil, failed("read the definition", fmt.Errorf("a dictionary, a list or YAML is expected, not %T", v))
}

func documentsIn(from string, text []byte) ([]map[string]any, error) {
	var all []map[string]any
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for n := 1; ; n++ {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err == nil {
			doc, err = yaml.YAMLToJSON(doc)
		}
		var m map[string]any
		if err == nil {
			err = utiljson.Unmarshal(doc, &m)
		}
		if err != nil {
			return nil, failed(fmt.Sprintf("read document %d of %s", n, from), err)
		}
		if len(m) > 0 {
			all = append(all, m)
		}
	}
}

// complete adds what the task's arguments say to a definition, which wins.
func (m *K8s) complete(o map[string]any) error {
	set := func(in map[string]any, key, val string) {
		if v, ok := in[key]; val != "" && (!ok || v == nil) {
			in[key] = val
		}
	}
	set(o, "kind", m.Kind)
	set(o, "apiVersion", m.APIVersion)
	meta, ok := o["metadata"].(map[string]any)
	if !ok {
		meta = map[string]any{}
		o["metadata"] = meta
	}
	set(meta, "namespace", m.Namespace)
	set(meta, "name", m.Name)
	set(meta, "generateName", m.GenerateName)
	if kind, _ := o["kind"].(string); kind == "" {
		return failed("use the definition", errors.New("it has no kind"))
	}
	return encodeSecret(o)
}

// encodeSecret writes stringData of a Secret as data, which is how the API gives it back.
func encodeSecret(o map[string]any) error {
	plain, ok := o["stringData"].(map[string]any)
	if kind, _ := o["kind"].(string); !ok || kind != "Secret" {
		return nil
	}
	data, ok := o["data"].(map[string]any)
	if !ok {
		data = map[string]any{}
		o["data"] = data
	}
	for k, v := range plain {
		s, ok := v.(string)
		if !ok {
			return failed("use the Secret's stringData", fmt.Errorf("%s is no text", k))
		}
		data[k] = base64.StdEncoding.EncodeToString([]byte(s))
	}
	delete(o, "stringData")
	return nil
}

// unfold takes a List apart.
func (m *K8s) unfold(o map[string]any) ([]map[string]any, error) {
	kind, _ := o["kind"].(string)
	items, ok := o["items"].([]any)
	if !strings.HasSuffix(kind, "List") || !ok {
		return []map[string]any{o}, nil
	}
	all := make([]map[string]any, len(items))
	for i, item := range items {
		e, ok := item.(map[string]any)
		if !ok {
			return nil, failed("use the "+kind, fmt.Errorf("item %d is no object", i+1))
		}
		if e["kind"] == nil && kind != "List" {
			e["kind"] = strings.TrimSuffix(kind, "List")
		}
		if e["apiVersion"] == nil {
			e["apiVersion"] = o["apiVersion"]
		}
		if err := m.complete(e); err != nil {
			return nil, err
		}
		all[i] = e
	}
	return all, nil
}

// order is the rank in which kinds are brought about, so that each finds what it needs.
var order = map[string]int{
	"Namespace": 0, "ServiceAccount": 1, "ClusterRole": 2, "Role": 2, "ClusterRoleBinding": 3, "RoleBinding": 3, "CustomResourceDefinition": 4, "Secret": 5,
	"ConfigMap": 6, "Service": 8, "Deployment": 9, "DaemonSet": 9, "StatefulSet": 9, "ReplicaSet": 9, "Job": 9, "CronJob": 9, "Pod": 9, "APIService": 11,
}

const (
	rankOther  = 7 // of Kubernetes' own kinds: limits, classes, disruption budgets
	rankCustom = 10
)

func (d definition) rank() int {
	group, _, ok := strings.Cut(d.apiVersion(), "/")
	if r, known := order[d.kind()]; known && builtinGroup(group, ok) {
		return r
	}
	if builtinGroup(group, ok) {
		return rankOther
	}
	return rankCustom
}

// builtinGroup tells Kubernetes' own groups from those of custom resources.
func builtinGroup(group string, has bool) bool {
	return !has || !strings.Contains(group, ".") || strings.HasSuffix(group, ".k8s.io")
}

// sorted puts definitions into the order in which they are brought about, or in which they go.
func sorted(all []definition, away bool) []definition {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b definition) int {
		if away {
			return b.rank() - a.rank()
		}
		return a.rank() - b.rank()
	})
	return all
}

// generate chooses a name as the API would, because a record needs it before the object is there.
func (d definition) generate() {
	if prefix := d.text("metadata", "generateName"); d.name() == "" && prefix != "" {
		d.meta()["name"] = prefix + strings.ToLower(rand.Text()[:5])
	}
}

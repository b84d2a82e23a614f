package cluster

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/calroll/calroll/tasks"
)

// K8sInfo is the module k8s_info: reads objects of a Kubernetes API. The values of Secrets are in the result: use no_log with them.
type K8sInfo struct {
	kubeLogin
	kubeWait
	Kind           string   `arg:"kind,required" doc:"the kind, or the resource's name or short name"`
	APIVersion     string   `arg:"api_version,alias=api|version,default=v1" doc:"its API version"`
	Name           string   `arg:"name" doc:"the object; every one of the kind when not given"`
	Namespace      string   `arg:"namespace" doc:"its namespace; all when neither it nor name is given"`
	LabelSelectors []string `arg:"label_selectors" doc:"only objects with these labels"`
	FieldSelectors []string `arg:"field_selectors" doc:"only objects with these fields"`
}

// Run implements tasks.Module.
func (m *K8sInfo) Run(ctx context.Context, sys *tasks.Sys) (tasks.Result, error) {
	k, err := m.open(ctx, sys)
	if err != nil {
		return tasks.Result{}, err
	}
	defer k.close()
	var r tasks.Result
	kind, err := k.find(m.APIVersion, m.Kind)
	if errors.As(err, new(errNoKind)) {
		r.Set("resources", []any{})
		r.Set("api_found", false)
		r.Msg = fmt.Sprintf("Failed to find API for resource with apiVersion %q and kind %q", m.APIVersion, m.Kind)
		return r, nil
	}
	if err != nil {
		return r, err
	}
	found, err := m.read(ctx, k, kind)
	list := make([]any, len(found))
	for i, o := range found {
		list[i] = o.Object
	}
	r.Set("resources", list)
	r.Set("api_found", true)
	return r, err
}

// read gives the objects; with wait, once there are some and each is ready.
func (m *K8sInfo) read(ctx context.Context, k *kube, r resource) (found []*unstructured.Unstructured, err error) {
	if !m.Wait {
		return m.once(ctx, k, r)
	}
	err = poll(ctx, m.timeout(), m.sleep(), func() (bool, error) {
		found, err = m.once(ctx, k, r)
		return len(found) > 0, err
	}, "")
	if len(found) == 0 {
		return nil, canceledOnly(err)
	}
	for i, o := range found {
		d := definition{object: o.Object}
		var seconds *int
		if found[i], seconds, err = m.waitFor(ctx, k, r, d, o); err != nil {
			return nil, &tasks.Error{Kind: tasks.KindOf(err), Detail: fmt.Sprintf("Failed to gather information about %s(s) even after waiting for %d seconds", r.kind, *seconds), Err: err}
		}
	}
	return found, nil
}

// canceledOnly is err unless it only says that the time is over.
func canceledOnly(err error) error {
	if tasks.KindOf(err) == tasks.Canceled {
		return err
	}
	return nil
}

func (m *K8sInfo) once(ctx context.Context, k *kube, r resource) ([]*unstructured.Unstructured, error) {
	if m.Name != "" && len(m.LabelSelectors)+len(m.FieldSelectors) == 0 {
		if r.namespaced && m.Namespace == "" {
			return nil, failed("read "+named(r.kind, "", m.Name), fmt.Errorf("Namespace is required for %s.%s", r.apiVersion(), r.kind))
		}
		o, err := k.get(ctx, r, m.Namespace, m.Name)
		if o == nil {
			return nil, err
		}
		return []*unstructured.Unstructured{o}, err
	}
	o := metav1.ListOptions{LabelSelector: joined(m.LabelSelectors), FieldSelector: joined(m.FieldSelectors)}
	if m.Name != "" {
		o.FieldSelector = joined(append([]string{"metadata.name=" + m.Name}, m.FieldSelectors...))
	}
	all, err := k.list(ctx, r, m.Namespace, o)
	if apierrors.IsBadRequest(err) {
		return nil, nil
	}
	return all, err
}

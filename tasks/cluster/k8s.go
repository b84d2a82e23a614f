package cluster

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/calroll/calroll/tasks"
)

// fieldManager is the name under which calroll owns fields.
const fieldManager = "calroll"

// K8s is the module k8s: objects of a Kubernetes API.
type K8s struct {
	kubeLogin
	kubeWait
	State           string         `arg:"state,choices=present|absent|patched,default=present" doc:"present: create or change; absent: delete; patched: change what is there, create nothing"`
	Definition      any            `arg:"resource_definition,alias=definition|inline" doc:"the object: a dictionary, YAML of one or more documents, or a list of these; brought about in the order in which kinds need each other"`
	Src             string         `arg:"src" doc:"a file with the objects, on the host (a relative one is looked for in files/ first), or a URL"`
	Template        any            `arg:"template,local" doc:"a template of the objects, or a list of them: a path in templates/, or a dictionary with path and the options of the module template"`
	APIVersion      string         `arg:"api_version,alias=api|version,default=v1" doc:"API version of objects that do not say theirs"`
	Kind            string         `arg:"kind" doc:"kind of objects that do not say theirs"`
	Name            string         `arg:"name" doc:"name of objects that do not say theirs"`
	GenerateName    string         `arg:"generate_name" doc:"beginning of a name that is made up"`
	Namespace       string         `arg:"namespace" doc:"namespace of objects that do not say theirs"`
	Apply           bool           `arg:"apply,default=false" doc:"apply: what an earlier apply set and this one does not is removed"`
	ServerSideApply *serverApply   `arg:"server_side_apply" doc:"with apply: have the server do it; field_manager (who owns the fields), force_conflicts (take fields from other managers); servers before 1.16 cannot, and apply is done here"`
	Force           bool           `arg:"force,default=false" doc:"replace the object as a whole"`
	MergeType       []string       `arg:"merge_type,choices=merge|strategic-merge" doc:"how to patch; the first that the API accepts of strategic-merge and merge"`
	LabelSelectors  []string       `arg:"label_selectors" doc:"present: only definitions with these labels; absent: every object with them"`
	DeleteAll       bool           `arg:"delete_all,default=false" doc:"absent without a name: delete every object of the kind (in the namespace, if there is one)"`
	DeleteOptions   *deleteOptions `arg:"delete_options" doc:"absent: propagationPolicy (Foreground, Background, Orphan), gracePeriodSeconds, preconditions (resourceVersion, uid)"`
	ContinueOnError bool           `arg:"continue_on_error,default=false" doc:"go on with the other objects after one that failed, whose result has error"`
}

type serverApply struct {
	FieldManager   string `arg:"field_manager"`
	ForceConflicts bool   `arg:"force_conflicts"`
}

type deleteOptions struct {
	PropagationPolicy string            `arg:"propagationPolicy"`
	GracePeriod       *int64            `arg:"gracePeriodSeconds"`
	Preconditions     map[string]string `arg:"preconditions"`
}

// Rules are constraints between the arguments.
func (*K8s) Rules() tasks.Rules {
	return tasks.Rules{MutuallyExclusive: [][]string{{"resource_definition", "src"}, {"merge_type", "apply"}, {"template", "resource_definition"}, {"template", "src"},
		{"name", "generate_name"}}}
}

// outcome is what one definition came to.
type outcome struct {
	changed  bool
	method   string
	result   map[string]any
	duration *int
	msg      string
	err      error
}

// Run implements tasks.Module.
func (m *K8s) Run(ctx context.Context, sys *tasks.Sys) (tasks.Result, error) {
	if m.ServerSideApply != nil && m.ServerSideApply.FieldManager == "" {
		m.ServerSideApply.FieldManager = fieldManager
	}
	all, err := m.definitions(ctx, sys)
	if err != nil {
		return tasks.Result{}, err
	}
	k, err := m.open(ctx, sys)
	if err != nil {
		return tasks.Result{}, err
	}
	defer k.close()
	w := &k8sWork{K8s: m, kube: k, sys: sys}
	outcomes := make([]outcome, len(all))
	for _, d := range sorted(all, m.State == "absent") {
		o := w.one(ctx, d)
		outcomes[d.at] = o
		if o.err != nil && !m.ContinueOnError {
			return answered(outcomes[d.at:d.at+1], changedAny(outcomes)), o.err
		}
	}
	return answered(outcomes, changedAny(outcomes)), nil
}

func changedAny(all []outcome) bool {
	for _, o := range all {
		if o.changed {
			return true
		}
	}
	return false
}

// answered is the module's result: that of the one object, or a list of them.
func answered(all []outcome, changed bool) tasks.Result {
	r := tasks.Result{Changed: changed}
	if len(all) == 1 {
		r.Values = all[0].values()
		r.Msg = all[0].msg
		return r
	}
	results := make([]any, len(all))
	for i, o := range all {
		v := o.values()
		v["changed"] = o.changed
		if o.msg != "" {
			v["msg"] = o.msg
		}
		results[i] = v
	}
	r.Set("result", map[string]any{"results": results})
	return r
}

func (o outcome) values() map[string]any {
	v := map[string]any{"result": o.result}
	if o.result == nil {
		v["result"] = map[string]any{}
	}
	if o.method != "" {
		v["method"] = o.method
	}
	if o.duration != nil {
		v["duration"] = *o.duration
	}
	if o.err != nil {
		v["error"] = map[string]any{"msg": o.err.Error(), "reason": string(apierrors.ReasonForError(o.err))}
	}
	return v
}

// k8sWork is one run of the module.
type k8sWork struct {
	*K8s
	*kube
	sys *tasks.Sys
}

// one brings one definition about.
func (w *k8sWork) one(ctx context.Context, d definition) outcome {
	r, err := w.find(d.apiVersion(), d.kind())
	var none errNoKind
	switch {
	case errors.As(err, &none) && w.State == "absent" && d.rank() == rankCustom: // nor can there be such an object
		w.sys.Warn("%s is not there: there is nothing of kind %s to delete", d.apiVersion(), d.kind())
		return outcome{method: "delete"}
	case errors.As(err, &none) && w.sys.Check() && w.State == "present" && d.rank() == rankCustom:
		w.sys.Warn("%s is not there yet: that %s would be accepted is not certain", d.kind(), d.named())
		return outcome{changed: true, method: w.method(true), result: d.object}
	case errors.As(err, &none):
		return outcome{err: &tasks.Error{Kind: tasks.Failed, Detail: err.Error()}}
	case err != nil:
		return outcome{err: err}
	}
	d.object["kind"], d.object["apiVersion"] = r.kind, r.apiVersion()
	if !r.namespaced {
		delete(d.meta(), "namespace")
	}
	if w.State == "absent" {
		return w.absent(ctx, r, d)
	}
	if out, filtered := w.filtered(d); filtered {
		return out
	}
	d.generate()
	switch {
	case d.name() == "" && r.can("get"):
		return outcome{err: failed("use the definition of a "+r.kind, errors.New("it has no name"))}
	case r.namespaced && d.namespace() == "":
		return outcome{err: failed("use the definition of "+d.named(), fmt.Errorf("Namespace is required for %s.%s", r.apiVersion(), r.kind))}
	}
	return w.present(ctx, r, d)
}

// filtered leaves out a definition that the label selectors do not mean.
func (w *k8sWork) filtered(d definition) (outcome, bool) {
	if len(w.LabelSelectors) == 0 {
		return outcome{}, false
	}
	s, err := w.selector()
	if err != nil {
		return outcome{err: err}, true
	}
	if s.Matches(labels.Set((&unstructured.Unstructured{Object: d.object}).GetLabels())) {
		return outcome{}, false
	}
	return outcome{msg: fmt.Sprintf("resource 'kind=%s,name=%s,namespace=%s' filtered by label_selectors.", d.kind(), d.name(), d.namespace())}, true
}

func (w *k8sWork) selector() (labels.Selector, error) {
	s, err := labels.Parse(joined(w.LabelSelectors))
	return s, failedOr("use label_selectors", err)
}

// method is the word for how an object is brought about.
func (m *K8s) method(isNew bool) string {
	switch {
	case m.Apply:
		return "apply"
	case isNew:
		return "create"
	case m.Force:
		return "replace"
	}
	return "update"
}

// present creates or changes an object, waits for it and shows the difference.
func (w *k8sWork) present(ctx context.Context, r resource, d definition) outcome {
	if !r.can("get") { // a question to the API, such as an access review: nothing stays
		return w.ask(ctx, r, d)
	}
	existing, err := w.get(ctx, r, d.namespace(), d.name())
	if err != nil {
		return outcome{err: err}
	}
	out := outcome{method: w.method(existing == nil)}
	if existing == nil && w.State == "patched" {
		w.sys.Warn("resource 'kind=%s,name=%s' was not found but will not be created as 'state' parameter has been set to '%s'", d.kind(), d.name(), w.State)
		return outcome{}
	}
	if existing != nil && selectorDiffers(d.object, existing) {
		return w.replaced(ctx, r, d, existing)
	}
	var after *unstructured.Unstructured
	after, out.changed, out.err = w.alter(ctx, r, d, existing)
	return w.conclude(ctx, r, d, existing, after, out)
}

// conclude waits, if it was asked for, and shows what came of it.
func (w *k8sWork) conclude(ctx context.Context, r resource, d definition, before, after *unstructured.Unstructured, out outcome) outcome {
	if out.err != nil {
		return out
	}
	if out.changed {
		w.show(r.kind, before, after)
	}
	if r.kind == crdKind && !w.sys.Check() {
		w.forgetCRD(after)
	}
	if !w.sys.Check() && (w.Wait || r.kind == crdKind && out.changed) {
		after, out.duration, out.err = w.waitFor(ctx, w.kube, r, d, after)
	}
	if after != nil {
		out.result = masked(r.kind, after.Object)
	}
	return out
}

// ask creates what the API answers at once and keeps nowhere.
func (w *k8sWork) ask(ctx context.Context, r resource, d definition) outcome {
	out := outcome{method: "create", changed: true}
	got, err := w.in(r, d.namespace()).Create(ctx, &unstructured.Unstructured{Object: d.object}, metav1.CreateOptions{FieldManager: fieldManager})
	if err != nil {
		out.err = failed("create "+d.named(), err)
		return out
	}
	out.result = got.Object
	return out
}

func (w *k8sWork) show(kind string, before, after *unstructured.Unstructured) {
	if !w.sys.WantDiff() {
		return
	}
	w.sys.AddDiff(diffOf(kind, before, after))
}

package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"reflect"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/calroll/calroll/tasks"
)

// k8sKind is the kind of records about objects of Kubernetes.
const k8sKind = "k8s"

// k8sRecord is what a rollback needs to know of an object besides its image.
type k8sRecord struct {
	kubeAccess
	Group     string `json:"group,omitempty"`
	Version   string `json:"version"`
	Resource  string `json:"resource"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// Owned are the fields by which the states before and after are told: what calroll decided, not what the server or others added.
	Owned *shape `json:"owned"`
	// Changed are the fields that the alteration changes, which is what a rollback puts back; nil when the object came or went.
	Changed *shape `json:"changed,omitempty"`
}

func (r k8sRecord) groupVersion() string {
	return schema.GroupVersion{Group: r.Group, Version: r.Version}.String()
}

func (r k8sRecord) resource() resource {
	return resource{GroupVersionResource: schema.GroupVersionResource{Group: r.Group, Version: r.Version, Resource: r.Resource}, kind: r.Kind, namespaced: r.Namespace != ""}
}

// k8sRestorer takes changes of objects back.
type k8sRestorer struct{ reach tasks.Reach }

func newK8sRestorer(reach tasks.Reach) *k8sRestorer {
	if reach.Dial != nil {
		reach.Dial = patient(reach.Dial, awayLimit)
	}
	return &k8sRestorer{reach: reach}
}

// awayLimit is for how long an undo waits for an API that nobody can connect to: one that is started again is there before. Requests may take a minute.
const awayLimit = 45 * time.Second

// patient is a dial that tries again for so long, counted from the first failure in a row, whoever meets it.
func patient(dial tasks.Dial, limit time.Duration) tasks.Dial {
	var mu sync.Mutex
	var until time.Time
	goesOn := func(err error) bool {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err == nil:
			until = time.Time{}
		case until.IsZero():
			until = time.Now().Add(limit)
		}
		return err != nil && time.Now().Before(until)
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		for pause := firstPause; ; pause = min(2*pause, time.Second) {
			c, err := dial(ctx, network, addr)
			if !goesOn(err) {
				return c, err
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return nil, err
			}
		}
	}
}

// restoring is one record while it is taken back.
type restoring struct {
	*kube
	k8sRecord
	before tasks.Before
}

func (r *k8sRestorer) open(ctx context.Context, b tasks.Before) (*restoring, error) {
	u := &restoring{before: b}
	if err := json.Unmarshal(b.Meta, &u.k8sRecord); err != nil {
		return nil, failed("read the record of "+b.Key, err)
	}
	s, err := u.kept()
	if err != nil {
		return nil, err
	}
	u.kube, err = openKube(ctx, u.kubeAccess, r.reach, s)
	return u, err
}

// Absent implements tasks.Passing.
func (r *k8sRestorer) Absent() string { return absent }

// Holds implements tasks.Passing: a namespace has objects in it, and a definition those of its kind.
func (r *k8sRestorer) Holds(holder, b tasks.Before) bool {
	var in, is k8sRecord
	if json.Unmarshal(holder.Meta, &in) != nil || json.Unmarshal(b.Meta, &is) != nil || !reflect.DeepEqual(in.kubeAccess, is.kubeAccess) {
		return false
	}
	switch {
	case in.Kind == "Namespace" && in.Group == "":
		return is.Namespace == in.Name
	case in.Kind == crdKind:
		return is.Resource+"."+is.Group == in.Name
	}
	return false
}

// State implements tasks.Restorer.
func (r *k8sRestorer) State(ctx context.Context, b tasks.Before) (string, error) {
	u, err := r.open(ctx, b)
	if err != nil {
		return "", err
	}
	defer u.close()
	now, err := u.now(ctx)
	if err != nil {
		return "", err
	}
	return u.say(now), nil
}

func (u *restoring) now(ctx context.Context) (*unstructured.Unstructured, error) {
	return u.get(ctx, u.resource(), u.Namespace, u.Name)
}

// say is the state in the words of the record. An object that is on its way out counts as what it is about to be after a deletion, and as still there
// before the end of one that takes a creation back, so that both are waited for.
func (u *restoring) say(now *unstructured.Unstructured) string {
	if now != nil && now.GetDeletionTimestamp() != nil {
		if u.before.After == absent {
			return absent
		}
		if u.before.Was == absent {
			return u.before.After
		}
	}
	return u.Owned.state(now)
}

// Restore implements tasks.Restorer.
func (r *k8sRestorer) Restore(ctx context.Context, b tasks.Before, kept tasks.Kept, force bool) error {
	u, err := r.open(ctx, b)
	if err != nil {
		return err
	}
	defer u.close()
	before, err := imageOf(b, kept)
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		now, err := u.now(ctx)
		if err != nil {
			return err
		}
		if u.say(now) != b.After && !force {
			return &tasks.Error{Kind: tasks.Refused, Op: "take back " + b.Key, Detail: "somebody else changed it since"}
		}
		err = u.bring(ctx, now, before)
		if err == nil || !isRace(err) || try == conflictTries {
			return failedOr("take back "+b.Key, err)
		}
	}
}

func imageOf(b tasks.Before, kept tasks.Kept) (*unstructured.Unstructured, error) {
	if kept.Path == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(kept.Path)
	o := &unstructured.Unstructured{}
	if err == nil {
		err = utiljson.Unmarshal(raw, &o.Object)
	}
	return o, failedOr("read what "+b.Key+" was", err)
}

// bring brings the object from now to before.
func (u *restoring) bring(ctx context.Context, now, before *unstructured.Unstructured) error {
	if now != nil && now.GetDeletionTimestamp() != nil {
		if err := u.gone(ctx, u.resource(), now); err != nil {
			return err
		}
		now = nil
	}
	switch {
	case before == nil && now == nil:
		return nil
	case before == nil:
		return u.remove(ctx, now)
	case now == nil:
		return u.create(ctx, before)
	}
	return u.change(ctx, now, before)
}

// remove deletes what the run created, and waits until it is gone: what is taken back next may need its place.
func (u *restoring) remove(ctx context.Context, now *unstructured.Unstructured) error {
	uid, background := now.GetUID(), metav1.DeletePropagationBackground
	err := u.in(u.resource(), now.GetNamespace()).Delete(ctx, now.GetName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &background})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if err := u.gone(ctx, u.resource(), now); err != nil || now.GetKind() != "Deployment" {
		return err
	}
	u.podsEnd(ctx, now)
	return nil
}

// podsLimit bounds the wait for the pods of what was deleted.
const podsLimit = 30 * time.Second

// podsEnd waits a while until a Deployment's pods have given their network back, for which they need what is taken back next: rights, kinds, a plugin.
func (u *restoring) podsEnd(ctx context.Context, deployment *unstructured.Unstructured) {
	match, _, _ := unstructured.NestedStringMap(deployment.Object, "spec", "selector", "matchLabels")
	if len(match) == 0 {
		return
	}
	pods := resource{GroupVersionResource: schema.GroupVersionResource{Version: "v1", Resource: "pods"}, kind: "Pod", namespaced: true}
	_ = poll(ctx, podsLimit, gonePoll, func() (bool, error) { // what does not end is not this undo's
		left, err := u.list(ctx, pods, deployment.GetNamespace(), metav1.ListOptions{LabelSelector: labels.SelectorFromSet(match).String()})
		return err != nil || len(left) == 0, nil
	}, "pods are left")
}

// servedLimit bounds the wait until the API serves a kind whose definition came back a moment ago.
const servedLimit = 30 * time.Second

// create makes what the run deleted anew. Its status is for the controllers to find out again.
func (u *restoring) create(ctx context.Context, before *unstructured.Unstructured) error {
	o := &unstructured.Unstructured{Object: withoutServers(before)}
	var made *unstructured.Unstructured
	var last error
	err := poll(ctx, servedLimit, gonePoll, func() (bool, error) {
		made, last = u.in(u.resource(), o.GetNamespace()).Create(ctx, o, metav1.CreateOptions{FieldManager: fieldManager})
		if apierrors.IsNotFound(last) {
			return false, nil
		}
		return true, last
	}, "the API does not serve it")
	if err != nil {
		return errors.Join(err, skipSame(err, last))
	}
	return u.ownership(ctx, made, before)
}

// skipSame is more unless it is err already.
func skipSame(err, more error) error {
	if errors.Is(err, more) {
		return nil
	}
	return more
}

func withoutServers(o *unstructured.Unstructured) map[string]any {
	c := runtime.DeepCopyJSON(o.Object)
	delete(c, "status")
	meta, _ := c["metadata"].(map[string]any)
	for _, k := range serverMetadata {
		delete(meta, k)
	}
	return c
}

// change puts the fields that the run changed back; what others changed besides stays.
func (u *restoring) change(ctx context.Context, now, before *unstructured.Unstructured) error {
	fields := u.Changed
	if fields == nil { // it was deleted, and somebody made it anew: force says to have the old one back
		fields = difference(cleaned(now), cleaned(before))
	}
	back, _ := fields.restore(runtime.DeepCopyJSON(now.Object), before.Object).(map[string]any)
	made, err := u.in(u.resource(), now.GetNamespace()).Update(ctx, &unstructured.Unstructured{Object: back}, metav1.UpdateOptions{FieldManager: fieldManager})
	if err != nil {
		return err
	}
	return u.ownership(ctx, made, before)
}

// ownership gives the fields back to those who owned them, if nobody else has come to own any since. It matters to later applies only, so the state
// is right without it.
func (u *restoring) ownership(ctx context.Context, now, before *unstructured.Unstructured) error {
	for try := 1; now != nil; try++ {
		if reflect.DeepEqual(owners(now), owners(before)) || len(before.GetManagedFields()) == 0 || !ownersOf(now, before) {
			return nil
		}
		o := now.DeepCopy()
		o.SetManagedFields(before.GetManagedFields())
		_, err := u.in(u.resource(), o.GetNamespace()).Update(ctx, o, metav1.UpdateOptions{FieldManager: fieldManager})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if !isRace(err) {
			return err
		}
		if try == conflictTries {
			return nil
		}
		if now, err = u.now(ctx); err != nil { // its controller wrote its status
			return err
		}
	}
	return nil
}

type owner struct{ manager, operation, subresource string }

// owners are the fields of each owner, in JSON; who writes the status does not count.
func owners(o *unstructured.Unstructured) map[owner]string {
	all := map[owner]string{}
	for _, f := range o.GetManagedFields() {
		if f.Subresource == "" && f.FieldsV1 != nil {
			all[owner{f.Manager, string(f.Operation), f.Subresource}] = string(f.FieldsV1.Raw)
		}
	}
	return all
}

// ownersOf tells whether everybody who owns fields now, but calroll, owned some before.
func ownersOf(now, before *unstructured.Unstructured) bool {
	was := owners(before)
	for o := range owners(now) {
		if _, ok := was[o]; !ok && o.manager != fieldManager {
			return false
		}
	}
	return true
}

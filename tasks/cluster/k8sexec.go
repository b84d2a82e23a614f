package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/httpstream/spdy"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"

	"github.com/calroll/calroll/tasks"
)

// K8sExec is the module k8s_exec: runs a command in a container of a pod. What the command alters there is not undone: use it to look.
type K8sExec struct {
	kubeLogin
	Namespace string `arg:"namespace,required" doc:"the pod's namespace"`
	Pod       string `arg:"pod,required" doc:"the pod"`
	Container string `arg:"container" doc:"the container; the pod's first when not given"`
	Command   string `arg:"command,required" doc:"the command, split like a shell's; no shell runs it"`
}

// Run implements tasks.Module. In check mode the command does not run.
func (m *K8sExec) Run(ctx context.Context, sys *tasks.Sys) (tasks.Result, error) {
	r := tasks.Result{Changed: true} // nobody knows
	words, err := tasks.SplitWords(m.Command)
	if err != nil || len(words) == 0 {
		return tasks.Result{}, failed("run the command", fmt.Errorf("%q is no command", m.Command))
	}
	if sys.Check() {
		return r, nil
	}
	k, err := m.open(ctx, sys)
	if err != nil {
		return tasks.Result{}, err
	}
	defer k.close()
	if m.Container == "" {
		if m.Container, err = m.first(ctx, k); err != nil {
			return tasks.Result{}, err
		}
	}
	var out, errOut bytes.Buffer
	rc := 0
	err = m.stream(ctx, k, words, remotecommand.StreamOptions{Stdout: &out, Stderr: &errOut})
	var exit utilexec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		rc, err = exit.ExitStatus(), nil
	}
	if err != nil {
		return tasks.Result{}, &tasks.Error{Kind: tasks.Failed, Detail: fmt.Sprintf("Failed to execute on pod %s due to", m.Pod), Err: err}
	}
	r.Set("stdout", out.String())
	r.Set("stderr", errOut.String())
	r.Set("rc", rc)
	r.Set("return_code", rc)
	return r, nil
}

// first is the pod's first container.
func (m *K8sExec) first(ctx context.Context, k *kube) (string, error) {
	p, err := k.get(ctx, pods, m.Namespace, m.Pod)
	if err != nil {
		return "", err
	}
	if p == nil {
		return "", &tasks.Error{Kind: tasks.Failed, Op: "run a command in " + named("Pod", m.Namespace, m.Pod), Detail: "there is no such pod"}
	}
	containers, _, _ := unstructured.NestedSlice(p.Object, "spec", "containers")
	c, _ := containers[0].(map[string]any) // no pod is without one
	name, _ := c["name"].(string)
	return name, nil
}

// stream runs the command over a connection of its own, which is dialed as every other.
func (m *K8sExec) stream(ctx context.Context, k *kube, words []string, o remotecommand.StreamOptions) error {
	u, err := url.Parse(k.config.Host)
	if err != nil {
		return err
	}
	u = u.JoinPath("api/v1/namespaces", m.Namespace, "pods", m.Pod, "exec")
	u.RawQuery = url.Values{"command": words, "container": {m.Container}, "stdout": {"true"}, "stderr": {"true"}}.Encode()
	t, err := rest.TLSConfigFor(k.config)
	if err != nil {
		return err
	}
	upgrade, err := spdy.NewRoundTripperWithConfig(spdy.RoundTripperConfig{UpgradeTransport: &http.Transport{TLSClientConfig: t, DialContext: k.transport.DialContext}})
	if err != nil {
		return err
	}
	wrapped, err := rest.HTTPWrappersForConfig(k.config, upgrade)
	if err != nil {
		return err
	}
	exec, err := remotecommand.NewSPDYExecutorForTransports(wrapped, upgrade, http.MethodPost, u)
	if err != nil {
		return err
	}
	return exec.StreamWithContext(ctx, o)
}

package catalog_test

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/calroll/calroll/testenv/artifacts"
	"github.com/calroll/calroll/testenv/kube"
)

// dcosKubernetes is the Kubernetes of a package: a real API that behaves as one of 1.9 did, with an add-on that runs once Calico's controller does.
// Nothing carries pods out: the controller's work is done by makeProfiles.
type dcosKubernetes struct {
	of         *dcosCluster
	api        *kube.API
	old        *kube.Old
	controlled bool // K-20 is there
}

// The release of the guide's package.
const dcosKubernetesMinor = 9

const dcosAddon = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: kube-system}
---
apiVersion: v1
kind: Pod
metadata: {name: kube-dns-1, namespace: kube-system}
spec: {automountServiceAccountToken: false, containers: [{name: dns, image: example.com/kube-dns}]}
`

func startDCOSKubernetes(c *dcosCluster) (_ *dcosKubernetes, err error) {
	k := &dcosKubernetes{of: c}
	programs, err := artifacts.Build(c.of.Context(), artifacts.ForAPIServer(), artifacts.Options{})
	if err != nil {
		return nil, err
	}
	if k.api, err = kube.StartAPI(c.of.Context(), kube.APIOptions{Programs: programs}); err != nil {
		return nil, err
	}
	c.of.Cleanup(func() {
		if err := k.stop(); err != nil {
			c.of.Error(err)
		}
	})
	if k.old, err = k.api.Old(dcosKubernetesMinor, k.wrote); err != nil {
		return nil, err
	}
	_, err = k.kubectl(dcosAddon, "create", "-f", "-")
	return k, err
}

// stop ends it, once.
func (k *dcosKubernetes) stop() error {
	api, old := k.api, k.old
	k.api, k.old = nil, nil
	var errs []error
	if old != nil {
		errs = append(errs, old.Stop())
	}
	if api != nil {
		errs = append(errs, api.Stop())
	}
	return errors.Join(errs...)
}

// login writes the kubeconfig that the package hands out.
func (k *dcosKubernetes) login(file string) error {
	text, err := os.ReadFile(k.old.Kubeconfig)
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}

func (k *dcosKubernetes) kubectl(stdin string, args ...string) (string, error) {
	cmd := k.api.Kubectl(k.of.of.Context(), args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// wrote records what calroll writes, and does what follows from it.
func (k *dcosKubernetes) wrote(method, path string) {
	c := k.of
	c.set(func() {
		c.calls = append(c.calls, "kubernetes "+method+" "+path[strings.LastIndex(path, "/")+1:])
		k.controlled = method != "DELETE"
	})
	if method != "POST" {
		return
	}
	if err := k.serve(c.old); err != nil {
		c.of.Error(err)
	}
}

// serve is what Calico's controller makes possible.
func (k *dcosKubernetes) serve(old bool) error {
	names, err := k.kubectl("", "get", "namespaces", "-o", "jsonpath={.items[*].metadata.name}")
	if err != nil {
		return err
	}
	if err := k.of.of.makeProfiles(strings.Fields(names), old); err != nil {
		return err
	}
	_, err = k.kubectl("", "-n", "kube-system", "patch", "pod", "kube-dns-1", "--subresource=status", "-p", `{"status": {"phase": "Running"}}`)
	return err
}

package catalog_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestImagesArePulled pulls an image that a node lacks before anything changes, into what runs its pods, and leaves alone one that it has; an undo takes
// it away again. Where pods have a secret for the registry, their kubelet pulls, and nobody else.
func TestImagesArePulled(t *testing.T) {
	exe, err := program()
	if err != nil {
		t.Fatal(err)
	}
	dir, reg := t.TempDir(), newRegistry(t)
	image := reg.host() + "/net/calroll-test-pulled:1"
	write(t, filepath.Join(dir, ".docker", "config.json"), reg.login())
	docker := func(script string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "sh", "-c", script, "sh", image, dir)
		cmd.Env = append(os.Environ(), "HOME="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	t.Cleanup(func() {
		_ = exec.CommandContext(context.WithoutCancel(t.Context()), "docker", "image", "rm", image).Run() // it is usually gone
	})
	docker(`echo x > "$2/name" && tar -C "$2" -c name | docker import - "$1" && docker push --quiet "$1" && docker image rm "$1"`)

	write(t, filepath.Join(dir, "play.yml"), "- hosts: all\n  gather_facts: false\n  vars: {datastore: kdd, mode: hosted, product: calico}\n  tasks:\n    - import_role: {name: node_images, tasks_from: prefetch}\n")
	write(t, filepath.Join(dir, "inventory.yml"), "kube_node: {hosts: {n1: {ansible_connection: local}}}\n")
	calroll := func(args ...string) outcome {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), exe, append(args, "-i", filepath.Join(dir, "inventory.yml"))...)
		cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(dir, "state"), "HOME="+dir)
		out, _ := cmd.CombinedOutput()
		o := outcome{cmd.ProcessState.ExitCode(), string(out)}
		if o.code != exitOK {
			t.Fatalf("calroll %v: exit code %d\n%s", args, o.code, o.text)
		}
		return o
	}
	has := func() string { return docker(`docker image ls --quiet "$1"`) }
	run := []string{"run", filepath.Join(dir, "play.yml"), "-e", fmt.Sprintf(`{"kdd_runtime": "docker", "kdd_images": [%q, %[1]q]}`, image)}
	for _, elsewhere := range []string{"image_pull_secret_file=/secret.json", "image_pull_policy=Never"} {
		if calroll(append(run, "-e", elsewhere)...); has() != "" {
			t.Errorf("with %s the image was pulled", elsewhere)
		}
	}
	if got := calroll(run...).changed()["n1"]; got != "1" || has() == "" {
		t.Errorf("the first run changed %s things; the node has the image %q", got, has())
	}
	pulled, err := os.ReadDir(filepath.Join(dir, "state", "calroll", "runs"))
	if err != nil {
		t.Fatal(err)
	}
	if got := calroll(append(run, "-e", "image_delivery=registry")...).changed()["n1"]; got != "0" {
		t.Errorf("the second run changed %s things", got)
	}
	if calroll("rollback", pulled[len(pulled)-1].Name()); has() != "" {
		t.Error("after the undo the node still has the image")
	}
	if got := calroll(append(run, "-e", "image_delivery=registry")...).changed()["n1"]; got != "1" {
		t.Errorf("out of a registry of one's own nothing is pulled: %s things changed", got)
	}
}

package catalog_test

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calroll/calroll/testenv/artifacts"
)

const kindsPlay = `
- hosts: kube_control_plane
  gather_facts: false
  vars: {datastore: kdd, mode: hosted, product: calico}
  module_defaults:
    kubernetes.core.k8s: {kubeconfig: "{{ kubeconfig_admin }}"}
  tasks:
    - import_role: {name: kube_facts}
    - import_role: {name: calico_crds}
`

// TestKindsOfTheRelease: with crds_file the kinds are what the release says, over those that take any content, so that the API refuses what they do not
// know. A second run changes nothing, and an undo brings the others back.
func TestKindsOfTheRelease(t *testing.T) {
	t.Parallel()
	b := newAPIBed(t, kindsPlay)
	file := filepath.Join(b.dir, "crds.yaml")
	write(t, file, manifestOfRelease(t, "crds.yaml"))
	b.run(exitOK)
	const wrong = "apiVersion: crd.projectcalico.org/v1\nkind: FelixConfiguration\nmetadata: {name: default}\nspec: {prometheusMetricsPort: none}\n"
	b.kubectl(wrong, "apply", "--dry-run=server", "-f", "-")

	b.run(exitOK, "crds_file="+file)
	own := b.lastRun()
	if out, err := b.try(wrong, "apply", "--dry-run=server", "-f", "-"); err == nil || !strings.Contains(out, "prometheusMetricsPort") {
		t.Errorf("the API takes what the release's kind does not: %v\n%s", err, out)
	}
	if got := strings.Count(b.kubectl("", "get", "crd", "-l", "app.kubernetes.io/managed-by=calroll", "-o", "name"), "\n"); got != strings.Count(manifestOfRelease(t, "crds.yaml"), "\nkind: CustomResourceDefinition") {
		t.Errorf("%d kinds are there, which are not those of the release", got)
	}
	b.settled("crds_file=" + file)
	b.calroll(exitOK, "rollback", own)
	b.kubectl(wrong, "apply", "--dry-run=server", "-f", "-")
}

// manifestOfRelease is a file of the folder manifests in the archive of a release.
func manifestOfRelease(t *testing.T, name string) string {
	t.Helper()
	set, err := artifacts.Build(t.Context(), artifacts.Request{Parts: []artifacts.Part{artifacts.CalicoRelease}}, artifacts.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range set.Files() {
		if strings.HasSuffix(f.Path, ".tgz") {
			return inArchive(t, f.Path, "manifests/"+name)
		}
	}
	t.Fatal("the release has no archive")
	return ""
}

// inArchive is a file in an archive, whose path there ends in name.
func inArchive(t *testing.T, file, name string) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(unzipped); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			t.Fatalf("%s has no %s", file, name)
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(path.Clean(h.Name), "/"+name) {
			text, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
	}
}

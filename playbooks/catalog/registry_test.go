package catalog_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// registry is a private registry of images that takes pushes from whoever knows the password, and nothing else.
type registry struct {
	*httptest.Server
	mu        sync.Mutex
	blobs     map[string]int64 // digest -> size
	uploading int64
	manifests []string // <name>:<tag>
}

const registryUser, registryPassword = "ada", "s3cret-of-the-registry"

func newRegistry(t *testing.T) *registry {
	t.Helper()
	r := &registry{blobs: map[string]int64{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *registry) host() string { return strings.TrimPrefix(r.URL, "http://") }

// ServeHTTP is as much of the protocol of registries (version 2) as a push needs.
func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if user, password, _ := req.BasicAuth(); user != registryUser || password != registryPassword {
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	name, kind, rest := splitPath(strings.TrimPrefix(req.URL.Path, "/v2/"))
	switch {
	case kind == "":
		w.WriteHeader(http.StatusOK)
	case kind == "blobs" && req.Method == http.MethodHead:
		size, ok := r.blobs[rest]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	case kind == "blobs" && req.Method == http.MethodPost, req.Method == http.MethodPatch:
		r.uploading, _ = io.Copy(io.Discard, req.Body) // what cannot be read is not counted, and the client notices
		w.Header().Set("Location", "/v2/"+name+"/blobs/uploads/one")
		w.Header().Set("Range", fmt.Sprintf("0-%d", max(0, r.uploading-1)))
		w.WriteHeader(http.StatusAccepted)
	case kind == "blobs" && req.Method == http.MethodPut:
		r.blobs[req.URL.Query().Get("digest")] = r.uploading
		w.Header().Set("Docker-Content-Digest", req.URL.Query().Get("digest"))
		w.WriteHeader(http.StatusCreated)
	case kind == "manifests" && req.Method == http.MethodPut:
		text, _ := io.ReadAll(req.Body)
		r.manifests = append(r.manifests, name+":"+rest)
		w.Header().Set("Docker-Content-Digest", fmt.Sprintf("sha256:%x", sha256.Sum256(text)))
		w.WriteHeader(http.StatusCreated)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// splitPath cuts <name>/blobs/<rest> or <name>/manifests/<rest>.
func splitPath(path string) (name, kind, rest string) {
	for _, kind := range []string{"blobs", "manifests"} {
		if name, rest, ok := strings.Cut(path, "/"+kind+"/"); ok {
			return name, kind, rest
		}
	}
	return path, "", ""
}

// TestImagesArePushed loads archives, one of them compressed, names their images after a private registry, logs in there and pushes them; then nothing
// of the login is left, and a second time nothing is pushed.
func TestImagesArePushed(t *testing.T) {
	exe, err := program()
	if err != nil {
		t.Fatal(err)
	}
	dir, reg := t.TempDir(), newRegistry(t)
	plain, packed := archiveOf(t, dir, "calroll-test-plain", ""), archiveOf(t, dir, "calroll-test-packed", "xz")
	write(t, filepath.Join(dir, "inventory.yml"), "kube_control_plane: {hosts: {cp1: {ansible_connection: local}}}\n")
	write(t, filepath.Join(dir, "play.yml"), "- hosts: all\n  gather_facts: false\n  tasks:\n    - import_role: {name: cnx_image_push, tasks_from: push}\n")
	write(t, filepath.Join(dir, "group_vars", "all.yml"), cnxWith(t, fmt.Sprintf("image_registry: %s/net/\nimage_push_dir: %s/push\nimage_registry_username: %s\nimage_registry_password: %s\nimage_archives: [%s, %s]\n",
		reg.host(), dir, registryUser, registryPassword, plain, packed)))
	push := func() outcome {
		cmd := exec.CommandContext(t.Context(), exe, "run", filepath.Join(dir, "play.yml"), "-i", filepath.Join(dir, "inventory.yml"), "-vvv")
		cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(dir, "state"))
		out, _ := cmd.CombinedOutput()
		o := outcome{cmd.ProcessState.ExitCode(), string(out)}
		if o.code != exitOK || strings.Contains(o.text, registryPassword) {
			t.Fatalf("exit code %d\n%s", o.code, o.text)
		}
		return o
	}
	if got := push().changed()["cp1"]; got != "1" {
		t.Errorf("the first push changed %s things, want 1", got)
	}
	want := []string{"net/tigera/calroll-test-packed:1", "net/tigera/calroll-test-plain:1"}
	if got := slices.Sorted(slices.Values(reg.manifests)); !slices.Equal(got, want) {
		t.Errorf("the registry has %v, want %v", got, want)
	}
	if _, err := os.Stat(filepath.Join(dir, "push")); err == nil {
		t.Error("the folder of the login is still there")
	}
	if got := push().changed()["cp1"]; got != "0" {
		t.Errorf("the second push changed %s things, want 0", got)
	}
}

// archiveOf makes an image of nothing but its name, saves it as an archive and forgets it; it gives the archive's entry in image_archives.
func archiveOf(t *testing.T, dir, name, pack string) string {
	t.Helper()
	image, file := "tigera/"+name+":1", filepath.Join(dir, name+".tar")
	script := `set -e; mkdir -p "$1/root"; echo "$3" > "$1/root/name"; tar -C "$1/root" -c name | docker import - "$3" >/dev/null; docker save "$3" > "$2"; docker image rm "$3" >/dev/null`
	if pack != "" {
		script += "; " + pack + ` -f "$2"`
	}
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", script, "sh", dir, file, image).CombinedOutput(); err != nil {
		t.Fatalf("cannot make an archive of an image (docker, tar and %s are needed): %v\n%s", pack, err, out)
	}
	t.Cleanup(func() {
		// The test's own context has ended by now. Names that a failed test has not made are not there to be removed.
		list, _ := exec.CommandContext(context.Background(), "sh", "-c", `docker image ls --format '{{.Repository}}:{{.Tag}}' | grep -F "tigera/`+name+`"`).Output()
		if names := strings.Fields(string(list)); len(names) > 0 {
			_ = exec.CommandContext(context.Background(), "docker", append([]string{"image", "rm"}, names...)...).Run()
		}
	})
	if pack != "" {
		file += "." + pack
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("{image: %q, sha256: %x, file: %q}", image, sha256.Sum256(text), file)
}

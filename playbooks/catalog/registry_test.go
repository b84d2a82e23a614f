package catalog_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
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

// registry is a private registry of images that takes and gives them to whoever knows the password, and nothing else.
type registry struct {
	*httptest.Server
	mu        sync.Mutex
	blobs     map[string][]byte   // digest -> content
	uploads   map[string][]byte   // path -> what came so far
	manifests map[string]manifest // <name>:<tag> and <name>:<digest>
	pulled    map[string]bool     // <name>:<digest> that somebody was given
}

type manifest struct {
	kind string // its Content-Type
	text []byte
}

const registryUser, registryPassword = "ada", "s3cret-of-the-registry"

func newRegistry(t *testing.T) *registry {
	t.Helper()
	r := unstartedRegistry()
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func unstartedRegistry() *registry {
	return &registry{blobs: map[string][]byte{}, uploads: map[string][]byte{}, manifests: map[string]manifest{}, pulled: map[string]bool{}}
}

func (r *registry) host() string {
	_, host, _ := strings.Cut(r.URL, "://")
	return host
}

// tags are the images that were pushed.
func (r *registry) tags() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for name := range r.manifests {
		if !strings.Contains(name, "sha256:") {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// wasPulled tells whether somebody was given an image, <name>:<tag>, by its tag or by its digest.
func (r *registry) wasPulled(image string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	name, _, _ := strings.Cut(image, ":")
	return r.pulled[name+":"+digestOf(r.manifests[image].text)]
}

// login is a Docker config.json that knows the password.
func (r *registry) login() string {
	return fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, r.host(), base64.StdEncoding.EncodeToString([]byte(registryUser+":"+registryPassword)))
}

// ServeHTTP is as much of the protocol of registries (version 2) as pushes and pulls need.
func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if user, password, _ := req.BasicAuth(); user != registryUser || password != registryPassword {
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	body, _ := io.ReadAll(req.Body) // of what cannot be read the digest is wrong, and the client notices
	r.mu.Lock()
	defer r.mu.Unlock()
	name, kind, rest := splitPath(strings.TrimPrefix(req.URL.Path, "/v2/"))
	switch {
	case kind == "":
		w.WriteHeader(http.StatusOK)
	case kind == "manifests":
		r.manifest(w, req, name+":"+rest, name, body)
	case req.Method == http.MethodHead || req.Method == http.MethodGet:
		content, ok := r.blobs[rest]
		give(w, req, "application/octet-stream", rest, content, ok)
	default:
		r.upload(w, req, name, body)
	}
}

// give answers with a content, if there is one.
func give(w http.ResponseWriter, req *http.Request, kind, digest string, content []byte, ok bool) {
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.Header().Set("Docker-Content-Digest", digest)
	if req.Method == http.MethodGet {
		_, _ = w.Write(content) // whoever asked is gone if this fails
	}
}

func (r *registry) manifest(w http.ResponseWriter, req *http.Request, at, name string, body []byte) {
	if req.Method != http.MethodPut {
		m, ok := r.manifests[at]
		if ok && req.Method == http.MethodGet {
			r.pulled[name+":"+digestOf(m.text)] = true
		}
		give(w, req, m.kind, digestOf(m.text), m.text, ok)
		return
	}
	m := manifest{req.Header.Get("Content-Type"), body}
	r.manifests[at], r.manifests[name+":"+digestOf(body)] = m, m
	w.Header().Set("Docker-Content-Digest", digestOf(body))
	w.WriteHeader(http.StatusCreated)
}

// upload takes a blob in parts.
func (r *registry) upload(w http.ResponseWriter, req *http.Request, name string, body []byte) {
	at := req.URL.Path
	if req.Method == http.MethodPost {
		at = fmt.Sprintf("/v2/%s/blobs/uploads/%d", name, len(r.uploads))
	}
	r.uploads[at] = append(r.uploads[at], body...)
	if digest := req.URL.Query().Get("digest"); digest != "" {
		r.blobs[digest] = r.uploads[at]
		w.Header().Set("Docker-Content-Digest", digest)
		w.WriteHeader(http.StatusCreated)
		return
	}
	w.Header().Set("Location", at)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(0, len(r.uploads[at])-1)))
	w.WriteHeader(http.StatusAccepted)
}

func digestOf(text []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(text)) }

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
	write(t, filepath.Join(dir, "group_vars", "all.yml"), cnxWith(t, fmt.Sprintf("image_registry: %s/net/\nimage_push_dir: ~/push\nimage_registry_username: %s\nimage_registry_password: %s\nimage_archives: [%s, %s]\n",
		reg.host(), registryUser, registryPassword, plain, packed)))
	push := func() outcome {
		cmd := exec.CommandContext(t.Context(), exe, "run", filepath.Join(dir, "play.yml"), "-i", filepath.Join(dir, "inventory.yml"), "-vvv")
		cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+filepath.Join(dir, "state"), "HOME="+dir)
		cmd.Dir = dir
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
	if got := reg.tags(); !slices.Equal(got, want) {
		t.Errorf("the registry has %v, want %v", got, want)
	}
	login := base64.StdEncoding.EncodeToString([]byte(registryUser + ":" + registryPassword)) // as docker keeps it
	if out, _ := exec.CommandContext(t.Context(), "grep", "-rlF", login, dir).Output(); len(out) > 0 {
		t.Errorf("the login is still in\n%s", out)
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

package image_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/calroll/calroll/testenv/artifacts/image"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"./bin/bash": "usr/bin/bash", "/sbin/ip": "usr/sbin/ip", "lib64/ld.so": "usr/lib64/ld.so",
		"usr/bin/x": "usr/bin/x", "bin": "bin", "/": "", "etc//x/../y": "etc/y", "../../etc": "etc", "binary/x": "binary/x",
	} {
		if got := image.Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
}

// A tree's tar must not depend on the order in which the tree was filled, and must name parents before children.
func TestTarDependsOnContentAlone(t *testing.T) {
	names := rapid.MapOf(rapid.StringMatching(`[a-d](/[a-c]{1,2}){0,3}/f[a-z]`), rapid.SliceOf(rapid.Byte()))
	rapid.Check(t, func(t *rapid.T) {
		content := names.Draw(t, "content")
		order := make([]string, 0, len(content))
		for name := range content {
			order = append(order, name)
		}
		slices.Sort(order)
		var first image.Tree
		for _, name := range order {
			first.Put(name, 0o644, content[name])
		}
		var second image.Tree
		for _, name := range rapid.Permutation(order).Draw(t, "order") {
			second.Put("/"+name, 0o644, content[name])
		}
		one, two := tarOf(t, &first), tarOf(t, &second)
		if !bytes.Equal(one, two) {
			t.Fatal("the order of adding shows in the tar")
		}
		seen := map[string]bool{".": true}
		for _, h := range headers(t, one) {
			name := strings.TrimSuffix(h.Name, "/")
			if !seen[filepath.Dir(name)] {
				t.Fatalf("%s comes before its directory", name)
			}
			seen[name] = true
			if !h.ModTime.Equal(image.Epoch) || h.Uid != 0 || h.Gid != 0 {
				t.Fatalf("%s has time %v and owner %d:%d", name, h.ModTime, h.Uid, h.Gid)
			}
		}
		for name := range content {
			if !seen[name] {
				t.Fatalf("%s is missing", name)
			}
		}
	})
}

type tester interface {
	Helper()
	Fatal(...any)
}

func tarOf(t tester, tree *image.Tree) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tree.WriteTar(&b, ""); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func headers(t tester, tarball []byte) []*tar.Header {
	t.Helper()
	var list []*tar.Header
	tr := tar.NewReader(bytes.NewReader(tarball))
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, h)
	}
}

func TestTreeEntries(t *testing.T) {
	file := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(file, []byte("large"), 0o600); err != nil {
		t.Fatal(err)
	}
	var tree image.Tree
	tree.MergeUsr()
	tree.PutFile("bin/prog", 0o755, file)
	tree.Link("sbin/other", "../bin/prog")
	tree.Mkdir("tmp", fs.ModeSticky|0o777)
	var b bytes.Buffer
	if err := tree.WriteTar(&b, "./"); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, h := range headers(t, b.Bytes()) {
		got[h.Name] = string(h.Typeflag) + " " + fs.FileMode(h.Mode&0o7777).String() + " " + h.Linkname
	}
	for name, want := range map[string]string{
		"./bin": "2 -rwxrwxrwx usr/bin", "./usr/bin/prog": "0 -rwxr-xr-x ", "./usr/sbin/other": "2 -rwxrwxrwx ../bin/prog", "./usr/": "5 -rwxr-xr-x ",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	for _, h := range headers(t, b.Bytes()) {
		if h.Name == "./tmp/" && h.Mode != 0o1777 {
			t.Errorf("/tmp has mode %o", h.Mode)
		}
	}
}

func TestPutDirKeepsLinks(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "sbin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sbin", "start"), []byte("#!"), 0o400); err != nil {
		t.Fatal(err)
	}
	var tree image.Tree
	tree.MergeUsr()
	if err := tree.PutDir("", dir, func(string) fs.FileMode { return 0o755 }); err != nil {
		t.Fatal(err)
	}
	for _, h := range headers(t, tarOf(t, &tree)) {
		if h.Name == "sbin/" {
			t.Error("a directory replaced the link sbin")
		}
		if h.Name == "usr/sbin/start" && h.Mode != 0o755 {
			t.Errorf("start has mode %o", h.Mode)
		}
	}
	if !tree.Has("usr/sbin/start") {
		t.Error("start is not below usr")
	}
}

// The archive is read as an engine reads it: manifest, config by its digest, layers by theirs.
func TestArchiveIsConsistent(t *testing.T) {
	var lower, upper image.Tree
	lower.Put("etc/a", 0o644, []byte("a"))
	upper.Put("etc/b", 0o600, []byte("b"))
	layers := []image.Layer{writeLayer(t, &lower), writeLayer(t, &upper)}
	var b bytes.Buffer
	if err := image.WriteArchive(&b, "calico/x:v1", image.Config{Arch: "amd64", Cmd: []string{"run"}}, layers...); err != nil {
		t.Fatal(err)
	}
	files := contents(t, b.Bytes())
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	m := manifest[0]
	if len(manifest) != 1 || !slices.Equal(m.RepoTags, []string{"calico/x:v1"}) || len(m.Layers) != 2 {
		t.Fatalf("manifest is %+v", manifest)
	}
	if sum := digest(files[m.Config]); sum+".json" != m.Config {
		t.Errorf("config %s has digest %s", m.Config, sum)
	}
	var config struct {
		OS     string `json:"os"`
		Config struct{ Cmd []string }
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(files[m.Config], &config); err != nil {
		t.Fatal(err)
	}
	for i, layer := range m.Layers {
		zr, err := gzip.NewReader(bytes.NewReader(files[layer]))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(zr)
		if err != nil {
			t.Fatal(err)
		}
		if want := "sha256:" + digest(plain); config.RootFS.DiffIDs[i] != want {
			t.Errorf("layer %d has diff id %s, want %s", i, config.RootFS.DiffIDs[i], want)
		}
	}
	if config.OS != "linux" || !slices.Equal(config.Config.Cmd, []string{"run"}) {
		t.Errorf("config is %+v", config)
	}
}

func writeLayer(t *testing.T, tree *image.Tree) image.Layer {
	t.Helper()
	l, err := image.WriteLayer(filepath.Join(t.TempDir(), "layer"), tree)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func contents(t *testing.T, tarball []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	tr := tar.NewReader(bytes.NewReader(tarball))
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(tr); err != nil {
			t.Fatal(err)
		}
	}
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func TestMissingFileFails(t *testing.T) {
	var tree image.Tree
	tree.PutFile("x", 0o644, filepath.Join(t.TempDir(), "gone"))
	err := tree.WriteTar(io.Discard, "")
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "cannot write x") {
		t.Errorf("error is %v", err)
	}
}

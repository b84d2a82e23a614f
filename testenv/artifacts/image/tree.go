package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Epoch is the time of every file in a layer or archive made here, so that equal content gives equal bytes.
var Epoch = time.Date(2025, time.August, 13, 0, 0, 0, 0, time.UTC)

// merged are the top-level directories that a usr-merged system keeps as links.
var merged = []string{"bin", "sbin", "lib", "lib64"}

// Tree is the content of one layer: files, directories and symbolic links by path. Parent directories come into
// being by themselves, owned by root with mode 0755. The zero value is an empty tree.
type Tree struct {
	entries map[string]entry
}

// entry is one path. A regular file has either body or file: the path of its content on this machine, for
// programs too large to hold in memory.
type entry struct {
	mode fs.FileMode // type bits and permissions
	link string
	body []byte
	file string
}

// Clean returns the form in which a tree keeps a path: relative, without dots, and usr-merged.
func Clean(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	first, rest, deep := strings.Cut(name, "/")
	if deep && slices.Contains(merged, first) {
		return "usr/" + first + "/" + rest
	}
	return name
}

func (t *Tree) set(name string, e entry) {
	if t.entries == nil {
		t.entries = map[string]entry{}
	}
	t.entries[Clean(name)] = e
}

// Put adds a file with the given content.
func (t *Tree) Put(name string, mode fs.FileMode, body []byte) {
	t.set(name, entry{mode: mode.Perm(), body: body})
}

// PutFile adds a file whose content is that of file on this machine at the time the layer is written.
func (t *Tree) PutFile(name string, mode fs.FileMode, file string) {
	t.set(name, entry{mode: mode.Perm(), file: file})
}

// Mkdir adds a directory.
func (t *Tree) Mkdir(name string, mode fs.FileMode) {
	t.set(name, entry{mode: fs.ModeDir | mode})
}

// Link adds a symbolic link.
func (t *Tree) Link(name, target string) {
	t.set(name, entry{mode: fs.ModeSymlink | 0o777, link: target})
}

// MergeUsr adds the links that make a root file system usr-merged. A base layer wants them.
func (t *Tree) MergeUsr() {
	for _, d := range merged {
		t.Mkdir("usr/"+d, 0o755)
		t.Link(d, "usr/"+d)
	}
}

// Has says whether the tree has anything at a path.
func (t *Tree) Has(name string) bool {
	_, ok := t.entries[Clean(name)]
	return ok
}

// Body returns the content of a file that was added by Put; nil for anything else.
func (t *Tree) Body(name string) []byte {
	return t.entries[Clean(name)].body
}

// PutDir adds what lies under dir on this machine, below the path to. Modes come from mode, because
// directories of Go's module cache are read-only and know no executable files.
func (t *Tree) PutDir(to, dir string, mode func(name string) fs.FileMode) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		name := Clean(path.Join(to, filepath.ToSlash(rel)))
		if d.IsDir() {
			if name != "" && !t.Has(name) {
				t.Mkdir(name, 0o755)
			}
			return nil
		}
		body, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		t.Put(name, mode(name), body)
		return nil
	})
}

// WriteTar writes the tree as a tar stream: paths sorted, parents before children, everything owned by root. Each path
// begins with prefix, which is empty or, for archives made like `tar -C dir .`, "./".
func (t *Tree) WriteTar(w io.Writer, prefix string) error {
	tw := tar.NewWriter(w)
	for _, name := range t.names() {
		if err := writeEntry(tw, prefix+name, t.at(name)); err != nil {
			return fmt.Errorf("cannot write %s to the archive: %w", name, err)
		}
	}
	return tw.Close()
}

// names lists every path with all its parents, in the order of the stream.
func (t *Tree) names() []string {
	all := map[string]bool{}
	for name := range t.entries {
		for ; name != "." && name != ""; name = path.Dir(name) {
			all[name] = true
		}
	}
	list := make([]string, 0, len(all))
	for name := range all {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// at returns the entry of a path; a parent that nobody added is a plain directory.
func (t *Tree) at(name string) entry {
	if e, ok := t.entries[name]; ok {
		return e
	}
	return entry{mode: fs.ModeDir | 0o755}
}

func writeEntry(tw *tar.Writer, name string, e entry) error {
	h := &tar.Header{Name: name, Mode: tarMode(e.mode), ModTime: Epoch, Uname: "root", Gname: "root"}
	switch {
	case e.mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
		return tw.WriteHeader(h)
	case e.mode&fs.ModeSymlink != 0:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		return tw.WriteHeader(h)
	}
	h.Typeflag = tar.TypeReg
	body, size, err := e.open()
	if err != nil {
		return err
	}
	defer body.Close()
	h.Size = size
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(tw, body)
	return err
}

// tarMode gives permissions with the sticky bit, which /tmp needs and which Go keeps elsewhere than tar does.
func tarMode(m fs.FileMode) int64 {
	mode := int64(m.Perm())
	if m&fs.ModeSticky != 0 {
		mode |= 0o1000
	}
	return mode
}

func (e entry) open() (io.ReadCloser, int64, error) {
	if e.file == "" {
		return io.NopCloser(bytes.NewReader(e.body)), int64(len(e.body)), nil
	}
	f, err := os.Open(e.file)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

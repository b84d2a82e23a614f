package image

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"path"
	"slices"
	"strings"
)

// Pool holds the files of unpacked packages, from which trees take what they need.
type Pool struct {
	all  Tree
	dirs []string // where shared libraries were seen, sorted
}

// OpenPool reads packages into memory. It needs dpkg-deb, which knows every compression that packages use.
func OpenPool(ctx context.Context, debs []string) (*Pool, error) {
	p := &Pool{}
	for _, deb := range debs {
		out, err := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb).Output()
		if err != nil {
			return nil, fmt.Errorf("cannot unpack %s: %w", path.Base(deb), err)
		}
		if err := p.add(bytes.NewReader(out)); err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", path.Base(deb), err)
		}
	}
	p.dirs = libraryDirs(&p.all)
	return p, nil
}

func (p *Pool) add(r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeReg:
			body, err := io.ReadAll(tr)
			if err != nil {
				return err
			}
			p.all.Put(h.Name, fs.FileMode(h.Mode), body)
		case tar.TypeSymlink:
			p.all.Link(h.Name, h.Linkname)
		case tar.TypeLink:
			p.all.set(h.Name, p.all.entries[Clean(h.Linkname)])
		}
	}
}

func libraryDirs(t *Tree) []string {
	var dirs []string
	for name := range t.entries {
		if dir := path.Dir(name); strings.Contains(path.Base(name), ".so") && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	// Shortest first: usr/lib/<triplet> is searched before the plugin directories below it.
	slices.SortFunc(dirs, func(a, b string) int {
		if d := len(a) - len(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return dirs
}

// File returns a file's content, following links; nil when the packages have no such file.
func (p *Pool) File(name string) []byte {
	_, e, ok := p.resolve(name)
	if !ok {
		return nil
	}
	return e.body
}

// resolve follows symbolic links to a regular file.
func (p *Pool) resolve(name string) (string, entry, bool) {
	name = Clean(name)
	for range 10 {
		e, ok := p.all.entries[name]
		if !ok || e.mode&fs.ModeSymlink == 0 {
			return name, e, ok
		}
		target := e.link
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(name), target)
		}
		name = Clean(target)
	}
	return name, entry{}, false
}

// Install copies files into a tree with every shared library that they need. A name that ends in a slash
// stands for all files directly in that directory. A file that is itself a link is copied as the link and its target.
func (p *Pool) Install(t *Tree, names ...string) error {
	var errs []error
	for _, name := range names {
		list := []string{name}
		if strings.HasSuffix(name, "/") {
			list = p.in(Clean(name))
		}
		if len(list) == 0 {
			errs = append(errs, fmt.Errorf("no package has files in %s", name))
		}
		for _, f := range list {
			if err := p.install(t, f); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

func (p *Pool) in(dir string) []string {
	var list []string
	for name := range p.all.entries {
		if path.Dir(name) == dir {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

func (p *Pool) install(t *Tree, name string) error {
	real, e, ok := p.resolve(name)
	if !ok {
		return fmt.Errorf("no package has %s", name)
	}
	if link, is := p.all.entries[Clean(name)]; is && link.mode&fs.ModeSymlink != 0 {
		t.set(name, link)
	}
	if t.Has(real) {
		return nil
	}
	t.set(real, e)
	return p.installNeeded(t, real, e.body)
}

// installNeeded adds the interpreter and the shared libraries of an ELF file.
func (p *Pool) installNeeded(t *Tree, name string, body []byte) error {
	needs, err := neededBy(body)
	if err != nil {
		return fmt.Errorf("cannot read the libraries of %s: %w", name, err)
	}
	for _, lib := range needs {
		found := lib
		if !path.IsAbs(lib) {
			found = p.findLibrary(lib)
		}
		if found == "" {
			return fmt.Errorf("%s needs %s, which no package has", name, lib)
		}
		if err := p.installLibrary(t, found); err != nil {
			return fmt.Errorf("%s needs %s: %w", name, lib, err)
		}
	}
	return nil
}

// installLibrary adds a library under the name that the loader asks for, content and all, without link chains.
func (p *Pool) installLibrary(t *Tree, name string) error {
	if t.Has(name) {
		return nil
	}
	_, e, ok := p.resolve(name)
	if !ok {
		return errors.New("no package has it")
	}
	t.set(name, e)
	return p.installNeeded(t, name, e.body)
}

func (p *Pool) findLibrary(lib string) string {
	for _, dir := range p.dirs {
		if name := path.Join(dir, lib); p.all.Has(name) {
			return name
		}
	}
	return ""
}

// neededBy lists the interpreter (an absolute path) and the libraries (base names) of an ELF file; nothing for any other file.
func neededBy(body []byte) ([]string, error) {
	if !bytes.HasPrefix(body, []byte(elf.ELFMAG)) {
		return nil, nil
	}
	f, err := elf.NewFile(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	needs, err := f.ImportedLibraries()
	if err != nil {
		return nil, err
	}
	for _, prog := range f.Progs {
		if prog.Type != elf.PT_INTERP {
			continue
		}
		interp, err := io.ReadAll(prog.Open())
		if err != nil {
			return nil, err
		}
		needs = append(needs, strings.TrimRight(string(interp), "\x00"))
	}
	return needs, nil
}

// DirOf returns the directory that has a shared library; empty when none has.
func (p *Pool) DirOf(lib string) string {
	found := p.findLibrary(lib)
	if found == "" {
		return ""
	}
	return path.Dir(found)
}

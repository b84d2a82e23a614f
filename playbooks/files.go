package playbooks

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// CatalogPrefix begins the names of files in the embedded catalogue: "calroll:calico-etcd/playbook.yml".
const CatalogPrefix = "calroll:"

// Files reads what playbooks refer to by name, on disk or in the embedded catalogue. The zero value knows the disk alone.
type Files struct {
	Catalog fs.FS // a folder for each playbook, with playbook.yml in it; may be nil
	Sums    *Sums // takes the hash of every file that ReadFile reads; may be nil
}

// embedded is the name below Catalog, if name is one of the catalogue's.
func (f Files) embedded(name string) (string, bool) {
	inside, ok := strings.CutPrefix(name, CatalogPrefix)
	return path.Clean(filepath.ToSlash(inside)), ok
}

// ReadFile is the content of a file.
func (f Files) ReadFile(name string) ([]byte, error) {
	content, err := f.readFile(name)
	if err == nil {
		f.Sums.add(name, content)
	}
	return content, err
}

func (f Files) readFile(name string) ([]byte, error) {
	inside, ok := f.embedded(name)
	switch {
	case !ok:
		return os.ReadFile(filepath.Clean(name))
	case f.Catalog == nil:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return fs.ReadFile(f.Catalog, inside)
}

// Open opens a file for reading.
func (f Files) Open(name string) (fs.File, error) {
	inside, ok := f.embedded(name)
	switch {
	case !ok:
		return os.Open(filepath.Clean(name))
	case f.Catalog == nil:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return f.Catalog.Open(inside)
}

// Stat describes a file or folder.
func (f Files) Stat(name string) (fs.FileInfo, error) {
	inside, ok := f.embedded(name)
	switch {
	case !ok:
		return os.Stat(name)
	case f.Catalog == nil:
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return fs.Stat(f.Catalog, inside)
}

// ReadDir lists a folder, sorted by name.
func (f Files) ReadDir(name string) ([]fs.DirEntry, error) {
	inside, ok := f.embedded(name)
	switch {
	case !ok:
		return os.ReadDir(name)
	case f.Catalog == nil:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return fs.ReadDir(f.Catalog, inside)
}

func (f Files) isFile(name string) bool {
	info, err := f.Stat(name)
	return err == nil && !info.IsDir()
}

func (f Files) isDir(name string) bool {
	info, err := f.Stat(name)
	return err == nil && info.IsDir()
}

// Find looks for a file that a task refers to (files, templates, vars, tasks are kinds of folders) as Ansible does: in each
// of the task's SearchDirs, first in its folder of that kind, then in the directory itself.
func (f Files) Find(searchDirs []string, folder, name string) (string, error) {
	if isAbs(name) {
		if _, err := f.Stat(name); err != nil {
			return "", fmt.Errorf("cannot find %s: %w", name, fs.ErrNotExist)
		}
		return name, nil
	}
	var tried []string
	for _, dir := range searchDirs {
		for _, candidate := range candidates(dir, folder, name) {
			if _, err := f.Stat(candidate); err == nil {
				return candidate, nil
			}
			tried = append(tried, candidate)
		}
	}
	return "", fmt.Errorf("cannot find %s: %w; looked for %s", name, fs.ErrNotExist, strings.Join(tried, ", "))
}

func candidates(dir, folder, name string) []string {
	plain := join(dir, name)
	if folder == "" || strings.Split(filepath.ToSlash(name), "/")[0] == folder {
		return []string{plain}
	}
	return []string{join(dir, folder, name), plain}
}

// join is filepath.Join that keeps names in the catalogue there: "calroll:a" and "../b" are "calroll:b".
func join(dir string, names ...string) string {
	if inside, ok := strings.CutPrefix(dir, CatalogPrefix); ok {
		return CatalogPrefix + path.Join(inside, filepath.ToSlash(filepath.Join(names...)))
	}
	return filepath.Join(append([]string{dir}, names...)...)
}

// dirOf is filepath.Dir for names on disk and in the catalogue.
func dirOf(name string) string {
	if inside, ok := strings.CutPrefix(name, CatalogPrefix); ok {
		return CatalogPrefix + path.Dir(inside)
	}
	return filepath.Dir(name)
}

func isAbs(name string) bool {
	return filepath.IsAbs(name) || strings.HasPrefix(name, CatalogPrefix)
}

// absolute is dir as Ansible's magic variables show it.
func absolute(dir string) string {
	if isAbs(dir) {
		return dir
	}
	abs, err := filepath.Abs(dir)
	if err != nil { // the working directory is gone: the relative name is the best there is
		return dir
	}
	return abs
}

package node

import (
	"context"
	"crypto"
	"os"
	"path/filepath"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/pki"
)

// pemArgs are the arguments of modules that leave a PEM file behind.
type pemArgs struct {
	Path          tasks.Path `arg:"path,required" doc:"the file"`
	State         string     `arg:"state,choices=absent|present,default=present" doc:"whether it shall be there"`
	Force         bool       `arg:"force" doc:"make it anew even if it is as it shall be"`
	Backup        bool       `arg:"backup" doc:"keep the old file beside it, with the time in its name"`
	ReturnContent bool       `arg:"return_content" doc:"answer the file's content, too"`
	tasks.FileArgs

	path string
	old  []byte // nil: there is no file
}

// open looks at what is there. The folder must exist; in check mode a task before may be the one that makes it.
func (m *pemArgs) open(sys *tasks.Sys) error {
	m.path = m.Path.Expand()
	if dir := filepath.Dir(m.path); !isDir(dir) && (!sys.Check() || m.State == "absent") {
		return fail("The directory %s does not exist or the file is not a directory", dir)
	}
	raw, err := os.ReadFile(m.path)
	if err != nil && !os.IsNotExist(err) {
		return fail("cannot read %s: %v", m.path, err)
	}
	m.old = raw
	if err == nil && raw == nil {
		m.old = []byte{}
	}
	return nil
}

// write puts a new content in place. A nil content stands for one that check mode does not make.
func (m *pemArgs) write(ctx context.Context, sys *tasks.Sys, r *tasks.Result, content []byte, a tasks.Attrs) error {
	if sys.Check() {
		r.Changed = true
		return nil
	}
	if m.Backup {
		if err := backup(ctx, sys, m.path, r); err != nil {
			return err
		}
	}
	o := tasks.WriteOptions{Unsafe: m.UnsafeWrites, Secret: true}
	changed, err := sys.WriteFile(ctx, m.path, tasks.Text(content), a, o)
	r.Changed = changed
	return err
}

// keep sees to the attributes of a file that stays.
func (m *pemArgs) keep(ctx context.Context, sys *tasks.Sys, r *tasks.Result, a tasks.Attrs) (err error) {
	r.Changed, err = sys.SetAttrs(ctx, m.path, a)
	return err
}

// remove takes the file away.
func (m *pemArgs) remove(ctx context.Context, sys *tasks.Sys, r *tasks.Result) (err error) {
	if m.Backup {
		if err := backup(ctx, sys, m.path, r); err != nil {
			return err
		}
	}
	r.Changed, err = sys.Remove(ctx, m.path)
	m.old = nil
	return err
}

// answer adds what all of these modules answer.
func (m *pemArgs) answer(r *tasks.Result, name string, content []byte) {
	r.Set("filename", m.path)
	if !m.ReturnContent {
		return
	}
	r.Set(name, nil)
	if len(content) > 0 {
		r.Set(name, string(content))
	}
}

// source is a text that is given, or the content of a file.
func source(path tasks.Path, content, what string) ([]byte, error) {
	if content != "" {
		return []byte(content), nil
	}
	raw, err := os.ReadFile(path.Expand())
	if err != nil {
		return nil, fail("cannot read the %s: %v", what, err)
	}
	return raw, nil
}

// loadKey is the private key of a file or text.
func loadKey(path tasks.Path, content, what string) (crypto.Signer, error) {
	raw, err := source(path, content, what)
	if err != nil {
		return nil, err
	}
	key, err := pki.ParseKey(raw)
	if err != nil {
		return nil, fail("cannot use the %s%s: %v", what, inFile(path), err)
	}
	return key, nil
}

func inFile(path tasks.Path) string {
	if path == "" {
		return ""
	}
	return " " + path.Expand()
}

// orNil is null for an argument that was not given.
func orNil[T any](list []T) any {
	if list == nil {
		return nil
	}
	return list
}

func pathOrNil(path tasks.Path) any {
	if path == "" {
		return nil
	}
	return path.Expand()
}

// filesBelow is a file itself, or every file in a folder and below.
func filesBelow(path string) []string {
	if !isDir(path) {
		return []string{path}
	}
	var out []string
	entries, _ := os.ReadDir(path) // what can be listed is
	for _, e := range entries {
		out = append(out, filesBelow(filepath.Join(path, e.Name()))...)
	}
	return out
}

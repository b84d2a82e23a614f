package node

import (
	"context"
	"crypto/sha1" //nolint:gosec // the checksum argument is a SHA-1, as under Ansible
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/calroll/calroll/tasks"
)

var _ = register("copy", func() tasks.Module { return &Copy{} })

// Copy puts files of the controller, given text, or files of the target itself into place.
type Copy struct {
	Src           tasks.Path     `arg:"src" doc:"what is copied: on the controller, or with remote_src on the target"`
	Content       *tasks.Content `arg:"content" doc:"text of the file, instead of src"`
	RemoteSrc     bool           `arg:"remote_src" doc:"src is on the target"`
	Checksum      string         `arg:"checksum" doc:"SHA-1 that the source must have"`
	DirectoryMode tasks.Mode     `arg:"directory_mode" doc:"mode of folders that are made on the way"`
	LocalFollow   bool           `arg:"local_follow,default=yes" doc:"follow links among the sources"`
	Decrypt       bool           `arg:"decrypt,local,default=yes" doc:"decrypt sources that are vault files"`
	placeArgs

	Files []CopyFile `arg:"_files"` // given, even if empty: src is a folder
	Dirs  []CopyDir  `arg:"_dirs"`
	Links []CopyLink `arg:"_links"`
}

// CopyFile is one file of a folder that the controller sends; Path is relative to dest.
type CopyFile struct {
	Path   string        `arg:"path"`
	Source tasks.Content `arg:"source"`
	Mode   string        `arg:"mode"` // of the source, for mode "preserve"
}

// CopyDir is one folder of it.
type CopyDir struct {
	Path string `arg:"path"`
	Mode string `arg:"mode"`
}

// CopyLink is one link of it, when links among the sources are not followed.
type CopyLink struct {
	Path   string `arg:"path"`
	Target string `arg:"target"`
}

// Rules are Ansible's.
func (*Copy) Rules() tasks.Rules {
	return tasks.Rules{MutuallyExclusive: [][]string{{"src", "content"}}, RequiredOneOf: [][]string{{"src", "content", "_source", "_files"}}}
}

// Run copies a file or a folder.
func (m *Copy) Run(ctx context.Context, sys *tasks.Sys) (r tasks.Result, err error) {
	switch {
	case m.RemoteSrc && m.Src != "":
		err = m.remote(ctx, sys, &r)
	case m.Files != nil:
		err = m.tree(ctx, sys, &r, m.Dest.Expand())
	case m.Content != nil:
		err = m.one(ctx, sys, &r, *m.Content)
	default:
		err = m.one(ctx, sys, &r, m.Source)
	}
	return r, err
}

// one copies one file's content.
func (m *Copy) one(ctx context.Context, sys *tasks.Sys, r *tasks.Result, c tasks.Content) error {
	if c.IsZero() {
		return &tasks.Error{Kind: tasks.Internal, Op: "copy " + string(m.Src), Detail: "the controller sent no content"}
	}
	dest, missing := m.destination()
	if m.Src != "" {
		r.Set("src", string(m.Src))
	}
	if err := m.verify(ctx, sys, c); err != nil {
		return err
	}
	made := false
	if missing != "" {
		var err error
		if made, err = m.makeDirs(ctx, sys, missing); err != nil {
			return err
		}
	}
	err := m.place(ctx, sys, c, dest, r)
	r.Changed = r.Changed || made
	return err
}

func (m *Copy) makeDirs(ctx context.Context, sys *tasks.Sys, path string) (bool, error) {
	a := m.Attrs()
	a.Mode = m.DirectoryMode
	return makeDirs(ctx, sys, path, a)
}

// verify compares the source with the checksum argument.
func (m *Copy) verify(ctx context.Context, sys *tasks.Sys, c tasks.Content) error {
	if m.Checksum == "" {
		return nil
	}
	in, err := sys.Open(ctx, c)
	if err != nil {
		return err
	}
	defer in.Close()
	h := sha1.New() //nolint:gosec // see above
	if _, err := io.Copy(h, in); err != nil {
		return err
	}
	if got := hexOf(h); !strings.EqualFold(got, m.Checksum) {
		return fail("Copied file does not match the expected checksum. Transfer failed. It is %s, not %s", got, m.Checksum)
	}
	return nil
}

// tree puts the files of a folder below dest.
func (m *Copy) tree(ctx context.Context, sys *tasks.Sys, r *tasks.Result, dest string) error {
	r.Set("dest", filepath.Clean(dest)+"/")
	r.Set("src", string(m.Src))
	note := func(changed bool, err error) error {
		r.Changed = r.Changed || changed
		return err
	}
	if !isDir(dest) {
		if err := note(m.makeDirs(ctx, sys, filepath.Clean(dest))); err != nil {
			return err
		}
	}
	for _, d := range m.Dirs {
		if err := note(m.treeDir(ctx, sys, filepath.Join(dest, d.Path), d.Mode)); err != nil {
			return err
		}
	}
	for _, f := range m.Files {
		if err := note(m.treeFile(ctx, sys, filepath.Join(dest, f.Path), f)); err != nil {
			return err
		}
	}
	for _, l := range m.Links {
		if err := note(sys.Symlink(ctx, filepath.Join(dest, l.Path), l.Target)); err != nil {
			return err
		}
	}
	return nil
}

func (m *Copy) treeDir(ctx context.Context, sys *tasks.Sys, path, sourceMode string) (bool, error) {
	a := m.Attrs()
	a.Mode = m.DirectoryMode
	if a.Mode.Preserve() || a.Mode.IsZero() && m.Mode.Preserve() {
		mode, err := tasks.ParseMode(sourceMode)
		if err != nil {
			return false, err
		}
		a.Mode = mode
	}
	return makeDirs(ctx, sys, path, a)
}

func (m *Copy) treeFile(ctx context.Context, sys *tasks.Sys, path string, f CopyFile) (bool, error) {
	made := false
	if dir := filepath.Dir(path); !exists(dir) {
		var err error
		if made, err = m.makeDirs(ctx, sys, dir); err != nil {
			return false, err
		}
	}
	one := m.placeArgs
	one.SourceMode = f.Mode
	var r tasks.Result
	err := one.place(ctx, sys, f.Source, path, &r)
	return made || r.Changed, err
}

// remote copies a file or folder of the target.
func (m *Copy) remote(ctx context.Context, sys *tasks.Sys, r *tasks.Result) error {
	src := m.Src.Expand()
	st, err := os.Stat(src)
	if err != nil {
		return fail("Source %s not found", src)
	}
	r.Set("src", src)
	if st.IsDir() {
		return m.remoteTree(ctx, sys, r, src)
	}
	c, err := tasks.FileContent(ctx, src)
	if err != nil {
		return err
	}
	m.SourceMode = octal(modeBits(st))
	m.OriginalName = filepath.Base(src)
	if err := m.one(ctx, sys, r, c); err != nil {
		return err
	}
	delete(r.Values, "path")
	dest, _ := m.destination()
	r.Set("dest", dest)
	return addSums(r, src, true)
}

// remoteTree lists the folder as the controller would. Without a slash at the end of src, the folder itself is copied.
func (m *Copy) remoteTree(ctx context.Context, sys *tasks.Sys, r *tasks.Result, src string) error {
	prefix := ""
	if !strings.HasSuffix(src, "/") {
		prefix = filepath.Base(src)
	}
	if m.Mode.IsZero() { // files keep their modes, as under Ansible when a folder is copied on the target
		mode, err := tasks.ParseMode("preserve")
		if err != nil {
			return err
		}
		m.Mode = mode
	}
	if err := m.list(ctx, filepath.Clean(src), prefix); err != nil {
		return err
	}
	dest := m.Dest.Expand()
	final := dest
	if isDir(dest) {
		final = filepath.Clean(dest) + "/" + prefix
	}
	if err := m.tree(ctx, sys, r, dest); err != nil {
		return err
	}
	r.Set("dest", final)
	r.Set("src", src)
	r.Set("checksum", nil)
	r.Set("md5sum", nil)
	addInfo(r, final)
	return nil
}

func (m *Copy) list(ctx context.Context, root, prefix string) error {
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.Join(prefix, rel)
		if e.Type()&fs.ModeSymlink != 0 && !m.LocalFollow {
			target, err := os.Readlink(path)
			m.Links = append(m.Links, CopyLink{Path: rel, Target: target})
			return err
		}
		st, err := os.Stat(path)
		if err != nil {
			return err
		}
		switch {
		case st.IsDir() && e.IsDir():
			m.Dirs = append(m.Dirs, CopyDir{Path: rel, Mode: octal(modeBits(st))})
		case st.IsDir():
			return m.list(ctx, realPath(path), rel)
		case st.Mode().IsRegular():
			c, err := tasks.FileContent(ctx, path)
			m.Files = append(m.Files, CopyFile{Path: rel, Source: c, Mode: octal(modeBits(st))})
			return err
		}
		return nil
	})
}

package node

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/calroll/calroll/tasks"
)

var _ = register("file", func() tasks.Module { return &File{} })

// File sets what is at a path: a file's attributes, a folder, a link, or nothing.
type File struct {
	Path         tasks.Path `arg:"path,alias=dest|name,required" doc:"what is managed"`
	State        string     `arg:"state,choices=absent|directory|file|hard|link|touch" doc:"what it shall be; by default what it is, or a file"`
	Src          tasks.Path `arg:"src" doc:"what a link leads to, or what a hard link is another name of"`
	Recurse      bool       `arg:"recurse" doc:"set the attributes of everything in the folder too"`
	Force        bool       `arg:"force" doc:"link even where the target is missing or a file is in the way"`
	Follow       bool       `arg:"follow,default=yes" doc:"set the attributes of what a link leads to"`
	ModifTime    string     `arg:"modification_time" doc:"preserve, now, or a time in modification_time_format"`
	ModifFormat  string     `arg:"modification_time_format,default=%Y%m%d%H%M.%S" doc:"how modification_time is written"`
	AccessTime   string     `arg:"access_time" doc:"preserve, now, or a time in access_time_format"`
	AccessFormat string     `arg:"access_time_format,default=%Y%m%d%H%M.%S" doc:"how access_time is written"`
	OriginalName string     `arg:"_original_basename"`
	tasks.FileArgs

	path   string
	attrs  tasks.Attrs
	result tasks.Result
}

// Run does what the state says.
func (m *File) Run(ctx context.Context, sys *tasks.Sys) (tasks.Result, error) {
	m.path = m.target()
	if err := m.complete(); err != nil {
		m.result.Set("path", m.path)
		return m.result, err
	}
	var err error
	switch m.State {
	case "absent":
		err = m.absent(ctx, sys)
	case "directory":
		err = m.directory(ctx, sys)
	case "link":
		err = m.link(ctx, sys)
	case "hard":
		err = m.hard(ctx, sys)
	case "touch":
		err = m.touch(ctx, sys)
	default:
		err = m.file(ctx, sys)
	}
	return m.result, err
}

// target is the path, or the name in it when it is a folder and the state is about a file.
func (m *File) target() string {
	path := m.Path.Expand()
	if m.State == "link" || m.State == "absent" || !isDir(path) {
		return path
	}
	switch {
	case m.OriginalName != "":
		return filepath.Join(path, m.OriginalName)
	case m.Src != "":
		return filepath.Join(path, filepath.Base(string(m.Src)))
	}
	return path
}

// complete finds the state and the times, and what does not go together.
func (m *File) complete() error {
	if m.State == "" {
		m.State = pathState(m.path)
		if m.State == "absent" {
			m.State = "file"
			if m.Recurse {
				m.State = "directory"
			}
		}
	}
	if m.Recurse && m.State != "directory" {
		return fail("recurse option requires state to be 'directory'")
	}
	if m.Src != "" && m.State != "link" && m.State != "hard" {
		return fail("src option requires state to be 'link' or 'hard'")
	}
	m.attrs = m.FileArgs.Attrs()
	var err error
	if m.attrs.Mtime, err = m.time(m.ModifTime, m.ModifFormat); err != nil {
		return err
	}
	m.attrs.Atime, err = m.time(m.AccessTime, m.AccessFormat)
	return err
}

// time reads a time argument; the zero time is "preserve".
func (m *File) time(text, format string) (time.Time, error) {
	if text == "" {
		text = "preserve"
		if m.State == "touch" {
			text = "now"
		}
	}
	switch text {
	case "preserve":
		return time.Time{}, nil
	case "now":
		return time.Now(), nil
	}
	t, err := strptime(text, format)
	if err != nil {
		return t, fail("Error while obtaining timestamp for time %s using format %s: %v", text, format, err)
	}
	return t, nil
}

// setAttrs sets the attributes of path, or of what it leads to when links are followed.
func (m *File) setAttrs(ctx context.Context, sys *tasks.Sys, path string) error {
	if m.Follow && isLink(path) {
		path = realPath(path)
	}
	changed, err := sys.SetAttrs(ctx, path, m.attrs)
	m.result.Changed = m.result.Changed || changed
	return err
}

func (m *File) absent(ctx context.Context, sys *tasks.Sys) error {
	was := pathState(m.path)
	m.result.Set("path", m.path)
	m.result.Set("state", "absent")
	changed, err := sys.Remove(ctx, m.path)
	m.result.Changed = changed
	if changed {
		m.diff(sys, was)
	}
	addInfo(&m.result, m.path) // in check mode it is there still
	return err
}

func (m *File) diff(sys *tasks.Sys, was string) {
	if was == m.State {
		return
	}
	sys.AddDiff(tasks.Diff{
		Before: map[string]any{"path": m.path, "state": was},
		After:  map[string]any{"path": m.path, "state": m.State},
	})
}

func (m *File) file(ctx context.Context, sys *tasks.Sys) error {
	state := pathState(m.path)
	if state == "link" && m.Follow {
		m.path = realPath(m.path)
		state = pathState(m.path)
	}
	m.result.Set("path", m.path)
	switch state {
	case "file", "hard":
	case "absent":
		m.result.Set("state", "absent")
		return fail("file (%s) is absent, cannot continue", m.path)
	default:
		m.result.Set("state", state)
		return fail("file (%s) is %s, cannot continue", m.path, state)
	}
	err := m.setAttrs(ctx, sys, m.path)
	addInfo(&m.result, m.path)
	return err
}

func (m *File) directory(ctx context.Context, sys *tasks.Sys) error {
	if m.Follow && isLink(m.path) {
		m.path = realPath(m.path)
	}
	m.result.Set("path", m.path)
	was := pathState(m.path)
	if was != "absent" && was != "directory" {
		return fail("%s already exists as a %s", m.path, was)
	}
	m.diff(sys, was)
	changed, err := makeDirs(ctx, sys, m.path, m.attrs)
	m.result.Changed = changed
	if err == nil && m.Recurse && was == "directory" {
		err = m.recurse(ctx, sys, m.path)
	}
	addInfo(&m.result, m.path)
	return err
}

// makeDirs makes path a folder; the folders on the way that are missing get the same attributes, as under Ansible.
func makeDirs(ctx context.Context, sys *tasks.Sys, path string, a tasks.Attrs) (bool, error) {
	if parent := filepath.Dir(path); !exists(parent) {
		if _, err := makeDirs(ctx, sys, parent, a); err != nil {
			return false, err
		}
	}
	return sys.Mkdir(ctx, path, a)
}

func (m *File) recurse(ctx context.Context, sys *tasks.Sys, root string) error {
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			if sys.Check() && errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if path == root {
			return nil
		}
		changed, err := sys.SetAttrs(ctx, path, m.attrs)
		m.result.Changed = m.result.Changed || changed
		if err != nil || e.Type()&fs.ModeSymlink == 0 || !m.Follow || !exists(path) {
			return err
		}
		return m.recurseLink(ctx, sys, realPath(path))
	})
}

func (m *File) recurseLink(ctx context.Context, sys *tasks.Sys, target string) error {
	if isDir(target) {
		if err := m.recurse(ctx, sys, target); err != nil {
			return err
		}
	}
	changed, err := sys.SetAttrs(ctx, target, m.attrs)
	m.result.Changed = m.result.Changed || changed
	return err
}

func (m *File) link(ctx context.Context, sys *tasks.Sys) error {
	src, was := m.Src.Expand(), pathState(m.path)
	if src == "" && m.Follow && exists(m.path) {
		src, _ = os.Readlink(m.path) // "" for what is not a link
	}
	m.result.Set("dest", m.path)
	m.result.Set("src", src)
	if err := m.linkable(src, was); err != nil {
		m.result.Set("path", m.path)
		return err
	}
	if src != "" {
		if err := m.relink(ctx, sys, src, was); err != nil {
			return err
		}
	}
	defer addInfo(&m.result, m.path)
	if sys.Check() && !exists(m.path) {
		return nil
	}
	if m.Follow && isLink(m.path) && !exists(m.path) {
		if m.attrs != (tasks.Attrs{}) || m.result.Changed {
			sys.Warn("Cannot set fs attributes on a non-existent symlink target. follow should be set to False to avoid this.")
		}
		return nil
	}
	return m.setAttrs(ctx, sys, m.path)
}

// linkable refuses what Ansible refuses to turn into a link.
func (m *File) linkable(src, was string) error {
	at := filepath.Dir(m.path)
	if was == "directory" {
		at = m.path
	}
	target := src
	if !filepath.IsAbs(src) {
		target = filepath.Join(at, src)
	}
	switch {
	case src == "" && was != "link":
		return fail("src is required for creating new symlinks")
	case !m.Force && src != "" && !exists(target):
		return fail("src file does not exist, use \"force=yes\" if you really want to create the link: %s", target)
	case was == "directory" && !m.Force:
		return fail("refusing to convert from %s to symlink for %s", was, m.path)
	case was == "directory" && !isEmptyDir(m.path):
		return fail("the directory %s is not empty, refusing to convert it", m.path)
	case (was == "file" || was == "hard") && !m.Force:
		return fail("refusing to convert from %s to symlink for %s", was, m.path)
	}
	return nil
}

func (m *File) relink(ctx context.Context, sys *tasks.Sys, src, was string) error {
	m.diff(sys, was)
	if was == "directory" {
		if _, err := sys.Remove(ctx, m.path); err != nil {
			return err
		}
		if sys.Check() {
			m.result.Changed = true
			return nil
		}
	}
	changed, err := sys.Symlink(ctx, m.path, src)
	m.result.Changed = changed
	return err
}

func isEmptyDir(path string) bool {
	entries, err := os.ReadDir(path)
	return err == nil && len(entries) == 0
}

func (m *File) hard(ctx context.Context, sys *tasks.Sys) error {
	src, was := m.Src.Expand(), pathState(m.path)
	m.result.Set("dest", m.path)
	m.result.Set("src", src)
	if src == "" {
		m.result.Set("src", nil)
	}
	same := src != "" && sameInode(m.path, src)
	switch {
	case was != "hard" && src == "":
		return fail("src is required for creating new hardlinks")
	case src != "" && !exists(src):
		return fail("src does not exist")
	case was == "directory" && !same:
		return fail("Cannot link: different hard link exists at destination")
	case was == "hard" && src != "" && !same && !m.Force:
		return fail("Cannot link, different hard link exists at destination")
	case was == "file" && !same && !m.Force:
		return fail("Cannot link, %s exists at destination", was)
	}
	if src != "" {
		m.diff(sys, was)
		changed, err := sys.Hardlink(ctx, m.path, src)
		m.result.Changed = changed
		if err != nil {
			return err
		}
	}
	defer addInfo(&m.result, m.path)
	if sys.Check() && !exists(m.path) {
		return nil
	}
	return m.setAttrs(ctx, sys, m.path)
}

func sameInode(a, b string) bool {
	var x, y unix.Stat_t
	return unix.Stat(a, &x) == nil && unix.Stat(b, &y) == nil && x.Dev == y.Dev && x.Ino == y.Ino
}

func (m *File) touch(ctx context.Context, sys *tasks.Sys) error {
	m.result.Set("dest", m.path)
	was := pathState(m.path)
	if was == "absent" {
		m.diff(sys, was)
		changed, err := sys.WriteFile(ctx, m.path, tasks.Text(nil), m.attrs, tasks.WriteOptions{Unsafe: m.UnsafeWrites})
		m.result.Changed = changed
		if err != nil || sys.Check() {
			return err
		}
		addInfo(&m.result, m.path)
		return nil
	}
	err := m.setAttrs(ctx, sys, m.path)
	addInfo(&m.result, m.path)
	return err
}

// strptime reads a local time by the codes of Python's strptime that dates are written with.
func strptime(text, format string) (time.Time, error) {
	layout := strings.NewReplacer("%Y", "2006", "%m", "01", "%d", "02", "%H", "15", "%M", "04", "%S", "05", "%y", "06",
		"%b", "Jan", "%B", "January", "%a", "Mon", "%A", "Monday", "%j", "002", "%z", "-0700", "%Z", "MST", "%I", "03", "%p", "PM",
		"%f", "000000", "%%", "%").Replace(format)
	return time.ParseInLocation(layout, text, time.Local)
}

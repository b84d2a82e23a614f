package node

import (
	"context"
	"crypto/sha1" //nolint:gosec // a returned value that Ansible's copy has
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/calroll/calroll/tasks"
)

// placeArgs are the arguments of modules that put content into a file: copy, template.
type placeArgs struct {
	Dest     tasks.Path `arg:"dest,required" doc:"where it goes; a folder, or a path that ends in /, takes the source's name"`
	Backup   bool       `arg:"backup" doc:"keep the old file beside it, with the time in its name"`
	Force    bool       `arg:"force,alias=thirsty,default=yes" doc:"replace a file that is there already"`
	Follow   bool       `arg:"follow" doc:"write through a link at the destination"`
	Validate string     `arg:"validate" doc:"command that judges the new file before it takes its place; %s is its path"`
	tasks.FileArgs

	Source       tasks.Content `arg:"_source"`
	OriginalName string        `arg:"_original_basename"`
	SourceMode   string        `arg:"_source_mode"`
	Header       string        `arg:"_header"`
}

// destination is the file that dest means, and the folder that has to be made for it ("" for none).
func (m *placeArgs) destination() (dest, missing string) {
	dest = m.Dest.Expand()
	dir := strings.HasSuffix(dest, "/")
	if m.OriginalName == "" || !dir && !isDir(dest) {
		return filepath.Clean(dest), ""
	}
	if dir && !exists(dest) {
		missing = filepath.Clean(dest)
	}
	return filepath.Join(dest, m.OriginalName), missing
}

// attributes are those asked for, with mode "preserve" taken from the source.
func (m *placeArgs) attributes() (tasks.Attrs, error) {
	a := m.Attrs()
	if !m.Mode.Preserve() {
		return a, nil
	}
	var err error
	a.Mode, err = tasks.ParseMode(m.SourceMode)
	return a, err
}

// place writes content to dest and answers what Ansible's copy does.
func (m *placeArgs) place(ctx context.Context, sys *tasks.Sys, content tasks.Content, dest string, r *tasks.Result) error {
	a, err := m.attributes()
	if err != nil {
		return err
	}
	if !m.Force && exists(dest) {
		r.Set("dest", dest)
		return nil
	}
	if err := m.canPlace(sys, dest); err != nil {
		return err
	}
	check, err := validator(sys, m.Validate)
	if err != nil {
		return err
	}
	target := dest
	if m.Follow {
		target = realPath(dest)
	}
	if checksum, ok := checksumIfSame(target, content); ok {
		return m.keep(ctx, sys, target, checksum, a, r)
	}
	if m.Backup {
		if err := backup(ctx, sys, target, r); err != nil {
			return err
		}
	}
	o := tasks.WriteOptions{Unsafe: m.UnsafeWrites, Validate: check, Header: m.Header}
	if r.Changed, err = sys.WriteFile(ctx, target, content, a, o); err != nil {
		return err
	}
	if sys.Check() {
		return nil
	}
	r.Set("dest", target)
	addInfo(r, target)
	return addSums(r, target, true)
}

// keep sees to the attributes of a file that has its content already.
func (m *placeArgs) keep(ctx context.Context, sys *tasks.Sys, target, checksum string, a tasks.Attrs, r *tasks.Result) (err error) {
	r.Changed, err = sys.SetAttrs(ctx, target, a)
	r.Set("dest", target)
	r.Set("path", target)
	r.Set("checksum", checksum)
	addInfo(r, target)
	return err
}

// checksumIfSame is the SHA-1 of a regular file that holds the content; it is read once for both.
func checksumIfSame(path string, c tasks.Content) (string, bool) {
	st, err := os.Lstat(path)
	if err != nil || !st.Mode().IsRegular() || st.Size() != c.Size {
		return "", false
	}
	whole, short := sha256.New(), sha1.New() //nolint:gosec // a returned value that Ansible's copy has
	if err := sums(path, whole, short); err != nil || hexOf(whole) != c.SHA256 {
		return "", false
	}
	return hexOf(short), true
}

func (m *placeArgs) canPlace(sys *tasks.Sys, dest string) error {
	dir := filepath.Dir(dest)
	switch {
	case isDir(dest):
		return fail("cannot write %s: it is a directory", dest)
	case !exists(dir) && !sys.Check():
		return fail("Destination directory %s does not exist", dir)
	}
	return nil
}

// holds tells whether path is a regular file with the content.
func holds(ctx context.Context, path string, c tasks.Content) bool {
	st, err := os.Lstat(path)
	if err != nil || !st.Mode().IsRegular() || st.Size() != c.Size {
		return false
	}
	have, err := tasks.FileContent(ctx, path)
	return err == nil && have.SHA256 == c.SHA256
}

// backup copies an existing file beside itself and names the copy in the result.
func backup(ctx context.Context, sys *tasks.Sys, path string, r *tasks.Result) error {
	name, err := backupFile(ctx, sys, path)
	if name != "" {
		r.Set("backup_file", name)
	}
	return err
}

func backupFile(ctx context.Context, sys *tasks.Sys, path string) (string, error) {
	st, err := os.Stat(path)
	if err != nil || sys.Check() {
		return "", nil //nolint:nilerr // nothing to keep
	}
	c, err := tasks.FileContent(ctx, path)
	if err != nil {
		return "", err
	}
	uid, gid := ownerOf(st)
	name := backupName(path)
	a := tasks.Attrs{Mode: tasks.Octal(modeBits(st)), Owner: uid, Group: gid, Mtime: st.ModTime()}
	_, err = sys.WriteFile(ctx, name, c, a, tasks.WriteOptions{})
	return name, err
}

// backupName is Ansible's name for a backup: with a process id, which is another for every backup there, and the time.
func backupName(path string) string {
	now := time.Now().Format("2006-01-02@15:04:05")
	for id := os.Getpid(); ; id++ {
		if name := fmt.Sprintf("%s.%d.%s~", path, id, now); !exists(name) {
			return name
		}
	}
}

// validator runs the command of a validate argument on the temporary file.
func validator(sys *tasks.Sys, command string) (func(context.Context, string) error, error) {
	if command == "" {
		return nil, nil
	}
	if !strings.Contains(command, "%s") {
		return nil, fail("validate must contain %%s: %s", command)
	}
	return func(ctx context.Context, tmp string) error {
		argv, err := tasks.SplitWords(strings.ReplaceAll(command, "%s", quoteWord(tmp)))
		if err != nil {
			return fail("cannot read the validate command: %v", err)
		}
		out, err := sys.Exec(ctx, tasks.Cmd{Argv: argv})
		if err != nil {
			return err
		}
		if out.Code != 0 {
			return fail("failed to validate: rc:%d error:%s", out.Code, strings.TrimSpace(string(out.Stderr)+string(out.Stdout)))
		}
		return nil
	}, nil
}

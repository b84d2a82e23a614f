package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/calroll/calroll/tasks"
)

var _ = register("unarchive", func() tasks.Module { return &Unarchive{} })

// Unarchive unpacks an archive into a folder. Each member is compared with what is there, by content, mode, owner and time
// (folders: not by time), and only what differs is written; so it also works in check mode.
type Unarchive struct {
	Src           tasks.Path `arg:"src" doc:"the archive: on the controller, or with remote_src on the target or a URL"`
	Dest          tasks.Path `arg:"dest,required" doc:"the folder it is unpacked into; it must exist"`
	RemoteSrc     bool       `arg:"remote_src" doc:"src is on the target, or a URL that the target fetches"`
	Creates       tasks.Path `arg:"creates" doc:"do nothing if this exists already"`
	ListFiles     bool       `arg:"list_files" doc:"return the names in the archive"`
	Exclude       []string   `arg:"exclude" doc:"names and patterns that are left out"`
	Include       []string   `arg:"include" doc:"names and patterns that are unpacked, and no others"`
	KeepNewer     bool       `arg:"keep_newer" doc:"leave files that are newer than those in the archive"`
	ExtraOpts     []string   `arg:"extra_opts" doc:"options of tar; known are --strip-components, --exclude, --no-same-owner, --no-same-permissions, --numeric-owner, --wildcards, --overwrite"`
	Copy          bool       `arg:"copy,default=yes" doc:"the opposite of remote_src"`
	Decrypt       bool       `arg:"decrypt,local,default=yes" doc:"decrypt an archive that is a vault file"`
	IOBufferSize  int        `arg:"io_buffer_size,default=65536" doc:"without meaning here"`
	ValidateCerts bool       `arg:"validate_certs,default=yes" doc:"verify the server's certificate when src is a URL"`
	tasks.FileArgs

	Source       tasks.Content `arg:"_source"`
	OriginalName string        `arg:"_original_basename"`
	SourceMode   string        `arg:"_source_mode"`

	dest        string
	strip       int
	noOwner     bool
	noPerms     bool
	created     map[string]bool // links made by this archive, which nothing is unpacked through
	names       []string
	differing   []string
	foldersLast []func() (bool, error)
}

// Rules are Ansible's.
func (*Unarchive) Rules() tasks.Rules {
	return tasks.Rules{MutuallyExclusive: [][]string{{"include", "exclude"}}, RequiredOneOf: [][]string{{"src", "_source"}}}
}

// Run unpacks what differs.
func (m *Unarchive) Run(ctx context.Context, sys *tasks.Sys) (r tasks.Result, err error) {
	if m.Creates != "" && exists(m.Creates.Expand()) {
		r.Skipped, r.Msg = true, "skipped, since "+m.Creates.Expand()+" exists"
		return r, nil
	}
	m.dest = m.Dest.Expand()
	if !isDir(m.dest) {
		return r, fail("dest '%s' must be an existing dir", m.dest)
	}
	if err := m.options(); err != nil {
		return r, err
	}
	file, err := m.fetch(ctx, sys)
	if err != nil {
		return r, err
	}
	a, err := openArchive(file)
	if err != nil {
		return r, fail("cannot unpack %s: %v", m.Src, err)
	}
	r.Set("handler", a.handler())
	r.Set("dest", m.dest)
	if m.Src == "" {
		m.Src = tasks.Path(m.OriginalName)
	}
	r.Set("src", string(m.Src))
	if r.Changed, err = m.unpack(ctx, sys, a); err != nil {
		return r, fail("cannot unpack %s: %v", m.Src, err)
	}
	if r.Changed && !sys.Check() {
		r.Set("extract_results", map[string]any{"cmd": []string{}, "rc": 0, "out": strings.Join(m.differing, "\n"), "err": ""})
	}
	if m.ListFiles {
		r.Set("files", m.names)
	}
	addInfo(&r, m.dest)
	return r, nil
}

// options reads the few of tar's that have a meaning here; another one is an error, for it would be ignored.
func (m *Unarchive) options() error {
	for i := 0; i < len(m.ExtraOpts); i++ {
		name, value, _ := strings.Cut(m.ExtraOpts[i], "=")
		if value == "" && (name == "--strip-components" || name == "--exclude" || name == "--strip") && i+1 < len(m.ExtraOpts) {
			i++
			value = m.ExtraOpts[i]
		}
		switch name {
		case "--strip-components", "--strip":
			n, err := strconv.Atoi(value)
			if err != nil {
				return fail("cannot read extra_opts: --strip-components needs a number, not %q", value)
			}
			m.strip = n
		case "--exclude":
			m.Exclude = append(m.Exclude, value)
		case "--no-same-owner", "-o":
			m.noOwner = true
		case "--no-same-permissions":
			m.noPerms = true
		case "--numeric-owner", "--wildcards", "--overwrite", "--same-owner", "--same-permissions", "-p", "":
		default:
			return fail("cannot use extra_opts: %s has no meaning here", m.ExtraOpts[i])
		}
	}
	return nil
}

// fetch is the archive as a file on this machine.
func (m *Unarchive) fetch(ctx context.Context, sys *tasks.Sys) (string, error) {
	if m.Source.IsZero() {
		src := m.Src.Expand()
		if strings.Contains(src, "://") {
			f := &fetcher{URL: src, ValidateCerts: m.ValidateCerts}
			got, err := f.toTemp(ctx, sys)
			return got.file, err
		}
		if !exists(src) {
			return "", fail("Source '%s' does not exist", src)
		}
		return src, nil
	}
	in, err := sys.Open(ctx, m.Source)
	if err != nil {
		return "", err
	}
	defer in.Close()
	tmp, err := sys.TempFile("archive-*")
	if err != nil {
		return "", err
	}
	defer tmp.Close()
	if _, err := io.Copy(tmp, in); err != nil {
		return "", fail("cannot take the archive: %v", err)
	}
	return tmp.Name(), nil
}

// inMemory is the size up to which a member is held in memory between comparing and writing.
const inMemory = 1 << 20

// unpack goes through the archive twice: first it compares, then, if a large member differs, it reads that again to write it.
func (m *Unarchive) unpack(ctx context.Context, sys *tasks.Sys, a archive) (bool, error) {
	changed := false
	m.created = map[string]bool{}
	hashes := map[string]string{} // of large members that differ
	note := func(name string, did bool, err error) error {
		if did {
			changed = true
			m.differing = append(m.differing, name)
		}
		return err
	}
	err := m.each(ctx, a, func(mem member, to string, in io.Reader) error {
		m.names = append(m.names, mem.name)
		if mem.kind == 0 && !mem.hard && mem.size > inMemory {
			differs, sum, err := m.differsLarge(ctx, mem, to, in)
			if differs {
				hashes[to] = sum
			}
			did := false
			if err == nil && !differs {
				did, err = sys.SetAttrs(ctx, to, m.attrs(mem))
			}
			return note(mem.name, did, err)
		}
		did, err := m.put(ctx, sys, mem, to, in)
		return note(mem.name, did, err)
	})
	if err == nil && len(hashes) > 0 {
		err = m.each(ctx, a, func(mem member, to string, in io.Reader) error {
			sum, ok := hashes[to]
			if !ok || mem.kind != 0 || mem.hard {
				return nil
			}
			c := tasks.Stream(sum, mem.size, func() (io.ReadCloser, error) { return io.NopCloser(in), nil })
			did, err := m.write(ctx, sys, mem, to, c)
			return note(mem.name, did, err)
		})
	}
	for i := len(m.foldersLast) - 1; err == nil && i >= 0; i-- {
		var did bool
		did, err = m.foldersLast[i]()
		changed = changed || did
	}
	return changed, err
}

// each calls visit for the members that are wanted, with the place where each goes.
func (m *Unarchive) each(ctx context.Context, a archive, visit func(mem member, to string, in io.Reader) error) error {
	return a.each(func(mem member, in io.Reader) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !m.wanted(mem.name) {
			return nil
		}
		name, ok, err := m.localName(mem.name)
		if err != nil || !ok {
			return err
		}
		to := filepath.Join(m.dest, name)
		for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
			if m.created[dir] {
				return errors.New(mem.name + " would be unpacked through a link of the archive")
			}
		}
		return visit(mem, to, in)
	})
}

func (m *Unarchive) wanted(name string) bool {
	hit := func(anchored bool) func(string) bool {
		return func(pattern string) bool { return matches(pattern, name, anchored) }
	}
	if len(m.Include) > 0 && !slices.ContainsFunc(m.Include, hit(true)) {
		return false
	}
	return !slices.ContainsFunc(m.Exclude, hit(false))
}

// localName is the member's place below dest after stripping; false when nothing is left of it.
func (m *Unarchive) localName(name string) (string, bool, error) {
	clean, err := localName(name)
	if err != nil {
		return "", false, err
	}
	parts := strings.Split(clean, "/")
	if len(parts) <= m.strip {
		return "", false, nil
	}
	return strings.Join(parts[m.strip:], "/"), true, nil
}

// attrs are what the member shall have: the task's arguments before the archive's, which only root can give.
func (m *Unarchive) attrs(mem member) tasks.Attrs {
	a := m.Attrs()
	if a.Mode.IsZero() && mem.kind != fs.ModeSymlink {
		bits := mem.mode
		if m.noPerms || os.Geteuid() != 0 || mem.uid == "" {
			bits &^= 0o022
		}
		a.Mode = tasks.Octal(bits)
	}
	if os.Geteuid() == 0 && !m.noOwner {
		if a.Owner == "" {
			a.Owner = mem.uid
		}
		if a.Group == "" {
			a.Group = mem.gid
		}
	}
	if mem.kind == 0 {
		a.Mtime = mem.mtime
	}
	return a
}

func (m *Unarchive) put(ctx context.Context, sys *tasks.Sys, mem member, to string, in io.Reader) (bool, error) {
	switch {
	case mem.kind == fs.ModeDir:
		return m.folder(ctx, sys, mem, to)
	case mem.kind == fs.ModeSymlink:
		rel, _ := filepath.Rel(m.dest, to) // to is below it
		m.created[rel] = true
		return m.symlink(ctx, sys, mem, to)
	case mem.hard:
		return m.hardlink(ctx, sys, mem, to)
	}
	var text bytes.Buffer
	if _, err := io.Copy(&text, in); err != nil {
		return false, err
	}
	return m.write(ctx, sys, mem, to, tasks.Text(text.Bytes()))
}

// folder makes the folder writable now and gives it its mode at the end, for the mode may forbid writing into it.
func (m *Unarchive) folder(ctx context.Context, sys *tasks.Sys, mem member, to string) (bool, error) {
	m.foldersLast = append(m.foldersLast, func() (bool, error) { return sys.SetAttrs(ctx, to, m.attrs(mem)) })
	if isDir(to) {
		return false, nil
	}
	return m.makeParent(ctx, sys, filepath.Join(to, "x"))
}

func (m *Unarchive) makeParent(ctx context.Context, sys *tasks.Sys, to string) (bool, error) {
	if exists(filepath.Dir(to)) {
		return false, nil
	}
	return makeDirs(ctx, sys, filepath.Dir(to), tasks.Attrs{})
}

func (m *Unarchive) symlink(ctx context.Context, sys *tasks.Sys, mem member, to string) (bool, error) {
	made, err := m.makeParent(ctx, sys, to)
	if err != nil {
		return made, err
	}
	did, err := sys.Symlink(ctx, to, mem.target)
	if err != nil {
		return made || did, err
	}
	set, err := sys.SetAttrs(ctx, to, m.attrs(mem))
	return made || did || set, err
}

func (m *Unarchive) hardlink(ctx context.Context, sys *tasks.Sys, mem member, to string) (bool, error) {
	name, ok, err := m.localName(mem.target)
	if err != nil || !ok {
		return false, err
	}
	made, err := m.makeParent(ctx, sys, to)
	if err != nil {
		return made, err
	}
	if from := filepath.Join(m.dest, name); exists(from) || !sys.Check() {
		did, err := sys.Hardlink(ctx, to, from)
		return made || did, err
	}
	return true, nil
}

func (m *Unarchive) newer(mem member, to string) bool {
	st, err := os.Lstat(to)
	return m.KeepNewer && err == nil && st.ModTime().After(mem.mtime)
}

func (m *Unarchive) write(ctx context.Context, sys *tasks.Sys, mem member, to string, c tasks.Content) (bool, error) {
	if m.newer(mem, to) {
		return false, nil
	}
	made, err := m.makeParent(ctx, sys, to)
	if err != nil {
		return made, err
	}
	did, err := sys.WriteFile(ctx, to, c, m.attrs(mem), tasks.WriteOptions{Unsafe: m.UnsafeWrites})
	return made || did, err
}

// differsLarge compares a member's content with the file, and tells its hash.
func (m *Unarchive) differsLarge(ctx context.Context, mem member, to string, in io.Reader) (bool, string, error) {
	if m.newer(mem, to) {
		return false, "", nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, in); err != nil {
		return false, "", err
	}
	sum := hexOf(h)
	st, err := os.Lstat(to)
	if err != nil || !st.Mode().IsRegular() || st.Size() != mem.size {
		return true, sum, nil
	}
	have, err := tasks.FileContent(ctx, to)
	return err != nil || have.SHA256 != sum, sum, nil
}

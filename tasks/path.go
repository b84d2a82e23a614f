package tasks

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// WriteOptions say how WriteFile writes.
type WriteOptions struct {
	Follow bool // a link at the path is followed, else it is replaced
	// Unsafe allows writing in place where the file cannot be replaced (a mount point, as in containers). A reader
	// may then see half a file.
	Unsafe bool
	// Validate is called with the path of the written temporary file before it takes the place; its error ends the writing.
	Validate func(ctx context.Context, tmp string) error
	// Secret keeps the content out of diffs; the module may add one that says less.
	Secret bool
	// Header is what the diff says of the new content: where it comes from. "" is the path.
	Header string
}

// pathMeta is the Meta of a path record.
type pathMeta struct {
	Before  object `json:"before"`
	Temp    string `json:"temp,omitempty"`    // the temporary name beside the path, for doing and, with a suffix, for undoing
	InPlace bool   `json:"inplace,omitempty"` // not by rename, so a cut leaves something between
	Inode   string `json:"inode,omitempty"`   // After is this inode: a hard link
}

// tempName is a name that CNI runtimes, kubelet, systemd, cron and sysctl.d all pass over.
func tempName() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return ".calroll-" + hex.EncodeToString(b[:]) + ".tmp"
}

func undoName(temp string) string { return strings.TrimSuffix(temp, ".tmp") + "-undo.tmp" }

// WriteFile makes path a regular file with the content and attributes. An existing file keeps what a does not name: mode,
// owner, extended attributes, access list, label. The folder must exist (in check mode that is not asked).
func (s *Sys) WriteFile(ctx context.Context, path string, c Content, a Attrs, o WriteOptions) (bool, error) {
	op := "write " + path
	if o.Follow {
		var err error
		if path, err = resolve(path); err != nil {
			return false, failed(op, err)
		}
	}
	p, err := openPlace(path)
	if absent(err) && s.Check() {
		return true, nil
	}
	if err != nil {
		return false, failed(op, err)
	}
	defer p.close()
	old, err := p.look()
	if err != nil {
		return false, failed(op, err)
	}
	if old.Type == typeDir {
		return false, failed(op, unix.EISDIR)
	}
	w := &fileWrite{Sys: s, place: p, old: old, content: c, attrs: a, opts: o}
	return w.run(ctx)
}

// fileWrite is one WriteFile under way.
type fileWrite struct {
	*Sys
	place     *place
	old, want object
	content   Content
	attrs     Attrs
	opts      WriteOptions
}

func (w *fileWrite) run(ctx context.Context) (bool, error) {
	op := "write " + w.place.path
	if w.old.Type == typeFile && w.old.Size == w.content.Size {
		if err := w.place.hash(ctx, &w.old); err != nil {
			return false, failed(op, err)
		}
		if w.old.SHA256 == w.content.SHA256 {
			return w.setAttrs(ctx, w.place, w.old, w.attrs)
		}
	}
	base := w.old
	if w.old.Type != typeFile {
		base = w.place.fresh(typeFile, 0o666)
	}
	var err error
	if w.want, err = w.attrs.want(base); err != nil {
		if w.Check() && w.old.Type == typeAbsent { // the user may come with a task before
			w.Warn("%v", err)
			return true, nil
		}
		return false, failed(op, err)
	}
	w.want.SHA256, w.want.Size = w.content.SHA256, w.content.Size
	if err := w.addContentDiff(ctx); err != nil {
		return false, failed(op, err)
	}
	if w.Check() {
		return true, nil
	}
	if err := w.place.hash(ctx, &w.old); err != nil {
		return false, failed(op, err)
	}
	err = w.replace(ctx)
	if errors.Is(err, unix.EBUSY) {
		if !w.opts.Unsafe {
			return false, &Error{Kind: Failed, Op: op, Detail: "it is a mount point, so it cannot be replaced; unsafe_writes writes it in place", Err: unix.EBUSY}
		}
		err = w.overwrite(ctx)
	}
	return err == nil, failed(op, err)
}

// fresh is what a new object at p is by default.
func (p *place) fresh(kind string, mode uint32) object {
	o := object{Type: kind, Mode: mode &^ umask(), UID: os.Geteuid(), GID: os.Getegid()}
	var dir unix.Stat_t
	if unix.Fstat(p.dir, &dir) == nil && dir.Mode&unix.S_ISGID != 0 {
		o.GID = int(dir.Gid)
		if kind == typeDir {
			o.Mode |= unix.S_ISGID
		}
	}
	return o
}

// image is the before-image of what is at p; byRename says that the alteration leaves the old inode alone.
func (p *place) image(o object, byRename bool) *Image {
	img := &Image{}
	if o.Type == typeFile {
		img.Open = func() (io.ReadCloser, error) { return p.open(unix.O_RDONLY|unix.O_NONBLOCK, 0) }
	}
	if byRename && o.Type != typeDir && o.Type != typeAbsent {
		img.LinkFrom = p.proc()
	}
	return img
}

// replace writes a temporary file and renames it over the place.
func (w *fileWrite) replace(ctx context.Context) error {
	meta := pathMeta{Before: w.old, Temp: tempName()}
	// With a validation the alteration may well not come about, and a link would leave the file with two names.
	image := w.place.image(w.old, w.opts.Validate == nil)
	b := Before{Kind: "path", Key: w.place.path, Was: w.old.word(), After: w.want.word()}
	if err := w.record(ctx, b, meta, image); err != nil {
		return err
	}
	tmp := w.place.beside(meta.Temp)
	err := w.fill(ctx, tmp)
	if err == nil && w.opts.Validate != nil {
		err = w.opts.Validate(ctx, tmp.path)
	}
	if err == nil {
		w.step("temporary file written")
		err = tmp.renameTo(w.place)
	}
	if err != nil {
		_ = tmp.unlink() // the first error is the one that matters, and undo clears it up too
		return err
	}
	w.step("renamed")
	return w.place.fsync()
}

// fill makes tmp the wanted file, synced.
func (w *fileWrite) fill(ctx context.Context, tmp *place) error {
	r, err := w.Open(ctx, w.content)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := tmp.open(unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	w.step("temporary file made")
	if err := w.content.copyTo(ctx, f, r); err != nil {
		return err
	}
	if err := w.attributes(tmp); err != nil {
		return err
	}
	return f.Sync()
}

// attributes gives the new file its attributes; one that replaces nothing keeps the extended ones that its folder gave it.
func (w *fileWrite) attributes(p *place) error {
	want := w.want
	if w.old.Type != typeFile {
		now, err := p.look()
		if err != nil {
			return err
		}
		want.Xattrs = now.Xattrs
		w.attrs.SELinux.apply(&want)
	}
	times := !w.attrs.Mtime.IsZero() || !w.attrs.Atime.IsZero()
	if times {
		now, err := p.look()
		if err != nil {
			return err
		}
		want.Atime, want.Mtime = nanos(w.attrs.Atime, now.Atime), nanos(w.attrs.Mtime, now.Mtime)
	}
	return p.setAttrs(want, times, w.step)
}

// copyTo writes c, read from r, and refuses it when it is not what its hash says.
func (c Content) copyTo(ctx context.Context, f io.Writer, r io.Reader) error {
	sum, n, err := hashReader(ctx, io.TeeReader(r, f))
	if err != nil {
		return err
	}
	if sum != c.SHA256 || n != c.Size {
		return fmt.Errorf("the content changed while it was read: its SHA-256 is %s and not %s", sum, c.SHA256)
	}
	return nil
}

// overwrite writes in place. The record's image is a copy, and Done marks the end, because a cut leaves half a file.
func (w *fileWrite) overwrite(ctx context.Context) error {
	b := Before{Kind: "path", Key: w.place.path, Was: w.old.word(), After: w.want.word()}
	seq, err := w.recordSeq(ctx, b, pathMeta{Before: w.old, InPlace: true}, w.place.image(w.old, false))
	if err != nil {
		return err
	}
	r, err := w.Open(ctx, w.content)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := w.place.open(unix.O_WRONLY|unix.O_TRUNC, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	w.step("truncated in place")
	if err := w.content.copyTo(ctx, f, r); err != nil {
		return err
	}
	if err := w.attributes(w.place); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return w.o.Recorder.Done(ctx, seq)
}

// Overwrite writes an existing file's content in place, without replacing the file: for files that are mount points, or that
// must stay the same inode. Readers may see half of it.
func (s *Sys) Overwrite(ctx context.Context, path string, c Content) error {
	op := "write " + path + " in place"
	p, old, err := s.lookAt(path)
	if p == nil {
		return failed(op, err)
	}
	defer p.close()
	switch {
	case err != nil:
		return failed(op, err)
	case old.Type != typeFile:
		return refused(op, "it is not a regular file but "+old.Type)
	case s.Check():
		return nil
	}
	if err := p.hash(ctx, &old); err != nil {
		return failed(op, err)
	}
	w := &fileWrite{Sys: s, place: p, old: old, want: old, content: c}
	w.want.SHA256, w.want.Size = c.SHA256, c.Size
	return failed(op, w.overwrite(ctx))
}

// Mkdir makes path a folder with the attributes; its parent must exist (in check mode that is not asked).
func (s *Sys) Mkdir(ctx context.Context, path string, a Attrs) (bool, error) {
	op := "make the folder " + path
	p, old, err := s.lookAt(path)
	if p == nil {
		return err == nil, failed(op, err)
	}
	defer p.close()
	switch {
	case err != nil:
		return false, failed(op, err)
	case old.Type == typeDir:
		return s.setAttrs(ctx, p, old, a)
	case old.Type != typeAbsent:
		return false, refused(op, "there is a "+old.Type)
	case s.Check():
		return true, nil
	}
	want, err := a.want(p.fresh(typeDir, 0o777))
	if err != nil {
		return false, failed(op, err)
	}
	return s.create(ctx, p, old, want, a, op)
}

// Symlink makes path a link to target. It replaces a file or another link; a folder has to be removed first.
func (s *Sys) Symlink(ctx context.Context, path, target string) (bool, error) {
	op := "link " + path + " to " + target
	p, old, err := s.lookAt(path)
	if p == nil {
		return err == nil, failed(op, err)
	}
	defer p.close()
	switch {
	case err != nil:
		return false, failed(op, err)
	case old.Type == typeLink && old.Target == target:
		return false, nil
	case old.Type == typeDir:
		return false, refused(op, "there is a folder")
	case s.Check():
		return true, nil
	}
	want := p.fresh(typeLink, 0o777)
	want.Target = target
	return s.create(ctx, p, old, want, Attrs{}, op)
}

// create makes a folder or link under a temporary name and renames it into place.
func (s *Sys) create(ctx context.Context, p *place, old, want object, a Attrs, op string) (bool, error) {
	if err := p.hash(ctx, &old); err != nil {
		return false, failed(op, err)
	}
	meta := pathMeta{Before: old, Temp: tempName()}
	b := Before{Kind: "path", Key: p.path, Was: old.word(), After: want.word()}
	if err := s.record(ctx, b, meta, p.image(old, true)); err != nil {
		return false, err
	}
	tmp := p.beside(meta.Temp)
	if err := tmp.make(want); err != nil {
		return false, failed(op, err)
	}
	s.step("made under a temporary name")
	now, err := tmp.look()
	if err == nil {
		want.Xattrs = now.Xattrs
		a.SELinux.apply(&want)
		times := !a.Mtime.IsZero() || !a.Atime.IsZero()
		want.Atime, want.Mtime = nanos(a.Atime, now.Atime), nanos(a.Mtime, now.Mtime)
		err = tmp.setAttrs(want, times, s.step)
	}
	if err == nil {
		err = tmp.renameTo(p)
	}
	if err != nil {
		_ = tmp.remove() // the first error is the one that matters, and undo clears it up too
		return false, failed(op, err)
	}
	s.step("renamed")
	return true, failed(op, p.fsync())
}

// Hardlink makes path another name of the file src. It replaces a file or a link.
func (s *Sys) Hardlink(ctx context.Context, path, src string) (bool, error) {
	op := "link " + path + " hard to " + src
	from, err := openPlace(src)
	if err != nil {
		return false, failed(op, err)
	}
	defer from.close()
	want, err := from.look()
	if err != nil {
		return false, failed(op, err)
	}
	p, old, err := s.lookAt(path)
	if p == nil {
		return err == nil, failed(op, err)
	}
	defer p.close()
	switch {
	case err != nil:
		return false, failed(op, err)
	case want.Type == typeAbsent && !s.Check():
		return false, failed(op, unix.ENOENT)
	case old.Type == typeDir:
		return false, refused(op, "there is a folder")
	case old.Type != typeAbsent && old.inode() == want.inode():
		return false, nil
	case s.Check():
		return true, nil
	}
	return true, s.hardlink(ctx, p, from, old, want, op)
}

func (o object) inode() string { return fmt.Sprintf("inode %d:%d", o.dev, o.ino) }

// is tells whether o is what inode named once. After a boot the device may have another number (of overlay, btrfs, LVM); the inode's stays.
func (o object) is(inode string) bool {
	return o.Type != typeAbsent && sameInode(inode, o.inode())
}

func sameInode(a, b string) bool {
	_, one, named := strings.Cut(a, ":")
	_, other, _ := strings.Cut(b, ":")
	return named && one == other
}

func (s *Sys) hardlink(ctx context.Context, p, from *place, old, want object, op string) error {
	if err := p.hash(ctx, &old); err != nil {
		return failed(op, err)
	}
	meta := pathMeta{Before: old, Temp: tempName(), Inode: want.inode()}
	b := Before{Kind: "path", Key: p.path, Was: old.word(), After: meta.Inode}
	if err := s.record(ctx, b, meta, p.image(old, true)); err != nil {
		return err
	}
	tmp := p.beside(meta.Temp)
	if err := unix.Linkat(from.dir, from.name, tmp.dir, tmp.name, 0); err != nil {
		return failed(op, err)
	}
	s.step("linked under a temporary name")
	if err := tmp.renameTo(p); err != nil {
		_ = tmp.unlink() // the first error is the one that matters, and undo clears it up too
		return failed(op, err)
	}
	s.step("renamed")
	return failed(op, p.fsync())
}

// Remove takes away what is at path: a file, a link, or a folder with all that is in it. A link is not followed. A mount
// point inside the folder is an error before anything is altered.
func (s *Sys) Remove(ctx context.Context, path string) (bool, error) {
	op := "remove " + path
	p, old, err := s.lookAt(path)
	if p == nil && absent(err) {
		return false, nil
	}
	if p == nil {
		return false, failed(op, err)
	}
	defer p.close()
	switch {
	case err != nil:
		return false, failed(op, err)
	case old.Type == typeAbsent:
		return false, nil
	case s.Check():
		return true, nil
	case old.Type == typeDir && !p.empty():
		return true, failed(op, s.removeTree(ctx, p, old))
	}
	return true, failed(op, s.removeOne(ctx, p, old))
}

func (s *Sys) removeOne(ctx context.Context, p *place, old object) error {
	if err := p.hash(ctx, &old); err != nil {
		return err
	}
	b := Before{Kind: "path", Key: p.path, Was: old.word(), After: typeAbsent}
	if err := s.record(ctx, b, pathMeta{Before: old, Temp: tempName()}, p.image(old, true)); err != nil {
		return err
	}
	unlink := p.unlink
	if old.Type == typeDir {
		unlink = p.rmdir
	}
	if err := unlink(); err != nil {
		return err
	}
	s.step("removed")
	return p.fsync()
}

// lookAt opens the place and looks. The place is nil when the folder is missing; that is an error unless in check mode.
func (s *Sys) lookAt(path string) (*place, object, error) {
	p, err := openPlace(path)
	if absent(err) && s.Check() {
		return nil, object{Type: typeAbsent}, nil
	}
	if err != nil {
		return nil, object{}, err
	}
	o, err := p.look()
	return p, o, err
}

// empty tells whether the folder p has nothing in it.
func (p *place) empty() bool {
	f, err := p.open(unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	names, err := f.Readdirnames(1)
	return errors.Is(err, io.EOF) && len(names) == 0
}

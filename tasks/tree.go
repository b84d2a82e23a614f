package tasks

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// treeMeta is the Meta of a tree record.
type treeMeta struct {
	Temp string `json:"temp,omitempty"` // the name that the tree has while it is being deleted
	Into string `json:"into,omitempty"` // the folder that a tree is moved into; there it has the name that Blob says
}

// removeTree moves the tree into the keeping of the recorder, or, where it cannot be moved there, records it as a tar,
// renames it aside and deletes it.
func (s *Sys) removeTree(ctx context.Context, p *place, old object) error {
	if err := mountedBelow(p.path); err != nil {
		return err
	}
	if m, ok := s.o.Recorder.(Mover); ok {
		err := s.moveTree(ctx, m, p, old)
		if !errors.Is(err, unix.EXDEV) {
			return err
		}
	}
	h := sha256.New()
	if err := p.writeTar(ctx, h); err != nil {
		return err
	}
	meta := treeMeta{Temp: tempName()}
	b := Before{Kind: "tree", Key: p.path, Was: "tree " + hex.EncodeToString(h.Sum(nil)), After: typeAbsent}
	if err := s.record(ctx, b, meta, p.tarImage(ctx)); err != nil {
		return err
	}
	aside := p.beside(meta.Temp)
	if err := p.renameTo(aside); err != nil {
		return err
	}
	s.step("renamed aside")
	if err := p.fsync(); err != nil {
		return err
	}
	return plain(os.RemoveAll(aside.proc()))
}

// moveTree removes by renaming into the recorder's folder: everything about the tree is kept, down to files that have other
// names elsewhere, and it costs no copy. It fails with EXDEV where that is another file system.
func (s *Sys) moveTree(ctx context.Context, m Mover, p *place, old object) error {
	probe := m.MovePath(0)
	var at unix.Stat_t
	if err := unix.Stat(filepath.Dir(probe), &at); err == nil && at.Dev != old.dev {
		return unix.EXDEV // known without a record; a folder that is not there yet is tried
	}
	meta := treeMeta{Into: filepath.Dir(probe)}
	seq, err := s.recordSeq(ctx, Before{Kind: "tree", Key: p.path, Was: old.inode(), After: typeAbsent, Moved: true}, meta, nil)
	if err != nil {
		return err
	}
	to, err := openPlace(m.MovePath(seq))
	if err != nil {
		return err
	}
	defer to.close()
	if err := p.renameTo(to); err != nil {
		return err
	}
	s.step("tree moved away")
	return errors.Join(to.fsync(), p.fsync())
}

// mountedBelow is an error when a file system is mounted on path or below it: its content is not ours to take away.
func mountedBelow(path string) error {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil //nolint:nilerr // without /proc the kernel's own refusal has to do
	}
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		at := unescapeMount(fields[4])
		if at == path || strings.HasPrefix(at, strings.TrimSuffix(path, "/")+"/") {
			return refused("remove "+path, "a file system is mounted on "+at)
		}
	}
	return nil
}

// unescapeMount undoes the octal escapes of mountinfo.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

func (p *place) tarImage(ctx context.Context) *Image {
	return &Image{Open: func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() { w.CloseWithError(p.writeTar(ctx, w)) }() // ends with the reader's Close at the latest
		return r, nil
	}}
}

// writeTar writes the tree at p, sorted, with everything that a restore needs. The same tree gives the same bytes.
func (p *place) writeTar(ctx context.Context, w io.Writer) error {
	t := &treeWriter{ctx: ctx, tar: tar.NewWriter(w), root: p.proc(), seen: map[[2]uint64]string{}}
	if err := filepath.WalkDir(t.root, t.visit); err != nil {
		return err
	}
	return t.tar.Close()
}

type treeWriter struct {
	ctx  context.Context
	tar  *tar.Writer
	root string               // as it is walked
	seen map[[2]uint64]string // names of files with several, by device and inode
}

func (t *treeWriter) visit(path string, _ fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	if err := t.ctx.Err(); err != nil {
		return err
	}
	rel, err := filepath.Rel(t.root, path)
	if err != nil {
		return err
	}
	p, err := openPlace(path)
	if err != nil {
		return err
	}
	defer p.close()
	o, err := p.look()
	if err != nil {
		return err
	}
	return t.add(p, o, rel)
}

func (t *treeWriter) add(p *place, o object, rel string) error {
	h := o.tarHeader(rel)
	if o.nlink > 1 && o.Type == typeFile {
		if first, ok := t.seen[[2]uint64{o.dev, o.ino}]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
		} else {
			t.seen[[2]uint64{o.dev, o.ino}] = rel
		}
	}
	if err := t.tar.WriteHeader(h); err != nil || h.Typeflag != tar.TypeReg || o.Type != typeFile {
		return err
	}
	f, err := p.open(unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = copyContext(t.ctx, t.tar, io.LimitReader(f, o.Size))
	return err
}

const paxXattr = "SCHILY.xattr."

func (o object) tarHeader(rel string) *tar.Header {
	flags := map[string]byte{typeFile: tar.TypeReg, typeDir: tar.TypeDir, typeLink: tar.TypeSymlink,
		"fifo": tar.TypeFifo, "char": tar.TypeChar, "block": tar.TypeBlock, "socket": tar.TypeReg}
	h := &tar.Header{
		Typeflag: flags[o.Type], Name: rel, Linkname: o.Target, Mode: int64(o.Mode), Uid: o.UID, Gid: o.GID,
		ModTime: time.Unix(0, o.Mtime), Format: tar.FormatPAX, PAXRecords: map[string]string{},
		Devmajor: int64(unix.Major(o.Rdev)), Devminor: int64(unix.Minor(o.Rdev)),
	}
	if o.Type == typeFile {
		h.Size = o.Size
	}
	if o.Type != "char" && o.Type != "block" {
		h.Devmajor, h.Devminor = 0, 0
	}
	for n, v := range o.Xattrs {
		h.PAXRecords[paxXattr+n] = string(v)
	}
	h.PAXRecords["CALROLL.type"] = o.Type
	h.PAXRecords["CALROLL.owner"] = strconv.Itoa(o.UID) + ":" + strconv.Itoa(o.GID)
	return h
}

func headerObject(h *tar.Header) object {
	o := object{
		Type: h.PAXRecords["CALROLL.type"], Mode: uint32(h.Mode) & 0o7777, UID: h.Uid, GID: h.Gid, Target: h.Linkname, Size: h.Size,
		Rdev: unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor)), Mtime: h.ModTime.UnixNano(), Atime: h.ModTime.UnixNano(),
	}
	for n, v := range h.PAXRecords {
		if name, ok := strings.CutPrefix(n, paxXattr); ok {
			if o.Xattrs == nil {
				o.Xattrs = map[string][]byte{}
			}
			o.Xattrs[name] = []byte(v)
		}
	}
	return o
}

// readTar makes the tree that writeTar wrote, at the free place p.
func (p *place) readTar(ctx context.Context, r io.Reader, step func(string)) error {
	type dir struct {
		at *place
		o  object
	}
	var dirs []dir // their times are set last, for each thing made in them changes them
	defer func() {
		for _, d := range dirs {
			d.at.close()
		}
	}()
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("the before-image: %w", err)
		}
		o := headerObject(h)
		at, err := openPlace(filepath.Join(p.path, h.Name))
		if err != nil {
			return err
		}
		err = at.restoreEntry(ctx, p, h, o, in)
		if err == nil && o.Type == typeDir {
			dirs = append(dirs, dir{at, o})
			continue
		}
		at.close()
		if err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
		step("undo of a tree: one entry made")
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		if err := dirs[i].at.setAttrs(dirs[i].o, true, step); err != nil {
			return err
		}
		if err := dirs[i].at.syncObject(dirs[i].o); err != nil {
			return err
		}
	}
	return nil
}

func (p *place) restoreEntry(ctx context.Context, root *place, h *tar.Header, o object, in io.Reader) error {
	switch {
	case h.Typeflag == tar.TypeLink:
		from, err := openPlace(filepath.Join(root.path, h.Linkname))
		if err != nil {
			return err
		}
		defer from.close()
		return unix.Linkat(from.dir, from.name, p.dir, p.name, 0)
	case o.Type == typeDir:
		return p.make(o)
	case o.Type != typeFile:
		if err := p.make(o); err != nil {
			return err
		}
		return p.setAttrs(o, true, func(string) {})
	}
	f, err := p.open(unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := copyContext(ctx, f, in); err != nil {
		return err
	}
	if err := p.setAttrs(o, true, func(string) {}); err != nil {
		return err
	}
	return f.Sync()
}

// treeKind restores removed trees.
type treeKind struct{ kindOptions }

// Tidy deletes what is left of the tree under its temporary names.
func (k treeKind) Tidy(_ context.Context, b Before) error {
	var m treeMeta
	if err := json.Unmarshal(b.Meta, &m); err != nil {
		return failed("read the record of "+b.Key, err)
	}
	return tidy(b.Key, m.Temp)
}

// State is absent, or the hash of the whole tree. A tree that is kept by moving is where it was as long as it is not in the
// keeping.
func (k treeKind) State(ctx context.Context, b Before) (string, error) {
	op := "look at " + b.Key
	var m treeMeta
	if err := json.Unmarshal(b.Meta, &m); err != nil {
		return "", failed(op, err)
	}
	if m.Into != "" {
		if _, err := os.Lstat(filepath.Join(m.Into, b.Blob)); absent(err) {
			return b.Was, nil // not moved yet, or back already
		}
	}
	p, err := openPlace(b.Key)
	if absent(err) {
		return typeAbsent, nil
	}
	if err != nil {
		return "", failed(op, err)
	}
	defer p.close()
	o, err := p.look()
	if err != nil {
		return "", failed(op, err)
	}
	if o.Type != typeDir || m.Into != "" {
		return o.Type, nil
	}
	h := sha256.New()
	if err := p.writeTar(ctx, h); err != nil {
		return "", failed(op, err)
	}
	return "tree " + hex.EncodeToString(h.Sum(nil)), nil
}

// Restore unpacks the tree under a temporary name and renames it into place.
func (k treeKind) Restore(ctx context.Context, b Before, kept Kept, force bool) error {
	op := "restore the folder " + b.Key
	var m treeMeta
	if err := json.Unmarshal(b.Meta, &m); err != nil {
		return failed(op, err)
	}
	p, err := openPlace(b.Key)
	if err != nil {
		return failed(op, err)
	}
	defer p.close()
	from := p.beside(undoName(m.Temp))
	if b.Moved {
		if from, err = openPlace(kept.Path); err != nil {
			return failed(op, err)
		}
		defer from.close()
	} else if err := from.unpackTree(ctx, kept, k.Step); err != nil {
		return failed(op, err)
	}
	err = from.renameTo(p)
	if force && (errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOTDIR)) {
		if err = p.remove(); err == nil {
			err = from.renameTo(p)
		}
	}
	if err != nil {
		return failed(op, err)
	}
	k.Step("after undo rename of a tree")
	k.units.note(b.Key)
	return failed(op, errors.Join(from.fsync(), p.fsync()))
}

func (p *place) unpackTree(ctx context.Context, kept Kept, step func(string)) error {
	in, err := os.Open(kept.Path)
	if err != nil {
		return fmt.Errorf("the before-image: %w", plain(err))
	}
	defer in.Close()
	return p.readTar(ctx, in, step)
}

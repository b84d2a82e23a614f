package tasks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// object is one thing at a path: a file, a folder without what is in it, a link, a device, or nothing.
type object struct {
	Type   string            `json:"type"` // absent, file, dir, link, fifo, char, block, socket
	Mode   uint32            `json:"mode,omitempty"`
	UID    int               `json:"uid"`
	GID    int               `json:"gid"`
	Size   int64             `json:"size,omitempty"`
	SHA256 string            `json:"sha256,omitempty"`
	Target string            `json:"target,omitempty"`
	Rdev   uint64            `json:"rdev,omitempty"`
	Atime  int64             `json:"atime,omitempty"` // Unix nanoseconds
	Mtime  int64             `json:"mtime,omitempty"`
	Xattrs map[string][]byte `json:"xattrs,omitempty"`
	Inode  string            `json:"inode,omitempty"` // of a file with several names
	nlink  uint64
	dev    uint64
	ino    uint64
}

// Types of objects.
const (
	typeAbsent = "absent"
	typeFile   = "file"
	typeDir    = "dir"
	typeLink   = "link"
)

var typeNames = map[uint32]string{
	unix.S_IFREG: typeFile, unix.S_IFDIR: typeDir, unix.S_IFLNK: typeLink,
	unix.S_IFIFO: "fifo", unix.S_IFCHR: "char", unix.S_IFBLK: "block", unix.S_IFSOCK: "socket",
}

// look is what is at p, without a file's hash.
func (p *place) look() (object, error) {
	st, err := p.lstat()
	if absent(err) {
		return object{Type: typeAbsent}, nil
	}
	if err != nil {
		return object{}, err
	}
	o := object{
		Type: typeNames[st.Mode&unix.S_IFMT], Mode: st.Mode & 0o7777, UID: int(st.Uid), GID: int(st.Gid), Size: st.Size,
		Rdev: st.Rdev, Atime: st.Atim.Nano(), Mtime: st.Mtim.Nano(), nlink: uint64(st.Nlink), dev: st.Dev, ino: st.Ino, //nolint:unconvert // another type on arm64
		Xattrs: p.getXattrs(),
	}
	switch {
	case o.Type == typeLink:
		o.Target, err = p.readlink()
	case o.Type == typeFile && o.nlink > 1:
		o.Inode = o.inode()
	}
	return o, err
}

// lookWhole is look with a file's hash.
func (p *place) lookWhole(ctx context.Context) (object, error) {
	o, err := p.look()
	if err != nil || o.Type != typeFile {
		return o, err
	}
	return o, p.hash(ctx, &o)
}

func (p *place) hash(ctx context.Context, o *object) error {
	if o.Type != typeFile || o.SHA256 != "" {
		return nil
	}
	f, err := p.open(unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	o.SHA256, o.Size, err = hashReader(ctx, f)
	return err
}

// word is the state of a path record: what is there. Times and extended attributes are restored, but do not make a state another one.
func (o object) word() string {
	switch o.Type {
	case typeAbsent, typeDir:
		return o.Type
	case typeLink:
		return "link to " + o.Target
	case typeFile:
		return fmt.Sprintf("file %s mode=%04o owner=%d:%d", o.SHA256, o.Mode, o.UID, o.GID)
	}
	return fmt.Sprintf("%s %d mode=%04o owner=%d:%d", o.Type, o.Rdev, o.Mode, o.UID, o.GID)
}

// xattrsThatDiffer are the names of extended attributes that are not alike, sorted.
func (o object) xattrsThatDiffer(other object) []string {
	names := map[string]bool{}
	for n, v := range o.Xattrs {
		if w, ok := other.Xattrs[n]; !ok || string(v) != string(w) {
			names[n] = true
		}
	}
	for n := range other.Xattrs {
		if _, ok := o.Xattrs[n]; !ok {
			names[n] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// setAttrs gives what is at p the attributes of o. The order matters: a change of owner drops set-id bits and capabilities,
// and an access list rewrites the group's bits.
func (p *place) setAttrs(o object, times bool, step func(string)) error {
	now, err := p.look()
	if err != nil {
		return err
	}
	if now.UID != o.UID || now.GID != o.GID {
		if err := p.chown(o.UID, o.GID); err != nil {
			return fmt.Errorf("owner: %w", err)
		}
		step("owner set")
	}
	if err := p.setXattrs(o.Xattrs); err != nil {
		return err
	}
	step("extended attributes set")
	if now, err = p.look(); err != nil {
		return err
	}
	if o.Type != typeLink && now.Mode != o.Mode {
		if err := p.chmod(o.Mode); err != nil {
			return fmt.Errorf("mode: %w", err)
		}
		step("mode set")
	}
	if !times {
		return nil
	}
	return p.utimes(unix.NsecToTimespec(o.Atime), unix.NsecToTimespec(o.Mtime))
}

// make creates o at p, which must be free: a link, an empty folder or a device. Files are written by writeTemp.
func (p *place) make(o object) error {
	switch o.Type {
	case typeLink:
		return unix.Symlinkat(o.Target, p.dir, p.name)
	case typeDir:
		return unix.Mkdirat(p.dir, p.name, 0o700)
	case "fifo", "char", "block", "socket":
		kinds := map[string]uint32{"fifo": unix.S_IFIFO, "char": unix.S_IFCHR, "block": unix.S_IFBLK, "socket": unix.S_IFSOCK}
		return unix.Mknodat(p.dir, p.name, kinds[o.Type]|0o600, int(o.Rdev))
	}
	return errors.New("there is no way to make a " + o.Type)
}

func nanos(t time.Time, old int64) int64 {
	if t.IsZero() {
		return old
	}
	return t.UnixNano()
}

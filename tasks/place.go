package tasks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// place is a name in an open folder. The folder is looked up once, so that what is compared, recorded and altered is the
// same place even while another user swaps folders and links on the way to it; the name itself is never followed.
type place struct {
	path string // for messages and records
	dir  int    // file descriptor of the folder
	name string
	sync bool // the folder could be opened for reading, so that it can be synced
}

func openPlace(path string) (*place, error) {
	path = filepath.Clean(path)
	if !filepath.IsAbs(path) {
		abs, err := filepath.Abs(path)
		if err != nil {
			return nil, err
		}
		path = abs
	}
	p := &place{path: path, name: filepath.Base(path), sync: true}
	var err error
	if path == "/" {
		p.name = "."
	}
	p.dir, err = unix.Open(filepath.Dir(path), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EACCES) {
		p.sync = false
		p.dir, err = unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (p *place) close() { _ = unix.Close(p.dir) }

// beside is another name in the same folder; it shares the descriptor.
func (p *place) beside(name string) *place {
	return &place{path: filepath.Join(filepath.Dir(p.path), name), dir: p.dir, name: name, sync: p.sync}
}

// proc is a path for calls that have no form with a descriptor; they must not follow the last name.
func (p *place) proc() string { return fmt.Sprintf("/proc/self/fd/%d/%s", p.dir, p.name) }

// fsync makes what happened to names in the folder last.
func (p *place) fsync() error {
	if !p.sync {
		return nil
	}
	err := unix.Fsync(p.dir)
	if errors.Is(err, unix.EINVAL) { // a file system without it
		return nil
	}
	return err
}

func (p *place) lstat() (unix.Stat_t, error) {
	var st unix.Stat_t
	err := unix.Fstatat(p.dir, p.name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return st, err
}

func (p *place) open(flags int, mode uint32) (*os.File, error) {
	fd, err := unix.Openat(p.dir, p.name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), p.path), nil
}

func (p *place) readlink() (string, error) { return os.Readlink(p.proc()) }

func (p *place) unlink() error { return unix.Unlinkat(p.dir, p.name, 0) }

func (p *place) rmdir() error { return unix.Unlinkat(p.dir, p.name, unix.AT_REMOVEDIR) }

func (p *place) renameTo(to *place) error { return unix.Renameat(p.dir, p.name, to.dir, to.name) }

func (p *place) chown(uid, gid int) error {
	return unix.Fchownat(p.dir, p.name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
}

// chmod sets the bits of anything but a link, without following one that was put there meanwhile.
func (p *place) chmod(bits uint32) error {
	fd, err := unix.Openat(p.dir, p.name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // opened for its name only
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return unix.ELOOP
	}
	return unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), bits)
}

func (p *place) utimes(atime, mtime unix.Timespec) error {
	return unix.UtimesNanoAt(p.dir, p.name, []unix.Timespec{atime, mtime}, unix.AT_SYMLINK_NOFOLLOW)
}

// remove takes away whatever is there, trees too; nothing there is fine.
func (p *place) remove() error {
	err := p.unlink()
	switch {
	case err == nil || errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EPERM):
		return plain(os.RemoveAll(p.proc()))
	}
	return err
}

func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
}

// resolve follows the links of path's last name, as writing through a link does. A link that leads nowhere gives the place it names.
func resolve(path string) (string, error) {
	for range 40 {
		target, err := os.Readlink(path)
		if err != nil {
			return path, nil // not a link, or nothing there
		}
		if !filepath.IsAbs(target) {
			dir, err := filepath.EvalSymlinks(filepath.Dir(path))
			if err != nil {
				return "", err
			}
			target = filepath.Join(dir, target)
		}
		path = target
	}
	return "", unix.ELOOP
}

// getXattrs are the extended attributes of what is at p; none where the file system has none.
func (p *place) getXattrs() map[string][]byte {
	names := make([]byte, 64<<10)
	n, err := unix.Llistxattr(p.proc(), names)
	if err != nil || n == 0 {
		return nil
	}
	attrs := map[string][]byte{}
	for name := range strings.SplitSeq(strings.TrimRight(string(names[:n]), "\x00"), "\x00") {
		val := make([]byte, 64<<10)
		if n, err := unix.Lgetxattr(p.proc(), name, val); err == nil && keptXattr(name) {
			attrs[name] = val[:n:n]
		}
	}
	if len(attrs) == 0 {
		return nil
	}
	return attrs
}

// keptXattr leaves out what signs one content (it would be wrong for the next) and what belongs to the file system.
func keptXattr(name string) bool {
	switch {
	case name == "security.ima", name == "security.evm", name == "system.nfs4_acl", name == "system.richacl",
		strings.HasPrefix(name, "btrfs."), strings.HasPrefix(name, "trusted.overlay."):
		return false
	}
	return true
}

// setXattrs makes the attributes those of want. Those that this user may not set are left out: they could not have been lost
// by anything this user did.
func (p *place) setXattrs(want map[string][]byte) error {
	have := p.getXattrs()
	for name := range have {
		if _, ok := want[name]; ok || name == selinuxXattr {
			continue
		}
		if err := unix.Lremovexattr(p.proc(), name); err != nil && !tolerable(err) {
			return fmt.Errorf("extended attribute %s: %w", name, err)
		}
	}
	for name, val := range want {
		if old, ok := have[name]; ok && string(old) == string(val) {
			continue
		}
		if err := unix.Lsetxattr(p.proc(), name, val, 0); err != nil && !tolerable(err) {
			return fmt.Errorf("extended attribute %s: %w", name, err)
		}
	}
	return nil
}

func tolerable(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENODATA)
}

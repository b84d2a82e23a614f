package node

import (
	"crypto/md5"  //nolint:gosec // a returned value that Ansible's modules have
	"crypto/sha1" //nolint:gosec // likewise
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/calroll/calroll/tasks"
)

// addInfo puts what Ansible's modules say of the file they leave into the result: owner, group, mode, state, size. The path is
// not followed, but nothing is said of a link that leads nowhere.
func addInfo(r *tasks.Result, path string) {
	var st unix.Stat_t
	if !exists(path) || unix.Lstat(path, &st) != nil {
		return
	}
	r.Set("uid", int(st.Uid))
	r.Set("gid", int(st.Gid))
	r.Set("owner", userName(st.Uid))
	r.Set("group", groupName(st.Gid))
	r.Set("mode", fmt.Sprintf("%04o", st.Mode&0o7777))
	r.Set("size", st.Size)
	r.Set("state", stateOf(st))
	if label := make([]byte, 512); selinux() {
		if n, err := unix.Lgetxattr(path, "security.selinux", label); err == nil {
			r.Set("secontext", strings.TrimRight(string(label[:n]), "\x00"))
		}
	}
}

func selinux() bool {
	_, err := os.Stat("/sys/fs/selinux/enforce")
	return err == nil
}

// stateOf is the state that Ansible's file module gives a path: hard is a file with several names.
func stateOf(st unix.Stat_t) string {
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		return "link"
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return "directory"
	case st.Nlink > 1:
		return "hard"
	}
	return "file"
}

// pathState is stateOf what is at path, "absent" for nothing.
func pathState(path string) string {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return "absent"
	}
	return stateOf(st)
}

func userName(uid uint32) string {
	if u, err := user.LookupId(strconv.Itoa(int(uid))); err == nil {
		return u.Username
	}
	return strconv.Itoa(int(uid))
}

func groupName(gid uint32) string {
	if g, err := user.LookupGroupId(strconv.Itoa(int(gid))); err == nil {
		return g.Name
	}
	return strconv.Itoa(int(gid))
}

// sums are hashes of one reading.
func sums(path string, hashes ...hash.Hash) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	writers := make([]io.Writer, len(hashes))
	for i := range hashes {
		writers[i] = hashes[i]
	}
	_, err = io.Copy(io.MultiWriter(writers...), f)
	return err
}

func hexOf(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// addSums puts checksum (SHA-1, as Ansible has it) and, if asked, md5sum of a file into the result.
func addSums(r *tasks.Result, path string, withMD5 bool) error {
	s, m := sha1.New(), md5.New() //nolint:gosec // not for security
	hashes := []hash.Hash{s}
	if withMD5 {
		hashes = append(hashes, m)
	}
	if err := sums(path, hashes...); err != nil {
		return err
	}
	r.Set("checksum", hexOf(s))
	if withMD5 {
		r.Set("md5sum", hexOf(m))
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

func isLink(path string) bool {
	st, err := os.Lstat(path)
	return err == nil && st.Mode()&os.ModeSymlink != 0
}

// realPath follows every link of path as far as there is something.
func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	dir, base := filepath.Split(filepath.Clean(path))
	if target, err := os.Readlink(path); err == nil {
		if !filepath.IsAbs(target) {
			target = filepath.Join(dir, target)
		}
		return target
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return filepath.Join(real, base)
	}
	return path
}

// fail is the error of a module that names what is wrong in Ansible's words or better.
func fail(format string, args ...any) error {
	return &tasks.Error{Kind: tasks.Failed, Detail: fmt.Sprintf(format, args...)}
}

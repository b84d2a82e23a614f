package node

import (
	"context"
	"crypto/md5"  //nolint:gosec // a choice of the user
	"crypto/sha1" //nolint:gosec // likewise
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"hash"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/calroll/calroll/tasks"
)

var _ = register("stat", func() tasks.Module { return &Stat{} })

// Stat tells what is at a path.
type Stat struct {
	Path          tasks.Path `arg:"path,alias=dest|name,required" doc:"what is asked about"`
	Follow        bool       `arg:"follow" doc:"tell about what a link leads to"`
	GetChecksum   bool       `arg:"get_checksum,default=yes" doc:"return a hash of a file"`
	Algorithm     string     `arg:"checksum_algorithm,alias=checksum|checksum_algo,choices=md5|sha1|sha224|sha256|sha384|sha512,default=sha1" doc:"which hash"`
	GetMime       bool       `arg:"get_mime,alias=mime|mime_type|mime-type,default=yes" doc:"return type and character set as file(1) finds them"`
	GetAttributes bool       `arg:"get_attributes,alias=attr|attributes,default=yes" doc:"return the attributes that lsattr(1) shows"`
}

var hashes = map[string]func() hash.Hash{
	"md5": md5.New, "sha1": sha1.New, "sha224": sha256.New224, "sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New,
}

// Run answers stat.exists and, where there is something, all that is known of it.
func (m *Stat) Run(ctx context.Context, sys *tasks.Sys) (r tasks.Result, err error) {
	path := m.Path.Expand()
	var st unix.Stat_t
	err = unix.Lstat(path, &st)
	if m.Follow {
		err = unix.Stat(path, &st)
	}
	switch {
	case errors.Is(err, unix.ENOENT):
		r.Set("stat", map[string]any{"exists": false})
		return r, nil
	case err != nil:
		return r, fail("cannot look at %s: %v", path, err)
	}
	out := describe(path, st)
	if isLink(path) && !m.Follow {
		out["lnk_source"] = realPath(path)
		out["lnk_target"], _ = os.Readlink(path) // it was a link a moment ago
	}
	regular := st.Mode&unix.S_IFMT == unix.S_IFREG
	if m.GetChecksum && regular && out["readable"] == true {
		h := hashes[m.Algorithm]()
		if err := sums(path, h); err != nil {
			return r, fail("cannot read %s: %v", path, err)
		}
		out["checksum"] = hexOf(h)
	}
	if m.GetMime {
		out["mimetype"], out["charset"] = fileType(ctx, sys, path)
	}
	if m.GetAttributes {
		addFlags(out, path, st)
	}
	r.Set("stat", out)
	return r, nil
}

// fileType asks file(1), which like Ansible's module tells of a link itself even with follow; "unknown" where it is not installed.
func fileType(ctx context.Context, sys *tasks.Sys, path string) (kind, charset string) {
	if _, err := sys.LookPath("file"); err != nil {
		return "unknown", "unknown"
	}
	out, err := sys.Exec(ctx, tasks.Cmd{Argv: []string{"file", "--brief", "--mime-type", "--mime-encoding", "--", path}})
	kind, charset, ok := strings.Cut(strings.TrimSpace(string(out.Stdout)), "; charset=")
	if err != nil || out.Code != 0 || !ok {
		return "unknown", "unknown"
	}
	return kind, charset
}

func describe(path string, st unix.Stat_t) map[string]any {
	kind := st.Mode & unix.S_IFMT
	can := func(bit uint32) bool { return unix.Access(path, bit) == nil }
	out := map[string]any{
		"exists": true, "path": path, "mode": octal(st.Mode & 0o7777), "uid": int(st.Uid), "gid": int(st.Gid), "size": st.Size,
		"inode": st.Ino, "dev": st.Dev, "nlink": uint64(st.Nlink), "device_type": st.Rdev, //nolint:unconvert // other types on arm64
		"atime": seconds(st.Atim), "mtime": seconds(st.Mtim), "ctime": seconds(st.Ctim), "block_size": int64(st.Blksize), "blocks": st.Blocks, //nolint:unconvert // other types on arm64
		"isdir": kind == unix.S_IFDIR, "isreg": kind == unix.S_IFREG, "islnk": kind == unix.S_IFLNK, "isblk": kind == unix.S_IFBLK,
		"ischr": kind == unix.S_IFCHR, "isfifo": kind == unix.S_IFIFO, "issock": kind == unix.S_IFSOCK,
		"isuid": st.Mode&unix.S_ISUID != 0, "isgid": st.Mode&unix.S_ISGID != 0,
		"readable": can(unix.R_OK), "writeable": can(unix.W_OK), "executable": can(unix.X_OK),
	}
	for i, name := range []string{"rusr", "wusr", "xusr", "rgrp", "wgrp", "xgrp", "roth", "woth", "xoth"} {
		out[name] = st.Mode&(0o400>>i) != 0
	}
	if n := userName(st.Uid); n != strconv.Itoa(int(st.Uid)) {
		out["pw_name"] = n
	}
	if n := groupName(st.Gid); n != strconv.Itoa(int(st.Gid)) {
		out["gr_name"] = n
	}
	return out
}

// seconds are as Python's os.stat gives them.
func seconds(t unix.Timespec) float64 { return float64(t.Sec) + float64(t.Nsec)*1e-9 }

// flags are the letters of lsattr(1) with Ansible's names for them, in lsattr's order.
var flags = []struct {
	bit    int
	letter byte
	name   string
}{
	{0x1, 's', "secure_deletion"}, {0x2, 'u', "undelete"}, {0x8, 'S', "synchronous_updates"}, {0x10000, 'D', "synchronous_directory_updates"},
	{0x10, 'i', "immutable"}, {0x20, 'a', "append_only"}, {0x40, 'd', "nodump"}, {0x80, 'A', "no_atime"}, {0x4, 'c', "compressed"},
	{0x800, 'E', "encrypted"}, {0x4000, 'j', "journaled"}, {0x1000, 'I', "indexed"}, {0x8000, 't', "no_tailmerging"}, {0x20000, 'T', "topdir"},
	{0x80000, 'e', "extents"}, {0x800000, 'C', "nocow"}, {0x10000000, 'N', "inline_data"},
}

func addFlags(out map[string]any, path string, st unix.Stat_t) {
	names, letters := []string{}, ""
	out["version"] = nil
	kind := st.Mode & unix.S_IFMT
	if f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0); err == nil && (kind == unix.S_IFREG || kind == unix.S_IFDIR) {
		defer f.Close()
		bits, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
		for _, fl := range flags {
			if err == nil && bits&fl.bit != 0 {
				names, letters = append(names, fl.name), letters+string(fl.letter)
			}
		}
		if v, err := unix.IoctlGetUint32(int(f.Fd()), fsGetVersion); err == nil {
			out["version"] = strconv.FormatUint(uint64(v), 10)
		}
	}
	out["attributes"], out["attr_flags"] = names, letters
}

// fsGetVersion is FS_IOC_GETVERSION of linux/fs.h on 64 bits, which x/sys does not name.
const fsGetVersion = 0x80087601

package node

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// member is one thing in an archive.
type member struct {
	name     string // as in the archive, without a leading slash; a folder's ends in one
	kind     fs.FileMode
	mode     uint32
	uid, gid string // as the archive names them; "" when it does not
	mtime    time.Time
	target   string // of a link; of a hard link the member's name
	hard     bool
	size     int64
}

// archive reads members in their order. Read gives the content of the member that visit was called with.
type archive interface {
	handler() string // the name that Ansible answers for the format
	each(visit func(m member, content io.Reader) error) error
}

// openArchive finds out what file is by its first bytes.
func openArchive(file string) (archive, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	head := make([]byte, 512)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	head = head[:n]
	for _, format := range tarFormats {
		if bytes.HasPrefix(head, []byte(format.magic)) {
			return &tarArchive{file: file, name: format.handler, unpack: format.unpack}, nil
		}
	}
	if bytes.HasPrefix(head, []byte("PK\x03\x04")) || bytes.HasPrefix(head, []byte("PK\x05\x06")) {
		return &zipArchive{file: file}, nil
	}
	if n == 512 && string(head[257:262]) == "ustar" || validOldTar(head) {
		return &tarArchive{file: file, name: "TarArchive", unpack: func(r io.Reader) (io.Reader, error) { return r, nil }}, nil
	}
	return nil, errors.New("it is neither a tar (plain, gzip, bzip2, xz, zstd) nor a zip archive")
}

// validOldTar tells whether the header's sum is right, which is all that tars before POSIX can be known by.
func validOldTar(head []byte) bool {
	if len(head) < 512 {
		return false
	}
	want, err := strconv.ParseInt(strings.Trim(string(head[148:156]), " \x00"), 8, 64)
	sum := int64(8 * ' ')
	for i, b := range head {
		if i < 148 || i >= 156 {
			sum += int64(b)
		}
	}
	return err == nil && sum == want
}

var tarFormats = []struct {
	magic, handler string
	unpack         func(io.Reader) (io.Reader, error)
}{
	{"\x1f\x8b", "TgzArchive", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
	{"BZh", "TarArchive", func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }},
	{"\xfd7zXZ\x00", "TarArchive", func(r io.Reader) (io.Reader, error) { return xz.NewReader(r) }},
	{"\x28\xb5\x2f\xfd", "TarArchive", func(r io.Reader) (io.Reader, error) {
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1)) // no goroutine stays behind
	}},
}

type tarArchive struct {
	file, name string
	unpack     func(io.Reader) (io.Reader, error)
}

func (a *tarArchive) handler() string { return a.name }

func (a *tarArchive) each(visit func(member, io.Reader) error) error {
	f, err := os.Open(a.file)
	if err != nil {
		return err
	}
	defer f.Close()
	plain, err := a.unpack(bufio.NewReaderSize(f, 1<<20))
	if err != nil {
		return err
	}
	for in := tar.NewReader(plain); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		m, err := tarMember(h)
		if err != nil {
			return err
		}
		if err := visit(m, in); err != nil {
			return err
		}
	}
}

func tarMember(h *tar.Header) (member, error) {
	m := member{name: h.Name, kind: h.FileInfo().Mode().Type(), mode: uint32(h.Mode) & 0o7777, mtime: h.ModTime, target: h.Linkname, size: h.Size}
	m.uid, m.gid = strconv.Itoa(h.Uid), strconv.Itoa(h.Gid)
	if _, err := user.Lookup(h.Uname); err == nil {
		m.uid = h.Uname
	}
	if _, err := user.LookupGroup(h.Gname); err == nil {
		m.gid = h.Gname
	}
	switch h.Typeflag {
	case tar.TypeLink:
		m.hard = true
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return m, fmt.Errorf("%s is a device or a pipe, which is not unpacked", h.Name)
	}
	return m, nil
}

type zipArchive struct{ file string }

func (a *zipArchive) handler() string { return "ZipArchive" }

func (a *zipArchive) each(visit func(member, io.Reader) error) error {
	z, err := zip.OpenReader(a.file)
	if err != nil {
		return err
	}
	defer func() { _ = z.Close() }() // it was only read
	for _, f := range z.File {
		if err := visitZip(f, visit); err != nil {
			return err
		}
	}
	return nil
}

func visitZip(f *zip.File, visit func(member, io.Reader) error) error {
	in, err := f.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	mode := f.Mode()
	m := member{name: f.Name, kind: mode.Type(), mode: uint32(mode.Perm()), mtime: f.Modified, size: int64(f.UncompressedSize64)}
	if f.CreatorVersion>>8 != 3 { // not made on Unix: the modes mean nothing
		m.mode = 0o644
		if mode.IsDir() {
			m.mode = 0o755
		}
	}
	if m.kind == fs.ModeSymlink {
		target, err := io.ReadAll(io.LimitReader(in, 4096))
		if err != nil {
			return err
		}
		m.target = string(target)
	}
	return visit(m, in)
}

// localName is where a member goes below the destination. A name that would lead out of it is an error.
func localName(name string) (string, error) {
	clean := strings.TrimLeft(name, "/")
	for part := range strings.SplitSeq(clean, "/") {
		if part == ".." {
			return "", fmt.Errorf("the member %q leads out of the folder", name)
		}
	}
	return path.Clean(clean), nil
}

// matches tells whether name, or a folder that it is in, is what the pattern says; * stands for slashes too, as it does for tar.
// Unless anchored, the pattern may begin at any folder.
func matches(pattern, name string, anchored bool) bool {
	name = strings.TrimSuffix(name, "/")
	pattern = strings.TrimSuffix(pattern, "/")
	for start := 0; ; {
		for end := start; end <= len(name); end++ {
			if (end == len(name) || name[end] == '/') && glob(pattern, name[start:end]) {
				return true
			}
		}
		next := strings.IndexByte(name[start:], '/')
		if anchored || next < 0 {
			return false
		}
		start += next + 1
	}
}

func glob(pattern, s string) bool {
	for pattern != "" {
		switch pattern[0] {
		case '*':
			for i := len(s); i >= 0; i-- {
				if glob(pattern[1:], s[i:]) {
					return true
				}
			}
			return false
		case '?':
			if s == "" {
				return false
			}
		case '[':
			end := strings.IndexByte(pattern, ']')
			if end < 0 || s == "" {
				return false
			}
			if ok, err := path.Match(pattern[:end+1], s[:1]); err != nil || !ok {
				return false
			}
			pattern = pattern[end:]
		default:
			if s == "" || s[0] != pattern[0] {
				return false
			}
		}
		pattern, s = pattern[1:], s[1:]
	}
	return s == ""
}

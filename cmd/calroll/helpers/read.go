package helpers

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/calroll/calroll/runner/remote"
)

// sums is the file with a line for each helper: hash, size in bytes, and platform as linux-amd64.
const sums = "SHA256SUMS"

// read finds the helpers in a folder that build.sh wrote. The programs themselves are read when a host needs one.
func read(fsys fs.FS, dir string) (remote.Helpers, error) {
	list, err := fs.ReadFile(fsys, path.Join(dir, sums))
	if err != nil {
		return remote.Helpers{}, fmt.Errorf("cannot find the helpers that calroll was built with: %w", err)
	}
	var hs remote.Helpers
	lines := bufio.NewScanner(bytes.NewReader(list))
	for lines.Scan() {
		h := remote.Helper{}
		var name string
		if _, err := fmt.Sscan(lines.Text(), &h.Hash, &h.Size, &name); err != nil {
			return hs, fmt.Errorf("cannot understand %q in %s: %w", lines.Text(), sums, err)
		}
		h.Platform = strings.Replace(name, "-", "/", 1)
		h.Open = func() (io.ReadCloser, error) { return unpack(fsys, path.Join(dir, name+".gz")) }
		hs.List = append(hs.List, h)
	}
	return hs, lines.Err()
}

// unpack reads a compressed helper.
func unpack(fsys fs.FS, name string) (io.ReadCloser, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{z, f}, nil
}

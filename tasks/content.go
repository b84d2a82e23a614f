package tasks

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strings"
)

// Path is a path on the target; Expand gives the path that is meant.
type Path string

// Expand replaces a leading ~ or ~user and $VARIABLES as the target knows them.
func (p Path) Expand() string {
	s := os.Expand(string(p), func(name string) string {
		if v, ok := os.LookupEnv(name); ok {
			return v
		}
		return "$" + name
	})
	if !strings.HasPrefix(s, "~") {
		return s
	}
	name, rest, _ := strings.Cut(s[1:], "/")
	home := homeOf(name)
	if home == "" {
		return s
	}
	return filepath.Join(home, rest)
}

func homeOf(name string) string {
	if name == "" {
		if h := os.Getenv("HOME"); h != "" {
			return h
		}
		u, err := user.Current()
		if err != nil {
			return ""
		}
		return u.HomeDir
	}
	u, err := user.Lookup(name)
	if err != nil {
		return ""
	}
	return u.HomeDir
}

// Content is what a file shall hold: known by its hash before it is read, so that a file that holds it already costs no
// transfer. It is a small text in memory, a blob of the controller, or a file on the machine. The zero Content is absent; Text("") is empty.
type Content struct {
	SHA256 string // hex
	Size   int64
	text   []byte
	inline bool
	file   string
	open   func() (io.ReadCloser, error)
}

// Text is content in memory.
func Text(b []byte) Content {
	sum := sha256.Sum256(b)
	return Content{SHA256: hex.EncodeToString(sum[:]), Size: int64(len(b)), text: b, inline: true}
}

// Blob is content that the controller has (a BlobSource gives it).
func Blob(sha256 string, size int64) Content { return Content{SHA256: sha256, Size: size} }

// Stream is content that can be read at least once, such as an archive's member, whose hash is known already.
func Stream(sha256 string, size int64, open func() (io.ReadCloser, error)) Content {
	return Content{SHA256: sha256, Size: size, open: open}
}

// FileContent is the content of a regular file on the machine as it is now; it reads the file once for its hash.
func FileContent(ctx context.Context, path string) (Content, error) {
	f, err := os.Open(path)
	if err != nil {
		return Content{}, failed("read "+path, err)
	}
	defer f.Close()
	sum, n, err := hashReader(ctx, f)
	if err != nil {
		return Content{}, failed("read "+path, err)
	}
	return Content{SHA256: sum, Size: n, file: path}, nil
}

// IsZero tells whether there is no content at all, not even an empty one.
func (c Content) IsZero() bool { return c.SHA256 == "" }

// Inline is the content when it is in memory.
func (c Content) Inline() ([]byte, bool) { return c.text, c.inline }

// contentOf reads a Content argument: {"$blob": sha256, "size": n}, {"$base64": text} or a string.
func contentOf(val any) (Content, error) {
	m, ok := val.(map[string]any)
	if !ok {
		text, err := textOf(val)
		return Text([]byte(text)), err
	}
	if sha, ok := m["$blob"].(string); ok {
		size, err := intOf(m["size"])
		if err != nil || len(sha) != 2*sha256.Size {
			return Content{}, fmt.Errorf("must be a blob's hash and size")
		}
		return Blob(sha, size), nil
	}
	if b64, ok := m["$base64"].(string); ok {
		raw, err := base64.StdEncoding.DecodeString(b64)
		return Text(raw), err
	}
	return Text([]byte(jsonText(m))), nil
}

// BlobSource gives content that the controller has, by its SHA-256; the helper's end of the protocol is one.
type BlobSource interface {
	OpenBlob(ctx context.Context, sha256 string) (io.ReadCloser, error)
}

// hashReader is the SHA-256 of r in hex, and its length. It stops when ctx ends.
func hashReader(ctx context.Context, r io.Reader) (string, int64, error) {
	h := sha256.New()
	n, err := copyContext(ctx, h, r)
	return hex.EncodeToString(h.Sum(nil)), n, err
}

// copyContext is io.Copy that looks at ctx between its reads.
func copyContext(ctx context.Context, w io.Writer, r io.Reader) (int64, error) {
	buf := make([]byte, 128<<10)
	return io.CopyBuffer(struct{ io.Writer }{w}, readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return r.Read(p)
	}), buf)
}

type readerFunc func([]byte) (int, error)

// Read calls f.
func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

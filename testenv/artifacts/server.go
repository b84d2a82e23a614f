package artifacts

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
)

// Server offers the files of sets over HTTP. Beside every file lies its checksum, as name.sha256, and every
// directory of files has a SHA256SUMS, both in the form of sha256sum(1).
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Serve starts a server on an address such as 10.30.0.1:0, the port of which may be left to the kernel.
func Serve(addr string, sets ...*Set) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot offer the artifacts: %w", err)
	}
	s := &Server{listener: l, http: &http.Server{Handler: Handler(sets...), ReadHeaderTimeout: 10 * time.Second}}
	go func() { _ = s.http.Serve(l) }() // ends with Close, which is its only error
	return s, nil
}

// URL is the base URL, without a slash at the end: what a playbook has for upstream's.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() }

// Close stops the server at once, transfers included.
func (s *Server) Close() error {
	if err := s.http.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Handler answers for the files of all sets. Where two sets have the same URL, the first counts.
func Handler(sets ...*Set) http.Handler {
	files := map[string]File{}
	small := map[string]string{} // checksum files and the list of all there is
	for _, set := range sets {
		for _, f := range set.files {
			if _, ok := files["/"+f.URL]; !ok {
				files["/"+f.URL] = f
			}
		}
	}
	for url, f := range files {
		small[url+sumSuffix] = sumLine(f.SHA256, path.Base(url))
	}
	for dir, lines := range sumsByDir(files) {
		small[path.Join(dir, "SHA256SUMS")] = strings.Join(lines, "")
	}
	small["/"] = index(files, small)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
			return
		}
		if f, ok := files[r.URL.Path]; ok {
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Header().Set("ETag", `"`+f.SHA256+`"`)
			http.ServeFile(w, r, f.Path)
			return
		}
		if text, ok := small[r.URL.Path]; ok {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			fmt.Fprint(w, text)
			return
		}
		http.NotFound(w, r)
	})
}

// sumsByDir lists the checksum lines of each directory's files, sorted by name.
func sumsByDir(files map[string]File) map[string][]string {
	byDir := map[string][]string{}
	for _, url := range sortedKeys(files) {
		byDir[path.Dir(url)] = append(byDir[path.Dir(url)], sumLine(files[url].SHA256, path.Base(url)))
	}
	return byDir
}

// index lists every path on the server, one a line.
func index(files map[string]File, small map[string]string) string {
	all := append(sortedKeys(files), sortedKeys(small)...)
	slices.Sort(all)
	return strings.Join(all, "\n") + "\n"
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

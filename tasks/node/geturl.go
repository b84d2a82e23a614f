package node

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/calroll/calroll/tasks"
)

var _ = register("get_url", func() tasks.Module { return &GetURL{} })

// GetURL downloads a file onto the target.
type GetURL struct {
	URL             string         `arg:"url,required" doc:"http, https or file address"`
	Dest            tasks.Path     `arg:"dest,required" doc:"the file, or a folder for a file named as the server says"`
	TmpDest         tasks.Path     `arg:"tmp_dest" doc:"without meaning here: downloads go to calroll's own folder"`
	Backup          bool           `arg:"backup" doc:"keep the old file beside it"`
	Checksum        string         `arg:"checksum" doc:"algorithm:hash, or algorithm:address of a list of hashes"`
	Force           bool           `arg:"force" doc:"download even if the file exists"`
	Timeout         int            `arg:"timeout,default=10" doc:"seconds that the server may stay silent"`
	Headers         map[string]any `arg:"headers" doc:"request headers"`
	URLUsername     string         `arg:"url_username,alias=username" doc:"name for HTTP authentication"`
	URLPassword     string         `arg:"url_password,alias=password,secret" doc:"password for HTTP authentication"`
	ForceBasicAuth  bool           `arg:"force_basic_auth" doc:"send name and password at once"`
	ValidateCerts   bool           `arg:"validate_certs,default=yes" doc:"verify the server's certificate"`
	ClientCert      tasks.Path     `arg:"client_cert" doc:"PEM certificate for TLS, may hold the key too"`
	ClientKey       tasks.Path     `arg:"client_key" doc:"PEM key for TLS"`
	UseProxy        bool           `arg:"use_proxy,default=yes" doc:"honour the proxy variables of the environment"`
	HTTPAgent       string         `arg:"http_agent,default=ansible-httpget" doc:"User-Agent"`
	UnredirectedHdr []string       `arg:"unredirected_headers" doc:"headers that are not sent on after a redirect"`
	tasks.FileArgs

	dest string
}

// Run downloads unless what is there is known to be right.
func (m *GetURL) Run(ctx context.Context, sys *tasks.Sys) (r tasks.Result, err error) {
	m.dest = m.Dest.Expand()
	r.Set("dest", m.dest)
	r.Set("url", m.URL)
	f := m.fetcher()
	want, err := m.want(ctx, f)
	if err != nil {
		return r, err
	}
	if want == nil && m.Checksum == "" {
		sys.Warn("%s is downloaded without a checksum: nothing says that it is what was meant", m.URL)
	}
	toDir := isDir(m.dest)
	if !toDir && exists(m.dest) && want != nil {
		have, err := want.of(m.dest)
		if err != nil {
			return r, fail("cannot read %s: %v", m.dest, err)
		}
		if have == want.hash {
			return m.keep(ctx, sys, r)
		}
	}
	return m.download(ctx, sys, f, want, toDir, r)
}

func (m *GetURL) fetcher() *fetcher {
	f := &fetcher{URL: m.URL, Timeout: m.Timeout, Headers: map[string]string{"User-Agent": m.HTTPAgent}, User: m.URLUsername, Password: m.URLPassword,
		Basic: m.ForceBasicAuth, ValidateCerts: m.ValidateCerts, Cert: m.ClientCert.Expand(), Key: m.ClientKey.Expand(), UseProxy: m.UseProxy, Unredirected: m.UnredirectedHdr}
	for k, v := range m.Headers {
		f.Headers[k] = fmt.Sprint(v)
	}
	return f
}

// wantSum is a hash that the file must have.
type wantSum struct{ algorithm, hash string }

func (w wantSum) of(file string) (string, error) {
	h := hashes[w.algorithm]()
	err := sums(file, h)
	return hexOf(h), err
}

var hexHash = regexp.MustCompile(`^[0-9a-fA-F]+$`)

// want reads the checksum argument, and the list of hashes that it may point to.
func (m *GetURL) want(ctx context.Context, f *fetcher) (*wantSum, error) {
	if m.Checksum == "" {
		return nil, nil
	}
	algorithm, hash, ok := strings.Cut(m.Checksum, ":")
	algorithm = strings.ToLower(strings.TrimSpace(algorithm))
	if !ok {
		return nil, fail("The checksum parameter has to be in format <algorithm>:<checksum>")
	}
	if hashes[algorithm] == nil {
		return nil, fail("cannot use the checksum algorithm %q: known are md5, sha1, sha224, sha256, sha384, sha512", algorithm)
	}
	hash = strings.TrimSpace(hash)
	if strings.Contains(hash, "://") {
		list := *f
		list.URL = hash
		text, err := list.text(ctx)
		if err != nil {
			return nil, err
		}
		if hash, err = m.fromList(text, hash); err != nil {
			return nil, err
		}
	}
	hash = strings.ToLower(regexp.MustCompile(`\W+`).ReplaceAllString(hash, ""))
	if !hexHash.MatchString(hash) {
		return nil, fail("The checksum format is invalid")
	}
	return &wantSum{algorithm, hash}, nil
}

// fromList finds the file's line in what sha256sum and its like write; a list of one hash alone needs no name.
func (m *GetURL) fromList(text, from string) (string, error) {
	u, err := url.Parse(m.URL)
	if err != nil {
		return "", fail("cannot read the address %s: %v", m.URL, err)
	}
	base := path.Base(u.Path)
	fields := strings.Fields(text)
	if len(fields) == 1 && hexHash.MatchString(fields[0]) {
		return fields[0], nil
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) >= 2 && hexHash.MatchString(f[0]) && path.Base(strings.TrimLeft(f[len(f)-1], "*./")) == base {
			return f[0], nil
		}
		if len(f) == 4 && f[1] == "("+base+")" && f[2] == "=" { // BSD's form: SHA256 (name) = hash
			return f[3], nil
		}
	}
	return "", fail("Unable to find a checksum for file '%s' in '%s'", base, from)
}

// keep leaves the file that is there and sees to its attributes.
func (m *GetURL) keep(ctx context.Context, sys *tasks.Sys, r tasks.Result) (tasks.Result, error) {
	var err error
	if r.Changed, err = sys.SetAttrs(ctx, realPath(m.dest), m.Attrs()); err != nil {
		return r, err
	}
	m.say(&r, "file already exists")
	if r.Changed {
		m.say(&r, "file already exists but file attributes changed")
	}
	addInfo(&r, m.dest)
	return r, nil
}

func (m *GetURL) say(r *tasks.Result, msg string) {
	r.Msg = msg
	r.Set("msg", msg)
}

func (m *GetURL) download(ctx context.Context, sys *tasks.Sys, f *fetcher, want *wantSum, toDir bool, r tasks.Result) (tasks.Result, error) {
	start := time.Now()
	if st, err := os.Stat(m.dest); err == nil && !toDir && !m.Force && want == nil {
		f.Since = st.ModTime() // a server that knows may answer that nothing is newer
	}
	f.Look = sys.Check()
	got, err := f.toTemp(ctx, sys)
	r.Set("elapsed", int(time.Since(start).Seconds()))
	if got.status != 0 {
		r.Set("status_code", got.status)
	}
	if err != nil {
		return r, err
	}
	if toDir {
		m.dest = filepath.Join(m.dest, got.name)
		r.Set("dest", m.dest)
	}
	m.say(&r, got.message)
	switch {
	case got.status == http.StatusNotModified:
		r.Changed, err = sys.SetAttrs(ctx, realPath(m.dest), m.Attrs())
		addInfo(&r, m.dest)
		return r, err
	case got.file == "": // check mode: there is nothing to compare with
		r.Changed = true
		return r, nil
	}
	r.Set("src", got.file)
	if err := m.verify(got.file, want); err != nil {
		return r, err
	}
	err = m.place(ctx, sys, got.file, &r)
	addInfo(&r, m.dest)
	return r, err
}

func (m *GetURL) verify(file string, want *wantSum) error {
	if want == nil {
		return nil
	}
	have, err := want.of(file)
	if err != nil {
		return fail("cannot read what was downloaded: %v", err)
	}
	if have != want.hash {
		return fail("The checksum for %s did not match %s; it was %s.", m.dest, want.hash, have)
	}
	return nil
}

func (m *GetURL) place(ctx context.Context, sys *tasks.Sys, file string, r *tasks.Result) error {
	c, err := tasks.FileContent(ctx, file)
	if err != nil {
		return err
	}
	if dir := filepath.Dir(m.dest); !exists(dir) && !sys.Check() {
		return fail("Destination %s does not exist", dir)
	}
	sum, md5 := tasks.Result{}, tasks.Result{}
	if err := addSums(&sum, file, true); err != nil {
		return fail("cannot read what was downloaded: %v", err)
	}
	r.Set("checksum_src", sum.Values["checksum"])
	r.Set("md5sum", sum.Values["md5sum"])
	r.Set("checksum_dest", nil)
	if exists(m.dest) && addSums(&md5, m.dest, false) == nil {
		r.Set("checksum_dest", md5.Values["checksum"])
	}
	if m.Backup && exists(m.dest) && !holds(ctx, m.dest, c) {
		if err := backup(ctx, sys, m.dest, r); err != nil {
			return err
		}
	}
	r.Changed, err = sys.WriteFile(ctx, m.dest, c, m.Attrs(), tasks.WriteOptions{Follow: true, Unsafe: m.UnsafeWrites})
	return err
}

// fetcher gets what an address leads to.
type fetcher struct {
	URL            string
	Timeout        int // seconds of silence; 0 is 10
	Headers        map[string]string
	User, Password string
	Basic          bool
	ValidateCerts  bool
	Cert, Key      string
	UseProxy       bool
	Unredirected   []string
	Since          time.Time // only if it is newer
	Look           bool      // only ask whether it is there
}

// fetched is what came.
type fetched struct {
	file    string // on this machine
	name    string // that the server gave it, or the address's last part
	message string // "OK (12 bytes)"
	status  int
}

// toTemp downloads into a temporary file of the run.
func (f *fetcher) toTemp(ctx context.Context, sys *tasks.Sys) (got fetched, err error) {
	if file, ok := strings.CutPrefix(f.URL, "file://"); ok {
		st, err := os.Stat(file)
		if err != nil {
			return got, fail("Request failed: cannot read %s: %v", f.URL, errors.Unwrap(err))
		}
		return fetched{file: file, name: filepath.Base(file), message: okMessage(st.Size())}, nil
	}
	body, got, err := f.open(ctx)
	if err != nil {
		return got, err
	}
	defer body.Close()
	if got.message != "" || f.Look {
		return got, nil
	}
	tmp, err := sys.TempFile("download-*")
	if err != nil {
		return got, err
	}
	defer tmp.Close()
	n, err := io.Copy(tmp, body)
	if err != nil {
		return got, fail("cannot download %s: it broke off after %d bytes: %v", f.shown(), n, err)
	}
	if err := tmp.Close(); err != nil {
		return got, fail("cannot keep the download: %v", err)
	}
	got.file = tmp.Name()
	got.message = okMessage(n)
	return got, nil
}

func okMessage(n int64) string { return fmt.Sprintf("OK (%d bytes)", n) }

// text is a small answer.
func (f *fetcher) text(ctx context.Context) (string, error) {
	if file, ok := strings.CutPrefix(f.URL, "file://"); ok {
		raw, err := os.ReadFile(file)
		if err != nil {
			return "", fail("cannot read %s: %v", f.URL, errors.Unwrap(err))
		}
		return string(raw), nil
	}
	body, _, err := f.open(ctx)
	if err != nil {
		return "", err
	}
	defer body.Close()
	raw, err := io.ReadAll(io.LimitReader(body, 16<<20))
	if err != nil {
		return "", fail("cannot download %s: %v", f.shown(), err)
	}
	return string(raw), nil
}

// shown is the address without a password.
func (f *fetcher) shown() string {
	u, err := url.Parse(f.URL)
	if err != nil {
		return f.URL
	}
	return u.Redacted()
}

func (f *fetcher) open(ctx context.Context) (io.ReadCloser, fetched, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	method := http.MethodGet
	if f.Look {
		method = http.MethodHead
	}
	req, err := http.NewRequestWithContext(ctx, method, f.URL, nil)
	if err != nil {
		cancel(nil)
		return nil, fetched{}, fail("cannot read the address %s: %v", f.shown(), err)
	}
	f.dress(req)
	client, err := f.client()
	if err != nil {
		cancel(nil)
		return nil, fetched{}, err
	}
	silence := newSilence(time.Duration(max(f.Timeout, 0))*time.Second, cancel)
	resp, err := client.Do(req) //nolint:bodyclose // quietBody closes it
	if err != nil {
		silence.stop()
		cancel(nil)
		return nil, fetched{status: -1}, fail("Request failed: cannot download %s: %v", f.shown(), silence.cause(ctx, rootOf(err)))
	}
	got := fetched{status: resp.StatusCode, name: nameOf(resp)}
	body := &quietBody{resp.Body, silence, cancel, ctx}
	switch {
	case resp.StatusCode == http.StatusNotModified:
		got.message = "HTTP Error 304: Not Modified"
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		_ = body.Close() // the status is the error
		return nil, got, fail("Request failed: %s answers %s", f.shown(), resp.Status)
	}
	return body, got, nil
}

func (f *fetcher) dress(req *http.Request) {
	for k, v := range f.Headers {
		req.Header.Set(k, v)
		if strings.EqualFold(k, "Host") {
			req.Host = v
		}
	}
	if !f.Since.IsZero() {
		req.Header.Set("If-Modified-Since", f.Since.UTC().Format(http.TimeFormat))
	}
	if f.User != "" || f.Password != "" {
		req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(f.User+":"+f.Password)))
	}
}

func (f *fetcher) client() (*http.Client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableKeepAlives = true // one answer, then the connection is of no use
	t.DisableCompression = true
	if !f.UseProxy {
		t.Proxy = nil
	}
	t.TLSClientConfig = &tls.Config{InsecureSkipVerify: !f.ValidateCerts} //nolint:gosec // the user's choice
	if f.Cert != "" {
		key := f.Key
		if key == "" {
			key = f.Cert
		}
		pair, err := tls.LoadX509KeyPair(f.Cert, key)
		if err != nil {
			return nil, fail("cannot use the client certificate %s: %v", f.Cert, err)
		}
		t.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	return &http.Client{Transport: t, CheckRedirect: f.redirect}, nil
}

func (f *fetcher) redirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("it redirects more than ten times")
	}
	for _, h := range f.Unredirected {
		req.Header.Del(h)
	}
	return nil
}

// nameOf is the file's name by the Content-Disposition, or by the address after all redirects.
func nameOf(resp *http.Response) string {
	if _, params, err := mime.ParseMediaType(resp.Header.Get("Content-Disposition")); err == nil {
		if name := filepath.Base(params["filename"]); params["filename"] != "" && name != ".." {
			return name
		}
	}
	name := path.Base(resp.Request.URL.Path)
	if name == "/" || name == "." {
		return "index.html"
	}
	return name
}

func rootOf(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

var errSilent = errors.New("the server said nothing for too long")

// silence cancels a request when nothing has come for a while.
type silence struct {
	timer *time.Timer
	after time.Duration
}

func newSilence(after time.Duration, cancel context.CancelCauseFunc) *silence {
	if after <= 0 {
		after = 10 * time.Second
	}
	return &silence{timer: time.AfterFunc(after, func() { cancel(errSilent) }), after: after}
}

func (s *silence) stop()  { s.timer.Stop() }
func (s *silence) heard() { s.timer.Reset(s.after) }

func (s *silence) cause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
		return fmt.Errorf("%w (%s)", cause, s.after)
	}
	return err
}

// quietBody is an answer's body that ends when nothing comes.
type quietBody struct {
	io.ReadCloser
	silence *silence
	cancel  context.CancelCauseFunc
	ctx     context.Context
}

// Read reads what comes.
func (b *quietBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, b.silence.cause(b.ctx, err)
	}
	b.silence.heard()
	return n, err
}

// Close ends the request.
func (b *quietBody) Close() error {
	b.silence.stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

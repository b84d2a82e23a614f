package node

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/calroll/calroll/tasks"
)

var _ = register("uri", func() tasks.Module { return &URI{} })

// URI talks to an HTTP service. What the service alters by it cannot be taken back; the file at dest can.
type URI struct {
	URL             string         `arg:"url,required" doc:"http or https address"`
	Method          string         `arg:"method,default=GET" doc:"HTTP method"`
	Body            any            `arg:"body" doc:"what is sent: text, or a structure that body_format writes"`
	BodyFormat      string         `arg:"body_format,choices=form-urlencoded|json|raw|form-multipart,default=raw" doc:"how body is written"`
	Src             tasks.Path     `arg:"src" doc:"file that is sent, of the controller, or with remote_src of the target"`
	RemoteSrc       bool           `arg:"remote_src" doc:"src is on the target"`
	Headers         map[string]any `arg:"headers" doc:"request headers"`
	StatusCode      []int          `arg:"status_code,default=200" doc:"status codes that mean success"`
	ReturnContent   bool           `arg:"return_content" doc:"answer the body as content, whatever the status"`
	Dest            tasks.Path     `arg:"dest" doc:"file, or folder, that the body is written to"`
	Creates         tasks.Path     `arg:"creates" doc:"do nothing when this exists"`
	Removes         tasks.Path     `arg:"removes" doc:"do nothing unless this exists"`
	Timeout         int            `arg:"timeout,default=30" doc:"seconds that the server may stay silent"`
	FollowRedirects string         `arg:"follow_redirects,choices=all|no|none|safe|urllib2|yes,default=safe" doc:"safe follows GET and HEAD only"`
	URLUsername     string         `arg:"url_username,alias=user" doc:"name for basic authentication"`
	URLPassword     string         `arg:"url_password,alias=password,secret" doc:"password for basic authentication"`
	ForceBasicAuth  bool           `arg:"force_basic_auth" doc:"send name and password before the server asks for them"`
	ValidateCerts   bool           `arg:"validate_certs,default=yes" doc:"verify the server's certificate"`
	CAPath          tasks.Path     `arg:"ca_path" doc:"PEM file of authorities, instead of the machine's"`
	ClientCert      tasks.Path     `arg:"client_cert" doc:"PEM certificate for TLS; may hold the key too"`
	ClientKey       tasks.Path     `arg:"client_key" doc:"PEM key for TLS"`
	UnixSocket      tasks.Path     `arg:"unix_socket" doc:"socket to talk through"`
	UseProxy        bool           `arg:"use_proxy,default=yes" doc:"honour the proxy variables of the environment"`
	HTTPAgent       string         `arg:"http_agent,default=ansible-httpget" doc:"User-Agent"`
	UnredirectedHdr []string       `arg:"unredirected_headers" doc:"headers that are not sent on after a redirect"`
	Force           bool           `arg:"force" doc:"ask caches on the way for a fresh answer"`
	Decompress      bool           `arg:"decompress,default=yes" doc:"unpack an answer that is packed with gzip"`
	tasks.FileArgs

	Source tasks.Content `arg:"_source"`

	env map[string]string
}

// Rules are Ansible's.
func (*URI) Rules() tasks.Rules { return tasks.Rules{MutuallyExclusive: [][]string{{"body", "src"}}} }

// Run sends the request and judges the answer.
func (m *URI) Run(ctx context.Context, sys *tasks.Sys) (r tasks.Result, err error) {
	if sys.Check() {
		r.Skipped = true
		r.Set("msg", "remote module (ansible.legacy.uri) does not support check mode")
		return r, nil
	}
	if m.needless(&r) {
		return r, nil
	}
	m.env = sys.Env()
	start := time.Now()
	a, err := m.ask(ctx, sys)
	if errors.Is(err, errUnknownURL) {
		r.Set("status", -1)
		r.Set("url", m.URL)
		return r, fail("unknown url type: '%s'", m.URL)
	}
	if err != nil {
		return r, err
	}
	defer a.close()
	body, err := m.read(a)
	if err != nil {
		return r, err
	}
	m.describe(&r, a, int(time.Since(start)/time.Second))
	if m.Dest != "" && a.status > 0 {
		if err := m.save(ctx, sys, &r, a, body); err != nil {
			return r, err
		}
	}
	m.judge(&r, a, body)
	return r, nil
}

func (m *URI) needless(r *tasks.Result) bool {
	text := ""
	switch c, e := m.Creates.Expand(), m.Removes.Expand(); {
	case c != "" && exists(c):
		text = fmt.Sprintf("skipped, since '%s' exists", c)
	case e != "" && !exists(e):
		text = fmt.Sprintf("skipped, since '%s' does not exist", e)
	default:
		return false
	}
	r.Set("stdout", text)
	r.Set("stdout_lines", splitLines(text))
	return true
}

var errUnknownURL = errors.New("neither http nor https")

// answer is what came back, or why nothing did.
type answer struct {
	status     int // -1: nothing came back
	message    string
	url        string
	redirected bool
	closed     bool // the server said that it closes the connection
	header     http.Header
	cookies    []*http.Cookie
	body       io.ReadCloser // nil when status is -1
}

func (a *answer) close() {
	if a.body != nil {
		_ = a.body.Close()
	}
}

// accepted tells whether the status is one that Ansible's client takes for an answer and not for an error.
func (a *answer) accepted() bool { return a.status >= 200 && a.status < 300 }

// ask sends the request, a second time with the password if the server asks for it.
func (m *URI) ask(ctx context.Context, sys *tasks.Sys) (*answer, error) {
	u, err := url.Parse(m.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errUnknownURL
	}
	user, password, force := m.URLUsername, m.URLPassword, m.ForceBasicAuth
	if u.User != nil && user == "" {
		user = u.User.Username()
		password, _ = u.User.Password()
		force = true
	}
	asked := m.URL
	u.User = nil
	payload, contentType, err := m.payload(ctx, sys)
	if err != nil {
		return nil, err
	}
	send := func(auth bool) (*answer, error) {
		req, err := m.request(ctx, u.String(), payload, contentType)
		if err != nil {
			return nil, err
		}
		if auth {
			req.SetBasicAuth(user, password)
		}
		return m.send(ctx, req, asked)
	}
	a, err := send(force && user != "")
	if err == nil && a.status == http.StatusUnauthorized && user != "" && !force && asksForBasic(a.header) {
		a.close()
		return send(true)
	}
	return a, err
}

func asksForBasic(h http.Header) bool {
	return slices.ContainsFunc(h.Values("WWW-Authenticate"), func(v string) bool { return strings.HasPrefix(strings.ToLower(v), "basic") })
}

func (m *URI) request(ctx context.Context, address string, payload []byte, contentType string) (*http.Request, error) {
	var body io.Reader
	if payload != nil {
		body = bytes.NewReader(payload)
	}
	req, err := http.NewRequestWithContext(ctx, strings.ToUpper(m.Method), address, body)
	if err != nil {
		return nil, fail("cannot ask %s: %v", m.shown(), err)
	}
	req.Header.Set("User-Agent", m.HTTPAgent)
	req.Header.Set("Accept-Encoding", "identity")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if m.Force {
		req.Header.Set("Cache-Control", "no-cache")
	}
	for name, value := range m.Headers {
		if strings.EqualFold(name, "Content-Type") && m.BodyFormat == "form-multipart" {
			continue
		}
		req.Header.Set(name, argText(value))
		if strings.EqualFold(name, "Host") {
			req.Host = argText(value)
		}
	}
	return req, nil
}

// shown is the address without a password.
func (m *URI) shown() string {
	u, err := url.Parse(m.URL)
	if err != nil {
		return "the address"
	}
	return u.Redacted()
}

func (m *URI) send(ctx context.Context, req *http.Request, asked string) (*answer, error) {
	client, err := m.client(m.env)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	silence := newSilence(time.Duration(m.Timeout)*time.Second, cancel)
	resp, err := client.Do(req.WithContext(ctx)) //nolint:bodyclose // answer.close closes it
	if err != nil {
		silence.stop()
		cause := context.Cause(ctx)
		cancel(nil)
		return m.unanswered(req.Context(), asked, cause, err)
	}
	a := &answer{status: resp.StatusCode, url: resp.Request.URL.String(), header: resp.Header, body: &quietBody{resp.Body, silence, cancel, ctx}}
	a.redirected = a.url != asked
	a.closed = resp.Close && resp.ProtoAtLeast(1, 1)
	a.cookies = client.Jar.Cookies(resp.Request.URL)
	length := "unknown"
	if l := resp.Header.Get("Content-Length"); l != "" {
		length = l
	}
	a.message = fmt.Sprintf("OK (%s bytes)", length)
	if !a.accepted() {
		a.message = fmt.Sprintf("HTTP Error %d: %s", a.status, strings.TrimSpace(strings.TrimPrefix(resp.Status, fmt.Sprint(a.status))))
	}
	return a, nil
}

// unanswered is the answer when there is none: its words are those that Ansible's users know.
func (m *URI) unanswered(ctx context.Context, asked string, cause, err error) (*answer, error) {
	if ctx.Err() != nil {
		return nil, &tasks.Error{Kind: tasks.Canceled, Op: "ask " + m.shown(), Err: context.Cause(ctx)}
	}
	a := &answer{status: -1, url: asked}
	var no syscall.Errno
	err = rootOf(err)
	switch {
	case errors.Is(cause, errSilent):
		a.message = "Connection failure: timed out"
	case errors.As(err, &no):
		text := no.Error()
		a.message = fmt.Sprintf("Request failed: <urlopen error [Errno %d] %s>", int(no), strings.ToUpper(text[:1])+text[1:])
	default:
		a.message = fmt.Sprintf("Request failed: <urlopen error %v>", err)
	}
	return a, nil
}

// maxBody bounds what of an answer is kept in memory; more needs dest.
const maxBody = 64 << 20

// read is the body, unpacked.
func (m *URI) read(a *answer) ([]byte, error) {
	if a.body == nil {
		return nil, nil
	}
	in := io.Reader(a.body)
	if m.Decompress && strings.EqualFold(a.header.Get("Content-Encoding"), "gzip") {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fail("cannot unpack what %s sent: %v", m.shown(), err)
		}
		in = z
	}
	body, err := io.ReadAll(io.LimitReader(in, maxBody+1))
	switch {
	case err != nil:
		return nil, fail("cannot read what %s sent: %v", m.shown(), err)
	case len(body) > maxBody:
		return nil, fail("cannot keep what %s sent: it is more than %d MB; get_url is for files", m.shown(), maxBody>>20)
	}
	return body, nil
}

// describe puts what is known of the answer into the result: each header under its name in small letters.
func (m *URI) describe(r *tasks.Result, a *answer, elapsed int) {
	for name, values := range a.header {
		r.Set(strings.ReplaceAll(strings.ToLower(name), "-", "_"), strings.Join(values, ", "))
	}
	if a.closed {
		r.Set("connection", "close")
	}
	if l := a.header.Get("Location"); l != "" {
		if base, err := url.Parse(a.url); err == nil {
			if to, err := base.Parse(l); err == nil {
				r.Set("location", to.String())
			}
		}
	}
	r.Set("status", a.status)
	r.Set("url", a.url)
	r.Set("redirected", a.redirected)
	r.Set("elapsed", elapsed)
	r.Set("msg", a.message)
	if !a.accepted() {
		return
	}
	cookies, words := map[string]any{}, []string{}
	for _, c := range a.cookies {
		cookies[c.Name] = c.Value
		words = append(words, c.Name+"="+c.Value)
	}
	r.Set("cookies", cookies)
	r.Set("cookies_string", strings.Join(words, "; "))
}

func (m *URI) judge(r *tasks.Result, a *answer, body []byte) {
	text := bodyText(a.header.Get("Content-Type"), body)
	if isJSON(a.header.Get("Content-Type")) {
		if v, err := decodeJSON([]byte(text)); err == nil {
			r.Set("json", v)
		}
	}
	good := slices.Contains(m.StatusCode, a.status)
	if m.ReturnContent {
		r.Set("content", text)
	}
	switch {
	case !good:
		r.Failed = true
		r.Msg = fmt.Sprintf("Status code was %d and not %s: %s", a.status, strings.ReplaceAll(fmt.Sprint(m.StatusCode), " ", ", "), a.message)
	case !a.accepted():
		if _, has := r.Values["json"]; !has {
			r.Set("body", text)
		}
	}
}

// save writes the body to dest.
func (m *URI) save(ctx context.Context, sys *tasks.Sys, r *tasks.Result, a *answer, body []byte) error {
	dest := m.Dest.Expand()
	if isDir(dest) {
		name := "index.html"
		if u, err := url.Parse(a.url); err == nil && path.Base(u.Path) != "/" && path.Base(u.Path) != "." {
			name = path.Base(u.Path)
		}
		dest = filepath.Join(dest, name)
	}
	if _, err := os.Stat(filepath.Dir(dest)); err != nil {
		return fail("Destination directory %s does not exist", filepath.Dir(dest))
	}
	var err error
	r.Changed, err = sys.WriteFile(ctx, dest, tasks.Text(body), m.Attrs(), tasks.WriteOptions{Follow: true, Unsafe: m.UnsafeWrites})
	r.Set("path", dest)
	addInfo(r, dest)
	return err
}

// isJSON tells whether a content type promises JSON, as Ansible sees it.
func isJSON(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	_, sub, _ := strings.Cut(kind, "/")
	return err == nil && (strings.Contains(sub, "json") || strings.Contains(sub, "javascript"))
}

// bodyText is a body as text. Besides UTF-8, Latin-1 is known, which HTTP had as its default for long.
func bodyText(contentType string, body []byte) string {
	_, params, _ := mime.ParseMediaType(contentType) // no parameters when it cannot be read
	switch strings.ToLower(params["charset"]) {
	case "latin-1", "latin1", "iso-8859-1", "iso8859-1":
		runes := make([]rune, len(body))
		for i, b := range body {
			runes[i] = rune(b)
		}
		return string(runes)
	}
	return validText(body)
}

// decodeJSON keeps whole numbers whole.
func decodeJSON(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more than one value")
	}
	return plainNumbers(v), nil
}

func plainNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64() // beyond its range it is infinite, as in Python
		return f
	case []any:
		for i := range v {
			v[i] = plainNumbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = plainNumbers(v[k])
		}
	}
	return v
}

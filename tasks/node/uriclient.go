package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/textproto"
	"net/url"
	"os"
	"slices"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"github.com/calroll/calroll/tasks"
)

// client is an HTTP client for one request and its redirects.
func (m *URI) client(env map[string]string) (*http.Client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableKeepAlives, t.DisableCompression = true, true
	t.Proxy = nil
	if m.UseProxy {
		t.Proxy = proxies(env)
	}
	if socket := m.UnixSocket.Expand(); socket != "" {
		t.Proxy = nil
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}
	}
	var err error
	if t.TLSClientConfig, err = m.tls(); err != nil {
		return nil, err
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: t, CheckRedirect: m.redirect, Jar: jar}, nil
}

// proxies are those that the task's environment names, else the process's.
func proxies(env map[string]string) func(*http.Request) (*url.URL, error) {
	c := httpproxy.FromEnvironment()
	for name, field := range map[string]*string{"HTTP_PROXY": &c.HTTPProxy, "HTTPS_PROXY": &c.HTTPSProxy, "NO_PROXY": &c.NoProxy} {
		for _, spelling := range []string{strings.ToLower(name), name} {
			if v, ok := env[spelling]; ok {
				*field = v
			}
		}
	}
	choose := c.ProxyFunc()
	return func(r *http.Request) (*url.URL, error) { return choose(r.URL) }
}

func (m *URI) tls() (*tls.Config, error) {
	c := &tls.Config{InsecureSkipVerify: !m.ValidateCerts} //nolint:gosec // the user's choice
	if path := m.CAPath.Expand(); path != "" {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, fail("cannot read ca_path: %v", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(raw) {
			return nil, fail("cannot use ca_path: %s holds no PEM certificate", path)
		}
	}
	cert, key := m.ClientCert.Expand(), m.ClientKey.Expand()
	if cert == "" {
		return c, nil
	}
	if key == "" {
		key = cert
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fail("cannot use the client certificate %s: %v", cert, err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// redirect follows what follow_redirects allows; what it does not is the answer.
func (m *URI) redirect(req *http.Request, via []*http.Request) error {
	safe := req.Method == http.MethodGet || req.Method == http.MethodHead
	first := via[0].Method == http.MethodGet || via[0].Method == http.MethodHead
	switch {
	case m.FollowRedirects == "none" || m.FollowRedirects == "no",
		m.FollowRedirects == "safe" && !first,
		m.FollowRedirects == "urllib2" && !safe:
		return http.ErrUseLastResponse
	case len(via) >= 10:
		return errors.New("it redirects more than ten times")
	}
	for _, h := range append(m.UnredirectedHdr, "Referer") {
		req.Header.Del(h)
	}
	return nil
}

const formType = "application/x-www-form-urlencoded"

// payload is what is sent, and its type.
func (m *URI) payload(ctx context.Context, sys *tasks.Sys) ([]byte, string, error) {
	switch {
	case m.Src != "":
		raw, err := m.source(ctx, sys)
		return raw, formType, err
	case m.Body == nil:
		return nil, "", nil
	case m.BodyFormat == "json":
		raw, err := jsonBody(m.Body)
		return raw, "application/json", err
	case m.BodyFormat == "form-urlencoded":
		text, err := formBody(m.Body)
		return []byte(text), formType, err
	case m.BodyFormat == "form-multipart":
		return multipartBody(m.Body)
	}
	switch m.Body.(type) {
	case map[string]any, []any:
		return nil, "", fail("body is a structure, so body_format has to say how it is written: json or form-urlencoded")
	}
	return []byte(argText(m.Body)), formType, nil
}

func (m *URI) source(ctx context.Context, sys *tasks.Sys) ([]byte, error) {
	if m.RemoteSrc {
		raw, err := os.ReadFile(m.Src.Expand())
		if err != nil {
			return nil, fail("Unable to open source file %s", m.Src.Expand())
		}
		return raw, nil
	}
	in, err := sys.Open(ctx, m.Source)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return io.ReadAll(in)
}

// jsonBody writes a structure as Python's json.dumps does, so that what is signed or compared stays the same. A text is JSON already.
func jsonBody(body any) ([]byte, error) {
	if text, ok := body.(string); ok {
		return []byte(text), nil
	}
	var b bytes.Buffer
	if err := pythonJSON(&b, body); err != nil {
		return nil, fail("cannot write the body as JSON: %v", err)
	}
	return b.Bytes(), nil
}

func pythonJSON(b *bytes.Buffer, v any) error {
	switch v := v.(type) {
	case map[string]any:
		b.WriteByte('{')
		for i, k := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b.WriteString(", ")
			}
			writeASCII(b, k)
			b.WriteString(": ")
			if err := pythonJSON(b, v[k]); err != nil {
				return err
			}
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			if err := pythonJSON(b, e); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	case string:
		writeASCII(b, v)
	default:
		raw, err := json.Marshal(v)
		b.Write(raw)
		return err
	}
	return nil
}

// writeASCII writes a JSON string with everything beyond ASCII escaped.
func writeASCII(b *bytes.Buffer, text string) {
	var quoted bytes.Buffer
	e := json.NewEncoder(&quoted)
	e.SetEscapeHTML(false)
	_ = e.Encode(text) // a string always encodes
	for _, r := range strings.TrimSuffix(quoted.String(), "\n") {
		switch {
		case r < 0x80:
			b.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(b, "\\u%04x\\u%04x", 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(b, "\\u%04x", r)
		}
	}
}

// formBody writes a mapping, or a list of pairs; a value that is a list is given once for each of its elements.
func formBody(body any) (string, error) {
	var pairs [][2]any
	switch v := body.(type) {
	case string:
		return v, nil
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			pairs = append(pairs, [2]any{k, v[k]})
		}
	case []any:
		for _, e := range v {
			p, ok := e.([]any)
			if !ok || len(p) != 2 {
				return "", fail("failed to parse body as form_urlencoded: each element has to be a list of a name and a value")
			}
			pairs = append(pairs, [2]any{p[0], p[1]})
		}
	default:
		return "", fail("failed to parse body as form_urlencoded: it has to be a mapping, or a list of pairs")
	}
	var words []string
	for _, p := range pairs {
		values, many := p[1].([]any)
		if !many {
			values = []any{p[1]}
		}
		for _, v := range values {
			words = append(words, url.QueryEscape(argText(p[0]))+"="+url.QueryEscape(argText(v)))
		}
	}
	return strings.Join(words, "&"), nil
}

// multipartBody writes a form of fields and files. A file is a mapping with content, filename and mime_type.
func multipartBody(body any) ([]byte, string, error) {
	fields, ok := body.(map[string]any)
	if !ok {
		return nil, "", fail("failed to parse body as form-multipart: it has to be a mapping")
	}
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if err := writePart(w, name, fields[name]); err != nil {
			return nil, "", err
		}
	}
	err := w.Close()
	return b.Bytes(), w.FormDataContentType(), err
}

func writePart(w *multipart.Writer, name string, value any) error {
	text, kind, disposition := "", "text/plain", fmt.Sprintf("form-data; name=%q", name)
	file, ok := value.(map[string]any)
	switch {
	case !ok:
		text = argText(value)
	case file["content"] == nil:
		return fail("cannot send the form's %s: it needs content (give a file's content by lookup('file', ...))", name)
	default:
		text = argText(file["content"])
		if f := argText(file["filename"]); f != "" {
			disposition += fmt.Sprintf("; filename=%q", f)
		}
		if k := argText(file["mime_type"]); k != "" {
			kind = k
		}
	}
	p, err := w.CreatePart(textproto.MIMEHeader{"Content-Type": {kind}, "Content-Disposition": {disposition}})
	if err != nil {
		return err
	}
	_, err = io.WriteString(p, text)
	return err
}

// argText is a scalar argument as Python writes it.
func argText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case bool:
		if v {
			return "True"
		}
		return "False"
	}
	return fmt.Sprint(v)
}

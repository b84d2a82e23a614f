package kube

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Old is an API in front of another, which behaves as one of an early release where today's behaves differently and no error says so. What it has it
// keeps in the one behind it, which is real.
//
//   - Before 1.11 the word dryRun is passed over, so that a dry run writes; before 1.13 it is refused.
//   - Before 1.16 nobody manages fields: an apply patch is of an unknown media type, and objects do not name managers.
type Old struct {
	Server     string // URL, without TLS
	Kubeconfig string // file; its user may do everything

	minor int
	wrote func(method, path string)
	http  *http.Server
}

// Old starts such an API of release 1.minor in front of a. It calls wrote, which may be nil, after every write that was done.
func (a *API) Old(minor int, wrote func(method, path string)) (*Old, error) {
	proxy, err := a.proxy()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	o := &Old{Server: "http://" + l.Addr().String(), Kubeconfig: filepath.Join(a.Dir, fmt.Sprintf("old-%d.conf", minor)), minor: minor, wrote: wrote}
	forward := proxy.Rewrite
	proxy.Rewrite = func(r *httputil.ProxyRequest) { forward(r); o.forget(r.Out) }
	proxy.ModifyResponse = o.answer
	o.http = &http.Server{Handler: o.refuse(proxy), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = o.http.Serve(l) }()
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: old\nclusters: [{name: old, cluster: {server: %q}}]\nusers: [{name: old, user: {}}]\ncontexts: [{name: old, context: {cluster: old, user: old}}]\n", o.Server)
	return o, os.WriteFile(o.Kubeconfig, []byte(text), 0o600)
}

// proxy passes requests on as the administrator.
func (a *API) proxy() (*httputil.ReverseProxy, error) {
	pair, err := a.PKI.CA.Issue(Admin)
	if err != nil {
		return nil, err
	}
	behind, err := newClient(a.Server, a.PKI.CA.CertPEM(), pair)
	if err != nil {
		return nil, err
	}
	to, err := url.Parse(a.Server)
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }, Transport: behind.http.Transport, FlushInterval: -1}, err
}

// Stop ends it; the API behind it goes on.
func (o *Old) Stop() error { return o.http.Close() }

// forget takes out of a request what the old API does not know.
func (o *Old) forget(r *http.Request) {
	r.Header.Set("Accept", "application/json") // and no discovery in one answer
	r.Header.Del("Accept-Encoding")
	q := r.URL.Query()
	unknown := []string{"fieldManager", "fieldValidation", "force"}
	if o.minor < 11 {
		unknown = append(unknown, "dryRun")
	}
	for _, name := range unknown {
		q.Del(name)
	}
	r.URL.RawQuery = q.Encode()
}

// refuse answers what the old API would refuse.
func (o *Old) refuse(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Query().Has("dryRun") && o.minor >= 11 && o.minor < 13:
			status(w, http.StatusBadRequest, "BadRequest", "the dryRun alpha feature is disabled")
		case strings.HasPrefix(r.Header.Get("Content-Type"), "application/apply-patch") && o.minor < 16:
			status(w, http.StatusUnsupportedMediaType, "UnsupportedMediaType", "the body of the request was in an unknown format - accepted media types include: "+
				"application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func status(w http.ResponseWriter, code int, reason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": message})
}

// answer makes an answer one of the old API.
func (o *Old) answer(r *http.Response) error {
	asked := r.Request.URL
	if o.wrote != nil && r.Request.Method != http.MethodGet && r.StatusCode < 300 && !asked.Query().Has("dryRun") {
		o.wrote(r.Request.Method, asked.Path)
	}
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") || asked.Query().Has("watch") {
		return nil
	}
	v, err := objectIn(r.Body)
	if err != nil {
		return err
	}
	if asked.Path == "/version" {
		v["minor"], v["gitVersion"] = fmt.Sprint(o.minor), fmt.Sprintf("v1.%d.0", o.minor)
	}
	unmanaged(v)
	raw, err := json.Marshal(v)
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
	r.Header.Set("Content-Length", fmt.Sprint(len(raw)))
	return err
}

func objectIn(body io.ReadCloser) (v map[string]any, err error) {
	defer body.Close()
	d := json.NewDecoder(body)
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

// unmanaged takes the managers of fields out of an object, or out of the items of a list.
func unmanaged(o map[string]any) {
	if meta, ok := o["metadata"].(map[string]any); ok {
		delete(meta, "managedFields")
	}
	items, _ := o["items"].([]any)
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			unmanaged(m)
		}
	}
}

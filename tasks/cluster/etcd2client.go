package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/calroll/calroll/tasks"
)

// node2 is a key or a folder of etcd's v2 API; nil is that there is none.
type node2 struct {
	Key      string   `json:"key"`
	Value    string   `json:"value"`
	Dir      bool     `json:"dir"`
	Nodes    []*node2 `json:"nodes"`
	Modified uint64   `json:"modifiedIndex"`
	Created  uint64   `json:"createdIndex"`
	TTL      int64    `json:"ttl"` // seconds until it goes away by itself; 0 stays
}

// error2 is an answer of etcd that says no.
type error2 struct {
	Code    int    `json:"errorCode"`
	Message string `json:"message"`
	Cause   string `json:"cause"`
}

// Error implements error.
func (e *error2) Error() string { return strings.TrimSuffix(e.Message+": "+e.Cause, ": ") }

// Codes of the v2 API.
const (
	code2NotFound = 100
	code2Compare  = 101
	code2NotFile  = 102
	code2Exists   = 105
	code2NotEmpty = 108
)

func isCode2(err error, codes ...int) bool {
	var e *error2
	if !errors.As(err, &e) {
		return false
	}
	for _, c := range codes {
		if e.Code == c {
			return true
		}
	}
	return false
}

// isDialing tells that nothing was sent: there was no connection.
func isDialing(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// client2 speaks the v2 API.
type client2 struct {
	access  access
	secrets secrets
	http    *http.Client
}

func (a access) client2(dial tasks.Dial, s secrets) (*client2, error) {
	t := &http.Transport{DialContext: dial}
	if strings.HasPrefix(a.Endpoints[0], "https://") {
		var err error
		if t.TLSClientConfig, err = a.tls(s); err != nil {
			return nil, err
		}
	}
	return &client2{access: a, secrets: s, http: &http.Client{Transport: t}}, nil
}

func (c *client2) close() { c.http.CloseIdleConnections() }

// do asks the endpoints one after the other until one is reached. What was sent is not sent again: it may have been done.
func (c *client2) do(ctx context.Context, method, key string, form url.Values) (*node2, error) {
	ctx, cancel := context.WithTimeout(ctx, c.access.Timeout)
	defer cancel()
	var errs []error
	for _, endpoint := range c.access.Endpoints {
		n, err := c.ask(ctx, method, strings.TrimSuffix(endpoint, "/")+(&url.URL{Path: path.Join("/v2/keys", "/", key)}).EscapedPath(), form)
		var dialing *url.Error
		if !errors.As(err, &dialing) || method != http.MethodGet && !isDialing(err) {
			return n, err
		}
		errs = append(errs, fmt.Errorf("%s: %w", endpoint, dialing.Err))
	}
	return nil, errors.Join(errs...)
}

func (c *client2) ask(ctx context.Context, method, address string, form url.Values) (*node2, error) {
	var body io.Reader
	if method == http.MethodPut {
		body = strings.NewReader(form.Encode())
	} else {
		address += "?" + form.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if c.access.Username != "" {
		req.SetBasicAuth(c.access.Username, c.secrets.password)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return answer2(resp)
}

func answer2(resp *http.Response) (*node2, error) {
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		var a struct{ Node *node2 }
		if err := json.Unmarshal(raw, &a); err != nil {
			return nil, err
		}
		return a.Node, nil
	}
	e := &error2{}
	if json.Unmarshal(raw, e) != nil || e.Code == 0 {
		return nil, fmt.Errorf("it answers %s: does it have the v2 API (--enable-v2=true, up to etcd 3.5)?", resp.Status)
	}
	return nil, e
}

// read reads through the quorum. The root has no name of its own.
func (c *client2) read(ctx context.Context, key string, recursive bool) (*node2, error) {
	n, err := c.do(ctx, http.MethodGet, key, url.Values{"quorum": {"true"}, "sorted": {"true"}, "recursive": {strconv.FormatBool(recursive)}})
	if isCode2(err, code2NotFound) {
		return nil, nil
	}
	return n, failedOr("read "+key+" from etcd", err)
}

// state2 is what shall be at a key.
type state2 struct {
	present, dir bool
	value        string
}

// swap brings a key from what was read to another state, unless it changed in between.
func (c *client2) swap(ctx context.Context, key string, from *node2, to state2) error {
	form := url.Values{}
	switch {
	case from == nil:
		form.Set("prevExist", "false")
	case !from.Dir:
		form.Set("prevIndex", strconv.FormatUint(from.Modified, 10))
	}
	method := http.MethodPut
	switch {
	case !to.present && from == nil:
		return nil
	case !to.present:
		method = http.MethodDelete
		form.Set("dir", strconv.FormatBool(from.Dir))
	case to.dir:
		form.Set("dir", "true")
	default:
		form.Set("value", to.value)
		if from != nil && from.TTL > 0 { // it goes away when it would have gone
			form.Set("ttl", strconv.FormatInt(from.TTL, 10))
		}
	}
	_, err := c.do(ctx, method, key, form)
	if isCode2(err, code2Compare, code2Exists, code2NotFound, code2NotFile) {
		return &tasks.Error{Kind: tasks.Refused, Op: "write " + key + " to etcd", Detail: "somebody else changed it at the same time", Err: err}
	}
	return failedOr("write "+key+" to etcd", err)
}

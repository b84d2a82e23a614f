package node_test

import (
	"context"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/node"
)

// runNow runs a module that alters nothing.
func runNow(ctx context.Context, t *testing.T, module string, a map[string]any) tasks.Result {
	t.Helper()
	make, ok := node.Modules().Lookup(module)
	if !ok {
		t.Fatalf("no module %s", module)
	}
	m, errs := tasks.SpecOf(make()).Decode(a)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	sys := tasks.NewSys(tasks.Options{Recorder: tasks.NoRecord{}, Scratch: t.TempDir()})
	defer sys.Close()
	return tasks.Run(ctx, m, sys)
}

func TestURITLS(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "in") }))
	defer s.Close()
	s.Config.ErrorLog = nil
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args map[string]any
		want string // of the message
	}{
		{map[string]any{}, "certificate"}, {map[string]any{"validate_certs": false}, "OK"}, {map[string]any{"ca_path": ca}, "OK"}, {map[string]any{"ca_path": "/nonexistent"}, "cannot read ca_path"}, {map[string]any{"client_cert": "/nonexistent"}, "client certificate"},
	} {
		c.args["url"] = s.URL
		r := runNow(t.Context(), t, "uri", c.args)
		if msg := r.Vars()["msg"].(string); !strings.Contains(msg, c.want) || r.Failed != (c.want != "OK") {
			t.Errorf("%v: %+v", c.args, r)
		}
	}
}

func TestURIUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) })}}
	s.Start()
	defer s.Close()
	r := runNow(t.Context(), t, "uri", map[string]any{"url": "http://somewhere/x", "unix_socket": path, "return_content": true})
	if r.Failed || r.Values["content"] != "somewhere" {
		t.Errorf("%+v", r)
	}
}

// TestCancel shows that what runs or waits ends with its task.
func TestCancel(t *testing.T) {
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()
	for module, a := range map[string]map[string]any{
		"command": {"cmd": "sleep 60"}, "shell": {"cmd": "sleep 60 & sleep 60; echo done"}, "raw": {"cmd": "sleep 60"}, "wait_for": {"path": "/nonexistent"}, "uri": {"url": silent.URL},
	} {
		t.Run(module, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(300*time.Millisecond, cancel)
			start := time.Now()
			r := runNow(ctx, t, module, a)
			if !r.Failed || r.Kind != tasks.Canceled {
				t.Errorf("%+v", r)
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// TestDrained counts a connection that is there, and none of an excluded host.
func TestDrained(t *testing.T) {
	c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(talker)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a := map[string]any{"port": talker, "state": "drained", "timeout": 1}
	if r := runNow(t.Context(), t, "wait_for", a); !r.Failed || !strings.HasSuffix(r.Msg, "to drain") {
		t.Errorf("with a connection: %+v", r)
	}
	a["exclude_hosts"] = "127.0.0.1"
	if r := runNow(t.Context(), t, "wait_for", a); r.Failed {
		t.Errorf("with an excluded connection: %+v", r)
	}
}

func TestPing(t *testing.T) {
	if r := runNow(t.Context(), t, "ping", nil); r.Values["ping"] != "pong" || r.Failed {
		t.Errorf("%+v", r)
	}
	if r := runNow(t.Context(), t, "ping", map[string]any{"data": "crash"}); !r.Failed {
		t.Errorf("%+v", r)
	}
}

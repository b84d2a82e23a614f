package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// TestRollingExample runs the playbook of docs/rolling.md on hosts of this machine, against a server that has the parts of its application and of
// Prometheus: once with a release that works, and once with one that does not.
func TestRollingExample(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state"))
	text, err := os.ReadFile("../../docs/rolling.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, example := range regexp.MustCompile("(?s)```yaml\n# (\\S+)\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		if err := os.WriteFile(filepath.Join(dir, example[1]), []byte(example[2]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	app := newApp(t, dir)
	out := app.roll(t, dir, "2.0", 0)
	for _, want := range []string{"absent: [web5]", "BATCH [1/3 canary: web1]", "BATCH [2/3: web2, web3]", "BATCH [3/3: web4]", "soak: [web4] held for 200ms"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	app.check(t, map[string]string{"web1": "2.0", "web2": "2.0", "web3": "2.0", "web4": "2.0", "web5": "1.0"})

	out = app.roll(t, dir, "broken", 2)
	if !strings.Contains(out, "no further batch: a gate of this one has failed\n\nROLLBACK [web1]") || strings.Contains(out, "BATCH [2/3") {
		t.Errorf("the canary was not taken back:\n%s", out)
	}
	app.check(t, map[string]string{"web1": "2.0", "web2": "2.0"})
	if app.loaded["web1"] != "2.0" {
		t.Errorf("web1 still runs %s: the handler was not fired again after the rollback", app.loaded["web1"])
	}

	app.alerts = 1
	if out = app.roll(t, dir, "3.0", 2); !strings.Contains(out, "1 of 1 values are not == 0: {} 1") || strings.Contains(out, "TASK [Write") {
		t.Errorf("an alert did not stop the run:\n%s", out)
	}
}

// app is the application on every host, and Prometheus.
type app struct {
	url, root string

	mu     sync.Mutex
	loaded map[string]string // the release that each host runs
	alerts int
}

func newApp(t *testing.T, dir string) *app {
	a := &app{root: dir, loaded: map[string]string{}}
	for i := range 5 {
		host := fmt.Sprintf("web%d", i+1)
		if err := os.MkdirAll(filepath.Join(dir, host), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, host, "release"), []byte("1.0"), 0o600); err != nil {
			t.Fatal(err)
		}
		a.loaded[host] = "1.0"
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{host}/version", a.version)
	mux.HandleFunc("POST /{host}/-/reload", a.reload)
	mux.HandleFunc("POST /api/v1/query", a.query)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	a.url = s.URL
	return a
}

func (a *app) version(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if release := a.loaded[r.PathValue("host")]; release != "broken" {
		fmt.Fprint(w, release)
		return
	}
	http.Error(w, "it does not work", http.StatusInternalServerError)
}

func (a *app) reload(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	release, err := os.ReadFile(filepath.Join(a.root, r.PathValue("host"), "release"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
	a.loaded[r.PathValue("host")] = string(release)
}

func (a *app) query(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	value := "0.999"
	if strings.HasPrefix(r.FormValue("query"), "count(ALERTS") {
		value = fmt.Sprint(a.alerts)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": map[string]any{"resultType": "vector",
		"result": []any{map[string]any{"metric": map[string]any{}, "value": []any{1, value}}}}})
}

// roll runs the example with a release and gives what it shows.
func (a *app) roll(t *testing.T, dir, release string, wantExit int) string {
	t.Helper()
	var out bytes.Buffer
	vars, _ := json.Marshal(map[string]any{"release": release, "soak_time": "200ms", "between": 0, "root": dir + "/{{ inventory_hostname }}",
		"address": a.url + "/{{ inventory_hostname }}", "prometheus": a.url})
	exit := Main([]string{"run", filepath.Join(dir, "rollout.yml"), "-i", filepath.Join(dir, "inventory.yml"), "-c", "local", "-e", string(vars)}, nil, &out, &out)
	if exit != wantExit {
		t.Fatalf("exit code %d, want %d:\n%s", exit, wantExit, out.String())
	}
	return out.String()
}

func (a *app) check(t *testing.T, want map[string]string) {
	t.Helper()
	for host, release := range want {
		got, err := os.ReadFile(filepath.Join(a.root, host, "release"))
		if err != nil || string(got) != release {
			t.Errorf("%s has release %s, want %s: %v", host, got, release, err)
		}
	}
}

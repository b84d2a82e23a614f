package catalog_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calroll/calroll/testenv"
)

// stubServer stands for kube-apiserver: it takes its flags and answers /healthz over TLS a while after it has started. It notes when, so
// that the order of restarts can be told.
const stubServer = `package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"time"
)

func main() {
	start := time.Now()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if time.Since(start) < 3*time.Second {
			http.Error(w, "not yet", http.StatusInternalServerError)
			return
		}
		os.WriteFile("/tmp/answered", []byte(fmt.Sprint(time.Now().UnixNano())), 0o644)
		fmt.Fprint(w, "ok")
	}))
	s.Listener.Close()
	l, err := net.Listen("tcp", "127.0.0.1:6443")
	if err != nil {
		panic(err)
	}
	s.Listener = l
	os.WriteFile("/tmp/started", []byte(fmt.Sprint(start.UnixNano())), 0o644)
	s.StartTLS()
	select {}
}
`

const corsPlay = `
- hosts: kube_control_plane
  gather_facts: false
  serial: 1
  any_errors_fatal: true
  roles:
    - {role: apiserver_cors, apiserver_cors_origin: "https://cnx.example:9443"}
`

// TestAPIServerCORS: one API server after the other gets the origin, and each answers before the next is touched.
func TestAPIServerCORS(t *testing.T) {
	t.Parallel()
	c := newNetwork(t, 2)
	dir := t.TempDir()
	for name, text := range map[string]string{"main.go": stubServer, "go.mod": "module stub\n\ngo 1.24\n", "cors.yml": corsPlay, "gone.yml": strings.Replace(corsPlay, `9443"}`, `9443", apiserver_cors_state: absent}`, 1)} {
		write(t, filepath.Join(dir, name), text)
	}
	write(t, filepath.Join(dir, "hosts.yml"), fmt.Sprintf("kube_control_plane: {hosts: {%s: {}, %s: {}}}\n", c.lab.Hosts[0].Name, c.lab.Hosts[1].Name))
	build := exec.Command("go", "build", "-o", "kube-apiserver", ".")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	program, err := os.ReadFile(filepath.Join(dir, "kube-apiserver"))
	if err != nil {
		t.Fatal(err)
	}
	starts := []string{"--secure-port=6443 --v=2", "--cors-allowed-origins=https://other --v=2"}
	for i, h := range c.lab.Hosts {
		c.startServer(h, program, starts[i])
	}
	cors, gone := filepath.Join(dir, "cors.yml"), filepath.Join(dir, "gone.yml")
	groups := []string{"-i", filepath.Join(dir, "hosts.yml")}
	if !c.playOnce(cors, groups...) {
		t.Fatal("nothing changes")
	}
	want := []string{"--secure-port=6443 --v=2 --cors-allowed-origins=https://cnx.example:9443", "--cors-allowed-origins=https://other,https://cnx.example:9443 --v=2"}
	for i, h := range c.lab.Hosts {
		if got := c.argvOf(h); got != want[i] {
			t.Errorf("%s runs with\n  %s\nwant\n  %s", h.Name, got, want[i])
		}
	}
	if answered, started := strings.TrimSpace(c.sh(c.lab.Hosts[0], "cat /tmp/answered")), strings.TrimSpace(c.sh(c.lab.Hosts[1], "cat /tmp/started")); answered >= started {
		t.Errorf("the second server was restarted at %s, before the first answered at %s", started, answered)
	}
	if c.playOnce(cors, groups...) {
		t.Error("the second run changes something")
	}
	c.playOnce(gone, groups...)
	for i, h := range c.lab.Hosts {
		if got := c.argvOf(h); got != starts[i] {
			t.Errorf("without the origin %s runs with\n  %s\nwant\n  %s", h.Name, got, starts[i])
		}
	}
	if got := c.sh(c.lab.Hosts[0], "ls /etc/systemd/system/kube-apiserver.service.d"); got != "" {
		t.Errorf("left behind: %s", got)
	}
}

func (c *network) startServer(h *testenv.Host, program []byte, args string) {
	c.Helper()
	for _, f := range []struct {
		path string
		mode os.FileMode
		text []byte
	}{{"/usr/local/bin/kube-apiserver", 0o755, program}, {"/etc/systemd/system/kube-apiserver.service", 0o644, []byte("[Service]\nExecStart=/usr/local/bin/kube-apiserver " + args + "\n")}} {
		if err := h.WriteFile(c.Context(), f.path, f.mode, f.text); err != nil {
			c.Fatal(err)
		}
	}
	c.sh(h, "systemctl daemon-reload && systemctl start kube-apiserver")
}

func (c *network) argvOf(h *testenv.Host) string {
	c.Helper()
	_, args, _ := strings.Cut(c.sh(h, `tr '\0' ' ' < /proc/$(systemctl show --property MainPID --value kube-apiserver)/cmdline`), " ")
	return strings.TrimSpace(args)
}

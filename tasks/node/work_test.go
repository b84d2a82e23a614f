package node_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestWorkSameAsAnsible runs each case of command, shell, raw, wait_for and uri through ansible-playbook and through the modules.
func TestWorkSameAsAnsible(t *testing.T) {
	serveHTTP(t)
	cases := slices.Concat(commandCases, waitCases, uriCases)
	theirs := runAnsible(t, cases).runs(t, cases)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			root := newDir(t, filepath.Join(t.TempDir(), "calroll"))
			shell(t, c.setup, root)
			ours := runModules(t, c, root)
			their := theirs[c.name]
			for i, s := range c.steps {
				what := fmt.Sprintf("step %d (%s %v)", i+1, s.module, s.args)
				sameAnswer(t, what, answerOf(ours[i], root), answerOf(their.results[i], their.root))
			}
			if our, their := tree(t, root), tree(t, their.root); our != their {
				t.Errorf("the tree differs:\nours:\n%s\nAnsible's:\n%s", our, their)
			}
		})
	}
}

// moving values differ from run to run.
var moving = []string{"start", "end", "delta", "date", "invocation", "exception", "module_stderr", "module_stdout", "ansible_facts", "action", "warnings", "elapsed", "server"}

func answerOf(r map[string]any, root string) map[string]any {
	out := plainValue(maps.Clone(r), root).(map[string]any)
	maps.DeleteFunc(out, func(k string, _ any) bool { return slices.Contains(moving, k) || strings.HasPrefix(k, "_ansible") })
	if out["failed"] == nil {
		out["failed"] = false
	}
	if h, ok := out["json"].(map[string]any); ok {
		if h, ok := h["headers"].(map[string]any); ok {
			delete(h, "Host")
		}
	}
	return out
}

// argumentMistake is how Ansible's modules begin when they crash, or refuse arguments, which ours do in other words and at once.
var argumentMistake = regexp.MustCompile(`^(MODULE FAILURE|Unsupported parameters|value of |Could not find or access )`)

// sameAnswer compares all values. Where theirs is the crash of a module, ours only has to fail.
func sameAnswer(t *testing.T, what string, ours, theirs map[string]any) {
	t.Helper()
	if msg, _ := theirs["msg"].(string); theirs["failed"] == true && argumentMistake.MatchString(msg) {
		if ours["failed"] != true {
			t.Errorf("%s: Ansible's fails, ours answers %v", what, ours)
		}
		return
	}
	keys := maps.Clone(ours)
	maps.Copy(keys, theirs)
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if !reflect.DeepEqual(ours[k], theirs[k]) {
			t.Errorf("%s: %s is %v, Ansible's %v", what, k, ours[k], theirs[k])
		}
	}
}

func cmd(module, line string, more ...any) step {
	a := args{"cmd": line}
	for i := 0; i < len(more); i += 2 {
		a[more[i].(string)] = more[i+1]
	}
	return do(module, a)
}

func checked(s step) step { s.check = true; return s }

var commandCases = []sameAs{
	{"command words", "", []step{cmd("command", `echo $HOME "$HOME" '$HOME' a\$b "x\"y" ${HOME}x $nosuch`), do("command", args{"argv": []any{"echo", "$HOME", "a b", "~", "~root/x"}}),
		cmd("command", "printf 'a\\r\\nb\\x0cc\\n\\n'"), cmd("command", "ls ~nosuchuser", "chdir", "/"), cmd("command", "echo a", "executable", "/bin/bash")}},
	{"command failures", "", []step{cmd("command", "false"), cmd("command", "nosuchprogram x 'y z'"), cmd("command", "/etc/passwd"), cmd("command", "./x", "chdir", "@"), cmd("command", "pwd", "chdir", "@/no"),
		cmd("command", `echo "unclosed`), cmd("shell", "echo $0; exit 3", "executable", "/bin/bash"), cmd("shell", "echo x", "executable", "/nonexistent"), cmd("command", "echo a", "warn", false)}},
	{"command creates", "echo > there", []step{cmd("command", "touch new", "chdir", "@", "creates", "@/the*"), cmd("command", "touch new", "chdir", "@", "creates", "new"), cmd("command", "touch new2", "chdir", "@", "creates", "new"),
		cmd("command", "rm there", "chdir", "@", "removes", "there"), cmd("command", "rm there", "chdir", "@", "removes", "there"), cmd("shell", "touch x", "chdir", "@", "creates", "@/new", "removes", "@/no")}},
	{"command check", "echo > there", []step{checked(cmd("command", "touch x", "chdir", "@", "creates", "@/no")), checked(cmd("command", "touch x", "chdir", "@", "creates", "there")), checked(cmd("command", "touch x", "chdir", "@")),
		checked(cmd("shell", "touch x", "chdir", "@", "removes", "@/there")), checked(cmd("shell", "touch x", "chdir", "@", "removes", "@/no")), checked(do("raw", args{"_raw_params": "touch x"}))}},
	{"command stdin", "", []step{cmd("command", "od -c", "stdin", "hello"), cmd("command", "od -c", "stdin", "hello\n"), cmd("command", "od -c", "stdin", "hello", "stdin_add_newline", false), cmd("command", "od -c", "stdin", ""),
		cmd("command", "cat", "stdin", "a\n\n", "strip_empty_ends", false), cmd("shell", "cat; printf 'a\\n\\n'; printf 'e\\n\\n' >&2", "stdin", "x", "chdir", "@")}},
	{"raw", "", []step{do("raw", args{"_raw_params": "echo hi; echo err >&2; exit 2"}), do("raw", args{"_raw_params": "printf 'a\\n\\n'"})}},
}

func waitFor(more ...any) step {
	s := cmd("wait_for", "", more...)
	delete(s.args, "cmd")
	return s
}

var waitCases = []sameAs{
	{"wait_for port", "", []step{waitFor("port", 1, "timeout", 1), waitFor("port", 1, "state", "stopped", "timeout", 1), waitFor("port", 1, "state", "absent", "timeout", 1), waitFor("port", 1, "state", "drained", "timeout", 1),
		waitFor("port", talker, "timeout", 5), waitFor("port", talker, "search_regex", "wel(come)", "timeout", 5), waitFor("port", talker, "search_regex", "nope", "timeout", 1, "connect_timeout", 1),
		waitFor("port", talker, "state", "stopped", "timeout", 1), waitFor("host", "nosuch.invalid", "port", 1, "timeout", 1), waitFor("timeout", 1), waitFor("timeout", 1, "search_regex", "x")}},
	{"wait_for path", "printf 'one\\nuser: ann 12\\n' > f; ln -s f l", []step{waitFor("path", "@/f"), waitFor("path", "@/l"), waitFor("path", "@/no", "timeout", 1), waitFor("path", "@/no", "state", "absent", "timeout", 1),
		waitFor("path", "@/f", "state", "absent", "timeout", 1), waitFor("path", "@/f", "search_regex", `^(user): (?P<name>\w+) (?P<n>\d+)(x)?$`), waitFor("path", "@/f", "search_regex", "^ann", "timeout", 1),
		waitFor("path", "@/f", "search_regex", "one", "state", "absent", "timeout", 1), waitFor("path", "@/no", "timeout", 1, "msg", "it never came")}},
	{"wait_for mistakes", "", []step{waitFor("path", "@", "port", 1), waitFor("path", "@", "state", "stopped"), waitFor("path", "@", "state", "drained"), waitFor("port", 1, "exclude_hosts", "a"),
		waitFor("port", 1, "state", "drained", "active_connection_states", "FOO"), checked(waitFor("port", 1, "timeout", 1)), waitFor("state", "nonsense")}},
}

// talker is a port that says a word to whoever connects; TestMain of a package would be too early for it.
var talker = func() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() { // ends with the process
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "welcome\n")
			go func() { _, _ = io.Copy(io.Discard, c); _ = c.Close() }()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}()

func ask(path string, more ...any) step {
	s := cmd("uri", "", more...)
	delete(s.args, "cmd")
	s.args["url"] = "%/" + path
	return s
}

var uriCases = []sameAs{
	{"uri answers", "", []step{ask("json"), ask("json", "return_content", true), ask("badjson"), ask("text", "return_content", true), ask("latin1", "return_content", true), ask("gzip", "return_content", true), ask("status/204", "status_code", 204),
		ask("json", "method", "HEAD")}},
	{"uri statuses", "", []step{ask("status/404"), ask("status/404", "status_code", []any{200, 404}), ask("status/404", "status_code", "200,404"), ask("status/500", "return_content", true), ask("status/304"), ask("status/304", "status_code", 304)}},
	{"uri redirects", "", []step{ask("redirect/302"), ask("redirect/302", "follow_redirects", "none"), ask("redirect/302", "follow_redirects", "none", "status_code", 302), ask("redirect/302", "method", "POST", "body", "x"),
		ask("redirect/302", "method", "POST", "body", "x", "follow_redirects", "all"), ask("redirect/307", "method", "POST", "body", "x", "follow_redirects", "all"), ask("redirect/301", "method", "HEAD", "follow_redirects", "no"), ask("redirect/303", "follow_redirects", "yes"), ask("redirect/301", "method", "HEAD")}},
	{"uri bodies", "", []step{ask("echo", "method", "POST", "body_format", "json", "body", args{"a": 1, "b": []any{true, nil, "ä\U0001F600<"}, "c": 1.5}), ask("echo", "method", "POST", "body_format", "json", "body", `{"a":1}`),
		ask("echo", "method", "POST", "body_format", "form-urlencoded", "body", args{"a": 1, "b": "x y&~", "c": []any{1, true}}), ask("echo", "method", "POST", "body_format", "form-urlencoded", "body", []any{[]any{"b", 1}, []any{"a", "x y"}}),
		ask("echo", "method", "put", "body", "raw text", "headers", args{"X-Foo": "bar", "num": 5}), ask("echo", "method", "POST", "body", args{"a": 1}, "body_format", "json", "headers", args{"content-type": "text/x"}),
		ask("echo", "body", "abc"), ask("echo", "method", "POST"), ask("echo", "method", "FOO"), ask("echo", "http_agent", "me")}},
	{"uri login", "", []step{ask("auth", "user", "ann", "password", "swordfish"), ask("auth", "url_username", "ann", "url_password", "swordfish", "force_basic_auth", true), ask("auth", "user", "ann", "password", "wrong"), ask("auth")}},
	{"uri failures", "", []step{do("uri", args{"url": "http://127.0.0.1:1/"}), ask("slow", "timeout", 1), do("uri", args{"url": "nonsense"}), ask("echo", "method", "PUT", "src", "@/no", "remote_src", true), ask("echo", "src", "@/no", "body", "x"),
		checked(ask("echo")), ask("echo", "creates", "/etc/passwd"), ask("echo", "removes", "/nonexistent")}},
	{"uri src", "echo hello > f", []step{ask("echo", "method", "PUT", "src", "@/f", "remote_src", true)}},
	{"uri dest", "mkdir d", []step{ask("text", "dest", "@/f"), ask("text", "dest", "@/d"), ask("json", "dest", "@/m", "mode", "0600")}},
}

func serveHTTP(t *testing.T) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/json", func(w http.ResponseWriter, _ *http.Request) {
		say(w, "application/json", `{"a": 1, "b": [1.5, 12345678901]}`)
	})
	mux.HandleFunc("/badjson", func(w http.ResponseWriter, _ *http.Request) { say(w, "application/json", `{"a": `) })
	mux.HandleFunc("/text", func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["X-Multi-Part"] = []string{"a", "b"}
		w.Header()["Set-Cookie"] = []string{"k1=v1; Path=/", "k2=v2; Path=/"}
		say(w, "text/plain; charset=utf-8", "héllo")
	})
	mux.HandleFunc("/latin1", func(w http.ResponseWriter, _ *http.Request) { say(w, "text/plain; charset=latin-1", "h\xe4llo") })
	mux.HandleFunc("/gzip", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, "packed")
		_ = z.Close()
	})
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		var code int
		_, _ = fmt.Sscan(r.PathValue("code"), &code)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		if code >= 400 {
			fmt.Fprintf(w, `{"code": %d}`, code)
		}
	})
	mux.HandleFunc("/redirect/{code}", func(w http.ResponseWriter, r *http.Request) {
		var code int
		_, _ = fmt.Sscan(r.PathValue("code"), &code)
		w.Header().Set("Location", "/echo")
		w.WriteHeader(code)
	})
	mux.HandleFunc("/auth", func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "ann" || password != "swordfish" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		raw, _ := json.Marshal(map[string]any{"method": r.Method, "path": r.URL.Path, "headers": r.Header, "body": string(body)})
		say(w, "application/json", string(raw))
	})
	server = httptest.NewServer(mux)
	t.Cleanup(server.Close)
}

func say(w http.ResponseWriter, kind, text string) {
	w.Header().Set("Content-Type", kind)
	_, _ = io.WriteString(w, text)
}

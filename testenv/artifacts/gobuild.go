package artifacts

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// progressEvery is how often a long compilation says how far it is.
const progressEvery = 10 * time.Second

// toolchain is the go command as it works in the upstream modules.
type toolchain struct {
	upstream string // the directory testenv/upstream
	version  string // such as go1.26.8
}

// openToolchain finds go and the nested modules. source is the root of a clone of calroll; empty means the one
// around the working directory or the running program.
func openToolchain(ctx context.Context, source string) (*toolchain, error) {
	upstream, err := findUpstream(source)
	if err != nil {
		return nil, err
	}
	t := &toolchain{upstream: upstream}
	out, err := t.output(ctx, upstream, "env", "GOVERSION")
	if errors.Is(err, exec.ErrNotFound) {
		return nil, errors.New("cannot build the lab's programs: there is no go command\nhint: install Go 1.26 or newer, https://go.dev/dl")
	}
	if err != nil {
		return nil, err
	}
	t.version = out
	return t, nil
}

func findUpstream(source string) (string, error) {
	starts := []string{source}
	if source == "" {
		wd, _ := os.Getwd()
		exe, _ := os.Executable()
		starts = []string{wd, filepath.Dir(exe)}
	}
	for _, start := range starts {
		for dir := start; dir != "" && dir != "."; dir = filepath.Dir(dir) {
			upstream := filepath.Join(dir, "testenv", "upstream")
			if _, err := os.Stat(filepath.Join(upstream, "calico", "go.mod")); err == nil {
				return upstream, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return "", errors.New("cannot find the pinned versions (testenv/upstream) of the lab's programs\nhint: run this in a clone of calroll")
}

// command prepares go in dir. The caller's GOFLAGS and workspace do not reach the build: the cache key does not know them.
func (t *toolchain) command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH, "GOWORK=off", "GOFLAGS=-mod=readonly")
	// go passes an interrupt on to the compilers and removes its work directory; a kill would leave both.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

func (t *toolchain) output(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := t.command(ctx, dir, args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("cannot run go %s: %w%s", args[0], err, lastLines(said.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// dir is where go works on a pin: its nested module, or the clone's root.
func (t *toolchain) dir(p pin) string {
	if p.own != "" {
		return filepath.Join(t.upstream, "..", "..")
	}
	return filepath.Join(t.upstream, p.name)
}

// moduleDir returns where the module cache keeps the source of a pin's module, downloading it where missing.
func (t *toolchain) moduleDir(ctx context.Context, p pin, module string) (string, error) {
	dir := t.dir(p)
	if _, err := t.output(ctx, dir, "mod", "download", module); err != nil {
		return "", err
	}
	return t.output(ctx, dir, "list", "-m", "-f", "{{.Dir}}", module)
}

// pinKey hashes all that a pin's programs are made from.
func (t *toolchain) pinKey(p pin) (string, error) {
	inputs := []string{t.version, runtime.GOARCH, strings.Join(p.ldflags, " "), strings.Join(slices.Sorted(maps.Values(p.programs)), " ")}
	files := []string{filepath.Join(t.dir(p), "go.mod"), filepath.Join(t.dir(p), "go.sum")}
	if p.own != "" { // the module's requirements change often and the program needs none
		files, _ = filepath.Glob(filepath.Join(t.dir(p), p.own, "*.go"))
	}
	if p.cgo {
		inputs = append(inputs, "cgo")
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("cannot read the pin of %s: %w", p.name, err)
		}
		inputs = append(inputs, string(b))
	}
	return key(inputs...), nil
}

// build compiles programs of a pin into out, all in one run of go so that what they share is compiled once.
func (t *toolchain) build(ctx context.Context, p pin, programs []string, out string, say func(string)) error {
	var packages []string
	for _, prog := range programs {
		packages = append(packages, p.programs[prog])
	}
	dir := t.dir(p)
	start := time.Now()
	title := p.name + " " + p.version
	say(fmt.Sprintf("building %s: %s (the first time this fetches its modules)", title, strings.Join(programs, ", ")))
	deps, err := t.output(ctx, dir, append([]string{"list", "-deps"}, packages...)...)
	if err != nil {
		return fmt.Errorf("cannot fetch the source of %s: %w", title, err)
	}
	flags := append([]string{"-s", "-w"}, p.ldflags...)
	args := append([]string{"build", "-v", "-trimpath", "-ldflags", strings.Join(flags, " "), "-o", out + "/"}, packages...)
	watch := &buildWatch{title: title, total: strings.Count(deps, "\n") + 1, start: start, say: say}
	cmd := t.command(ctx, dir, args...)
	if p.cgo {
		// Without the C library's own resolvers, which cannot be linked statically.
		cmd.Env = append(cmd.Env, "CGO_ENABLED=1", "GOFLAGS=-mod=readonly -tags=netgo,osusergo")
	}
	if err := watch.run(cmd); err != nil {
		return fmt.Errorf("cannot build %s: %w%s", title, err, lastLines(watch.other.String()))
	}
	say(fmt.Sprintf("built %s in %s", title, time.Since(start).Round(time.Second)))
	return nameAsAsked(p, programs, out)
}

var majorVersion = regexp.MustCompile(`^v[0-9]+$`)

// nameAsAsked renames what go named after the package to the name of the program.
func nameAsAsked(p pin, programs []string, out string) error {
	for _, prog := range programs {
		built := path.Base(p.programs[prog])
		if majorVersion.MatchString(built) {
			built = path.Base(path.Dir(p.programs[prog]))
		}
		if built == prog {
			continue
		}
		if err := os.Rename(filepath.Join(out, built), filepath.Join(out, prog)); err != nil {
			return err
		}
	}
	return nil
}

// buildWatch reads what `go build -v` prints: a package path a line as it is compiled, and errors.
type buildWatch struct {
	title string
	total int // packages at most; those that go has compiled before are not printed
	start time.Time
	say   func(string)
	done  int
	other bytes.Buffer
}

func (w *buildWatch) run(cmd *exec.Cmd) error {
	r, pw := io.Pipe()
	cmd.Stdout, cmd.Stderr = pw, pw
	lines := make(chan string)
	go func() {
		defer close(lines)
		for sc := bufio.NewScanner(r); sc.Scan(); {
			lines <- sc.Text()
		}
		_, _ = io.Copy(io.Discard, r) // a line too long to read must not stop go
	}()
	result := make(chan error, 1)
	go func() {
		err := cmd.Run()
		pw.Close()
		result <- err
	}()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	w.follow(lines, tick.C)
	return <-result
}

// follow counts packages until the output ends, and reports at each tick.
func (w *buildWatch) follow(lines <-chan string, tick <-chan time.Time) {
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return
			}
			w.read(line)
		case <-tick:
			w.say(fmt.Sprintf("building %s: %d of %d packages, %s", w.title, w.done, w.total, time.Since(w.start).Round(time.Second)))
		}
	}
}

func (w *buildWatch) read(line string) {
	if strings.ContainsAny(line, " \t:#") {
		w.other.WriteString(line + "\n")
		return
	}
	w.done++
}

// lastLines cuts a program's complaint to what fits an error.
func lastLines(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	if len(lines) > 10 {
		lines = lines[len(lines)-10:]
	}
	if len(lines) == 1 && lines[0] == "" {
		return ""
	}
	return ":\n" + strings.Join(lines, "\n")
}

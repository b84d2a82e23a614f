package testenv

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/image"
)

const (
	debianSuite = "bookworm"
	debianImage = "debian:" + debianSuite

	// registryPatience is how long a registry may be silent before debootstrap takes over.
	registryPatience = 10 * time.Second
)

// baseImage is the image that the host image builds on: the engine's debian:bookworm, the
// registry's, or a Debian root made here by debootstrap.
func (e *engine) baseImage(ctx context.Context) (string, error) {
	if ok, err := e.hasImage(ctx, debianImage); ok || err != nil {
		return debianImage, err
	}
	e.say("asking the registry for %s", debianImage)
	err := e.pull(ctx, debianImage)
	if err == nil {
		return debianImage, nil
	}
	if ctx.Err() != nil {
		return "", err
	}
	e.say("no %s there (%v); making one from Debian packages", debianImage, err)
	return e.bootstrap(ctx)
}

// pull gets an image from its registry. It gives up when nothing arrives for a while.
func (e *engine) pull(ctx context.Context, name string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(registryPatience, func() {
		cancel(fmt.Errorf("the registry was silent for %s", registryPatience))
	})
	defer silence.Stop()
	stream, err := e.ImagePull(ctx, name, image.PullOptions{})
	if err == nil {
		defer stream.Close()
		err = e.follow(&heard{stream, silence}, "")
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// heard puts a timer back whenever something was read.
type heard struct {
	io.Reader
	timer *time.Timer
}

func (h *heard) Read(p []byte) (int, error) {
	n, err := h.Reader.Read(p)
	h.timer.Reset(registryPatience)
	return n, err
}

// bootstrap makes a Debian root with all packages of a host and imports it.
func (e *engine) bootstrap(ctx context.Context) (string, error) {
	if os.Geteuid() != 0 {
		return "", errors.New("only root can run debootstrap: run as root once, or give the engine the image " + debianImage)
	}
	if err := e.needProgram(ctx, "debootstrap", "debootstrap", "debian-archive-keyring"); err != nil {
		return "", err
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	root, err := os.MkdirTemp(cache, "root-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(root) }()
	if err := os.Chmod(root, 0o755); err != nil { // it becomes the hosts' root folder
		return "", err
	}
	if err := e.debootstrap(ctx, root); err != nil {
		return "", err
	}
	return e.importRoot(ctx, root)
}

// debootstrap runs in a mount namespace of its own: whatever it mounts below root is gone
// when it ends, however it ends.
func (e *engine) debootstrap(ctx context.Context, root string) error {
	args := []string{"--variant=minbase", "--include=" + strings.Join(imagePackages(), ","), debianSuite, root}
	if mirror := aptMirror(ctx); mirror != "" {
		args = append(args, mirror)
	}
	e.say("debootstrap: %d packages and what they need, a minute or two", len(imagePackages()))
	cmd := exec.CommandContext(ctx, "debootstrap", args...)
	for name, value := range proxyArgs(ctx) {
		cmd.Env = append(cmd.Env, name+"="+*value)
	}
	cmd.Env = append(os.Environ(), cmd.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Unshareflags: syscall.CLONE_NEWNS}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot run debootstrap: %w", err)
	}
	last := e.followDebootstrap(out)
	if err := cmd.Wait(); err != nil {
		if strings.Contains(last, "noexec or nodev") {
			last += "\nhint: set XDG_CACHE_HOME to a folder on a file system that allows devices and programs"
		}
		return fmt.Errorf("cannot make a Debian root: debootstrap: %w\n%s", err, last)
	}
	return nil
}

// followDebootstrap tells of every step, and of every fiftieth package within one. It
// returns the last lines.
func (e *engine) followDebootstrap(out io.Reader) string {
	var lines []string
	count := map[string]int{}
	for s := bufio.NewScanner(out); s.Scan(); {
		lines = append(lines, s.Text())
		step, what, _ := strings.Cut(strings.TrimPrefix(s.Text(), "I: "), " ")
		if count[step]++; count[step]%50 == 1 && strings.HasSuffix(step, "ing") {
			e.say("  %s %s", strings.ToLower(step), what)
		}
	}
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// importRoot makes an image of a root, without what no host needs.
func (e *engine) importRoot(ctx context.Context, root string) (string, error) {
	const name = imageRepository + "-base:" + debianSuite
	e.say("importing the Debian root as %s", name)
	cmd := exec.CommandContext(ctx, "tar", "--numeric-owner", "--xattrs", "--xattrs-include=security.capability", "-C", root,
		"--exclude=./var/cache/apt/*", "--exclude=./var/lib/apt/lists/*", "--exclude=./usr/share/doc/*",
		"--exclude=./usr/share/man/*", "--exclude=./usr/share/locale/*", "--exclude=./dev/*", "-c", ".")
	content, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("cannot pack %s: %w", filepath.Base(root), err)
	}
	answer, err := e.ImageImport(ctx, image.ImportSource{Source: content, SourceName: "-"}, name, image.ImportOptions{})
	if err == nil {
		defer answer.Close()
		err = e.follow(answer, "")
	}
	if err != nil {
		_ = cmd.Process.Kill()
	}
	if waitErr := cmd.Wait(); err == nil {
		err = waitErr
	}
	if err != nil {
		return "", fmt.Errorf("cannot import the Debian root: %w", err)
	}
	return name, nil
}

// aptMirror is where this machine's apt gets Debian from. It is empty on another
// distribution, which leaves the choice to debootstrap.
func aptMirror(ctx context.Context) string {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil || !hasLine(release, "ID=debian") {
		return ""
	}
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages").Output()
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(out)) {
		suite, uri, _ := strings.Cut(strings.TrimSpace(line), " ")
		if hasLine(release, "VERSION_CODENAME="+suite) {
			return uri
		}
	}
	return ""
}

func hasLine(text []byte, line string) bool {
	return slices.Contains(strings.Split(string(text), "\n"), line)
}

// proxyArgs are the proxies that programs of this machine use: from the environment, else
// from apt's configuration.
func proxyArgs(ctx context.Context) map[string]*string {
	args := map[string]*string{}
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy"} {
		value := os.Getenv(name)
		if value == "" {
			value = os.Getenv(strings.ToUpper(name))
		}
		if scheme, ok := strings.CutSuffix(name, "_proxy"); ok && value == "" && scheme != "no" {
			value = aptProxy(ctx, scheme)
		}
		if value != "" {
			args[name] = &value
		}
	}
	return args
}

// aptProxy is apt's proxy for a scheme, or empty.
func aptProxy(ctx context.Context, scheme string) string {
	out, err := exec.CommandContext(ctx, "apt-config", "dump", "--format", "%v%n", "Acquire::"+scheme+"::Proxy").Output()
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if err != nil || first == "DIRECT" {
		return ""
	}
	return first
}

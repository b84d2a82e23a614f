package testenv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker/client"
	"golang.org/x/sys/unix"
)

// An engine is the Docker engine that runs the hosts.
type engine struct {
	*client.Client
	progress func(string)
}

func (e *engine) say(format string, args ...any) {
	e.progress(fmt.Sprintf(format, args...))
}

// reachEngine connects to a running engine. DOCKER_HOST and the variables that belong to
// it count; the files of the docker command, where contexts live, do not.
func reachEngine(ctx context.Context, progress func(string)) (*engine, error) {
	if progress == nil {
		progress = func(string) {}
	}
	c, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, fmt.Errorf("cannot reach the Docker engine: %w", err)
	}
	e := &engine{Client: c, progress: progress}
	if _, err := e.Ping(ctx); err != nil {
		return e, fmt.Errorf("cannot reach the Docker engine at %s: %w", c.DaemonHost(), err)
	}
	return e, nil
}

// openEngine is reachEngine for a machine where the engine may have to be installed and
// started first.
func openEngine(ctx context.Context, progress func(string)) (*engine, error) {
	e, err := reachEngine(ctx, progress)
	if err == nil || e == nil {
		return e, err
	}
	if os.Getenv(client.EnvOverrideHost) != "" {
		return nil, err
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("cannot reach the Docker engine at %s: permission denied: run as root, or join the group docker", e.DaemonHost())
	}
	unlock, lockErr := lockSetup()
	if lockErr != nil {
		return nil, lockErr
	}
	defer unlock()
	if _, pingErr := e.Ping(ctx); pingErr == nil {
		return e, nil // another process started it meanwhile
	}
	return e, e.start(ctx, err)
}

// start brings up an engine that did not answer, for the reason in why.
func (e *engine) start(ctx context.Context, why error) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w (install and start a Docker engine, package docker.io on Debian, or run as root)", why)
	}
	if err := e.needProgram(ctx, "dockerd", "docker.io"); err != nil {
		return err
	}
	if err := e.launch(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return poll(ctx, 100*time.Millisecond, func(ctx context.Context) error {
		_, err := e.Ping(ctx)
		return err
	})
}

// launch starts dockerd through systemd, or by itself on a machine without.
func (e *engine) launch(ctx context.Context) error {
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		e.say("starting the Docker engine: systemctl start docker")
		out, err := exec.CommandContext(ctx, "systemctl", "start", "docker").CombinedOutput()
		if err != nil {
			return fmt.Errorf("cannot start the Docker engine: %w: %s", err, out)
		}
		return nil
	}
	dir, err := cacheDir()
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "dockerd.log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("cannot start the Docker engine: %w", err)
	}
	defer log.Close()
	e.say("starting the Docker engine: dockerd, log in %s", path)
	daemon := exec.Command("dockerd")
	daemon.Stdout, daemon.Stderr = log, log
	daemon.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives this process
	if err := daemon.Start(); err != nil {
		return fmt.Errorf("cannot start the Docker engine: %w", err)
	}
	return daemon.Process.Release()
}

// needProgram installs the Debian packages that hold program, unless it is there.
func (e *engine) needProgram(ctx context.Context, program string, packages ...string) error {
	if _, err := exec.LookPath(program); err == nil {
		return nil
	}
	list := strings.Join(packages, " ")
	if os.Geteuid() != 0 {
		return fmt.Errorf("cannot find %s: install %s, or run as root to have it installed", program, list)
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("cannot find %s: install it (on Debian: %s)", program, list)
	}
	e.say("installing %s with apt-get", list)
	if err := aptGet(ctx, "update"); err != nil {
		return err
	}
	return aptGet(ctx, append([]string{"install", "-y", "--no-install-recommends"}, packages...)...)
}

func aptGet(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot run apt-get %s: %w\n%s", strings.Join(args, " "), err, tail(out, 20))
	}
	return nil
}

// inotifyPerHost is above what systemd, dockerd and containerd of a host were seen to use.
// All hosts share the limit, for they share the machine's root user.
const inotifyPerHost = 32

// raiseInotifyLimit lifts the limit at whose end a new host dies at once with an empty log.
func (e *engine) raiseInotifyLimit(hosts int) {
	const path = "/proc/sys/fs/inotify/max_user_instances"
	text, err := os.ReadFile(path)
	if err != nil {
		return
	}
	have, err := strconv.Atoi(strings.TrimSpace(string(text)))
	need := max(1024, inotifyPerHost*hosts)
	if err != nil || have >= need {
		return
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(need)), 0o644); err != nil {
		e.say("fs.inotify.max_user_instances is %d: with more than a few hosts run `sysctl fs.inotify.max_user_instances=%d` as root", have, need)
		return
	}
	e.say("raised fs.inotify.max_user_instances from %d to %d", have, need)
}

// cacheDir is where the host image and logs are kept between labs.
func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cannot find the cache folder: %w", err)
	}
	dir := filepath.Join(base, "calroll", "lab")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("cannot make the cache folder: %w", err)
	}
	return dir, nil
}

// lockSetup lets one process at a time install, start the engine or build the image.
func lockSetup() (unlock func(), err error) {
	dir, err := cacheDir()
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "setup.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the set-up: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("cannot lock the set-up: %w", err)
	}
	return func() { _ = f.Close() }, nil
}

// tail returns the last n lines of text.
func tail(text []byte, n int) string {
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

package testenv

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// A Result is how a command on a host ended.
type Result struct {
	Stdout, Stderr string
	Code           int // exit code
}

// Exec runs a command as root on the host through the engine, past SSH: it works while the
// link is cut. A command that fails is a Result with its code; the error is for a command
// that could not be run, on a stopped or paused host for example.
func (h *Host) Exec(ctx context.Context, args ...string) (Result, error) {
	return h.run(ctx, nil, args)
}

// Output is Exec for a command that should succeed. It returns what the command printed,
// without the last newline; another exit code than 0 is an error.
func (h *Host) Output(ctx context.Context, args ...string) (string, error) {
	return h.succeed(ctx, nil, args)
}

// Pipe is Output for a command that reads stdin.
func (h *Host) Pipe(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	return h.succeed(ctx, stdin, args)
}

// Sh is Output for a shell script.
func (h *Host) Sh(ctx context.Context, script string) (string, error) {
	return h.succeed(ctx, nil, []string{"sh", "-c", script})
}

// LoadImage gives the host's own engine the images of a tar, as docker load does.
func (h *Host) LoadImage(ctx context.Context, image io.Reader) error {
	_, err := h.Pipe(ctx, image, "docker", "load", "--quiet")
	return err
}

// ReadFile returns the content of a file on the host.
func (h *Host) ReadFile(ctx context.Context, path string) ([]byte, error) {
	r, err := h.Exec(ctx, "cat", "--", path)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("cannot read %s on %s: %s", path, h.Name, strings.TrimSpace(r.Stderr))
	}
	return []byte(r.Stdout), err
}

// WriteFile replaces a file on the host, owned by root, and makes the folders above it.
func (h *Host) WriteFile(ctx context.Context, name string, mode fs.FileMode, content []byte) error {
	const script = `mkdir -p "$1" && rm -f "$2" && umask 077 && cat >"$2" && chmod "$3" "$2"`
	_, err := h.Pipe(ctx, bytes.NewReader(content), "sh", "-c", script, "sh",
		path.Dir(name), name, fmt.Sprintf("%04o", unixMode(mode)))
	return err
}

// A File is what WriteFiles writes.
type File struct {
	Path    string // absolute
	Mode    fs.FileMode
	Content []byte
}

// WriteFiles is WriteFile for many files in one go. It makes the folders above them.
func (h *Host) WriteFiles(ctx context.Context, files ...File) error {
	var p packer
	p.w = tar.NewWriter(&p.out)
	for _, f := range files {
		p.file(strings.TrimPrefix(f.Path, "/"), int64(unixMode(f.Mode)), 0, f.Content)
	}
	if err := errors.Join(p.err, p.w.Close()); err != nil {
		return err
	}
	_, err := h.Pipe(ctx, &p.out, "tar", "-C", "/", "--unlink-first", "-xpf", "-")
	return err
}

func unixMode(mode fs.FileMode) uint32 {
	m := uint32(mode.Perm())
	for bit, is := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if mode&is != 0 {
			m |= bit
		}
	}
	return m
}

func (h *Host) succeed(ctx context.Context, stdin io.Reader, args []string) (string, error) {
	r, err := h.run(ctx, stdin, args)
	if err != nil {
		return "", err
	}
	if r.Code != 0 {
		return r.Stdout, fmt.Errorf("cannot run %s on %s: exit code %d: %s",
			strings.Join(args, " "), h.Name, r.Code, strings.TrimSpace(r.Stderr))
	}
	return strings.TrimSuffix(r.Stdout, "\n"), nil
}

func (h *Host) run(ctx context.Context, stdin io.Reader, args []string) (Result, error) {
	fail := func(err error) (Result, error) {
		return Result{}, fmt.Errorf("cannot run %s on %s: %w", args[0], h.Name, err)
	}
	eng := h.lab.engine
	made, err := eng.ContainerExecCreate(ctx, h.Container(), container.ExecOptions{
		Cmd: args, AttachStdin: stdin != nil, AttachStdout: true, AttachStderr: true,
		Env: []string{"LC_ALL=C.UTF-8"},
	})
	if err != nil {
		return fail(err)
	}
	stream, err := eng.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{})
	if err != nil {
		return fail(err)
	}
	defer stream.Close()
	stop := context.AfterFunc(ctx, stream.Close) // the stream itself does not watch ctx
	defer stop()
	if stdin != nil {
		go func() {
			// A command may end without reading all; what it says of that is in its result.
			_, _ = io.Copy(stream.Conn, stdin)
			_ = stream.CloseWrite()
		}()
	}
	var stdout, stderr bytes.Buffer
	if _, err := stdcopy.StdCopy(&stdout, &stderr, stream.Reader); err != nil {
		return fail(cmp.Or(ctx.Err(), err))
	}
	code, err := eng.exitCode(ctx, made.ID)
	if err != nil {
		return fail(err)
	}
	return Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: code}, nil
}

// exitCode waits for the end of a command, which the engine may notice a little after the
// end of its output.
func (e *engine) exitCode(ctx context.Context, id string) (int, error) {
	var code int
	err := poll(ctx, 5*time.Millisecond, func(ctx context.Context) error {
		r, err := e.ContainerExecInspect(ctx, id)
		if err == nil && r.Running {
			err = fmt.Errorf("it still runs")
		}
		code = r.ExitCode
		return err
	})
	return code, err
}

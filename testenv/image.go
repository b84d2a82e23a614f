package testenv

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/build"
)

//go:embed image
var imageFiles embed.FS

const imageRepository = "calroll-lab-host"

// imageName is the host image's name, whose tag is a hash of everything that goes into it.
func imageName() string {
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.GOARCH)
	sum.Write(imageContext())
	return imageRepository + ":" + hex.EncodeToString(sum.Sum(nil))[:12]
}

// imageContext is the folder image as a tar. It has no times in it, so equal files make
// equal bytes.
func imageContext() []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := fs.WalkDir(imageFiles, "image", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := imageFiles.ReadFile(path)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, "image/")
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	})
	if err = errors.Join(err, w.Close()); err != nil {
		panic(err) // embedded files and a buffer cannot fail
	}
	return out.Bytes()
}

// imagePackages is the list in image/packages.
func imagePackages() []string {
	text, err := imageFiles.ReadFile("image/packages")
	if err != nil {
		panic(err)
	}
	var packages []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			packages = append(packages, line)
		}
	}
	return packages
}

// prepareImage makes sure that the engine has the host image: as it is, from the cache
// folder, or built.
func (e *engine) prepareImage(ctx context.Context) error {
	name := imageName()
	if ok, err := e.hasImage(ctx, name); ok || err != nil {
		return err
	}
	unlock, err := lockSetup()
	if err != nil {
		return err
	}
	defer unlock()
	if ok, err := e.hasImage(ctx, name); ok || err != nil {
		return err // another process built it meanwhile
	}
	saved, err := savedImage(name)
	if err != nil {
		return err
	}
	if err := e.loadImage(ctx, saved); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		e.say("%v; building the image instead", err)
	}
	if err := e.buildImage(ctx, name); err != nil {
		return fmt.Errorf("cannot build the host image: %w", err)
	}
	return e.saveImage(ctx, name, saved)
}

func (e *engine) hasImage(ctx context.Context, name string) (bool, error) {
	_, err := e.ImageInspect(ctx, name)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// savedImage is where the cache folder keeps the image for an engine that lacks it.
func savedImage(name string) (string, error) {
	dir, err := cacheDir()
	return filepath.Join(dir, strings.ReplaceAll(name, ":", "-")+".tar"), err
}

func (e *engine) loadImage(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	e.say("loading the host image from %s", path)
	answer, err := e.ImageLoad(ctx, f)
	if err != nil {
		return fmt.Errorf("cannot load %s: %w", path, err)
	}
	defer answer.Body.Close()
	return e.follow(answer.Body, "")
}

// saveImage writes the image to path and drops images of other hashes saved beside it.
func (e *engine) saveImage(ctx context.Context, name, path string) error {
	e.say("saving the host image to %s", path)
	stale, _ := filepath.Glob(filepath.Join(filepath.Dir(path), imageRepository+"-*"))
	for _, old := range stale {
		_ = os.Remove(old)
	}
	content, err := e.ImageSave(ctx, []string{name})
	if err != nil {
		return fmt.Errorf("cannot save the host image: %w", err)
	}
	defer content.Close()
	return replaceFile(path, content)
}

// buildImage makes the host image. The build runs on the machine's own network, so that
// what its package mirror needs (a proxy on the loopback address, say) is there.
func (e *engine) buildImage(ctx context.Context, name string) error {
	base, err := e.baseImage(ctx)
	if err != nil {
		return err
	}
	e.say("building the host image %s from %s", name, base)
	args := proxyArgs(ctx)
	args["BASE"] = &base
	answer, err := e.ImageBuild(ctx, bytes.NewReader(imageContext()), build.ImageBuildOptions{
		Tags: []string{name}, BuildArgs: args, NetworkMode: "host",
		Remove: true, ForceRemove: true, Version: build.BuilderV1,
	})
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	return e.follow(answer.Body, "Step ")
}

// follow reads an engine's stream of messages to its end. It passes on the lines that start
// with show (none if empty), and on failure returns the engine's reason with what was
// printed last.
func (e *engine) follow(stream io.Reader, show string) error {
	var printed bytes.Buffer
	for messages := json.NewDecoder(stream); ; {
		var m struct{ Stream, Error string }
		switch err := messages.Decode(&m); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case m.Error != "":
			return fmt.Errorf("%s\n%s", m.Error, tail(printed.Bytes(), 20))
		}
		printed.WriteString(m.Stream)
		if show != "" && strings.HasPrefix(m.Stream, show) {
			e.say("  %s", strings.TrimSpace(m.Stream))
		}
	}
}

// replaceFile writes a file whole or not at all.
func replaceFile(path string, content io.Reader) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already once it is renamed
	_, err = io.Copy(f, content)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}

package image

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Fetch downloads Debian packages, and the library packages that they depend on, into dir, with apt's own sources and
// signature checks. It returns the files of exactly these packages. Nothing is installed. say receives a line before
// anything slow or anything that alters the machine (refreshing apt's package lists, which needs root).
func Fetch(ctx context.Context, dir string, names []string, say func(string)) ([]string, error) {
	all, err := withLibraries(ctx, names)
	if err != nil && os.Geteuid() == 0 {
		say("refreshing the package lists (apt-get update)")
		if _, uerr := apt(ctx, "", "apt-get", "update"); uerr != nil {
			return nil, uerr
		}
		all, err = withLibraries(ctx, names)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot find the Debian packages of the image: %w\nhint: this needs Debian's or Ubuntu's apt with current lists (apt-get update)", err)
	}
	// A directory of its own, so that versions of an earlier time are not mistaken for today's.
	fresh, err := os.MkdirTemp(dir, "fetch-")
	if err != nil {
		return nil, err
	}
	say(fmt.Sprintf("downloading %d Debian packages", len(all)))
	if _, err := apt(ctx, fresh, "apt-get", append([]string{"-q", "download"}, all...)...); err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(fresh, "*.deb"))
}

// withLibraries adds to the packages every library package that they depend on, directly or through another library.
// Following libraries alone keeps perl, debconf and their kind out.
func withLibraries(ctx context.Context, names []string) ([]string, error) {
	all := slices.Clone(names)
	for next := names; len(next) > 0; {
		out, err := apt(ctx, "", "apt-cache", append([]string{"depends", "--important"}, next...)...)
		if err != nil {
			return nil, err
		}
		next = nil
		for _, dep := range dependsIn(out) {
			if isLibrary(dep) && !slices.Contains(all, dep) {
				all = append(all, dep)
				next = append(next, dep)
			}
		}
	}
	slices.Sort(all)
	return all, nil
}

// isLibrary goes by Debian's naming, to which zlib1g is the exception.
func isLibrary(pkg string) bool {
	return strings.HasPrefix(pkg, "lib") || strings.HasPrefix(pkg, "zlib")
}

// dependsIn reads the package names out of `apt-cache depends`. Names in angle brackets are virtual.
func dependsIn(out []byte) []string {
	var deps []string
	for sc := bufio.NewScanner(bytes.NewReader(out)); sc.Scan(); {
		kind, name, ok := strings.Cut(strings.TrimLeft(sc.Text(), " |"), ": ")
		if ok && strings.HasSuffix(kind, "Depends") && !strings.HasPrefix(name, "<") {
			deps = append(deps, strings.TrimSpace(name))
		}
	}
	return deps
}

// apt runs a program of apt in dir and returns its output; an error carries what it said.
func apt(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	// The sandbox user could not write to a directory of the caller's; downloads are verified all the same.
	args = append([]string{"-o", "APT::Sandbox::User=root"}, args...)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("cannot run %s %s: %w: %s", name, args[2], err, strings.TrimSpace(said.String()))
	}
	return out, nil
}

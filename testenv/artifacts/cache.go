package artifacts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// cache is the directory under which everything built is kept, one subdirectory a key.
type cache struct {
	root string
	say  func(string)
}

func openCache(root string, say func(string)) (*cache, error) {
	if root == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("cannot find the cache directory: %w", err)
		}
		root = filepath.Join(user, "calroll", "artifacts")
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, fmt.Errorf("cannot create the artifact cache: %w", err)
	}
	return &cache{root: root, say: say}, nil
}

// dir names the directory of what is made from inputs; label is for the reader of the cache.
func (c *cache) dir(label string, inputs ...string) string {
	return filepath.Join(c.root, label+"-"+key(inputs...))
}

// key hashes a list of strings; the lengths keep different lists apart.
func key(inputs ...string) string {
	h := sha256.New()
	for _, in := range inputs {
		fmt.Fprintf(h, "%d:%s", len(in), in)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// ensure makes the named files exist in dir. Where some are missing it calls build with their names and an empty
// directory on the same file system, and moves what build left there into dir, file by file. One process at a
// time builds a directory; the others wait and then find the files.
func (c *cache) ensure(ctx context.Context, dir string, names []string, build func(tmp string, missing []string) error) error {
	if len(missingIn(dir, names)) == 0 {
		return nil
	}
	unlock, err := c.lock(ctx, dir)
	if err != nil {
		return err
	}
	defer unlock()
	missing := missingIn(dir, names)
	if len(missing) == 0 {
		return nil
	}
	tmp, err := os.MkdirTemp(c.root, ".building-")
	if err != nil {
		return fmt.Errorf("cannot build into the artifact cache: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }() // what remains after a failure is only space
	if err := build(tmp, missing); err != nil {
		return err
	}
	return publish(tmp, dir, missing)
}

func missingIn(dir string, names []string) []string {
	var missing []string
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			missing = append(missing, name)
		}
	}
	return missing
}

func publish(tmp, dir string, names []string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot publish to the artifact cache: %w", err)
	}
	for _, name := range names {
		if err := os.Rename(filepath.Join(tmp, name), filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("cannot publish to the artifact cache: %w", err)
		}
	}
	return nil
}

// lock holds dir for one builder. The kernel drops the lock with the process, so a crash leaves none behind.
func (c *cache) lock(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the artifact cache: %w", err)
	}
	for told := false; ; {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("cannot lock the artifact cache: %w", err)
		}
		if !told {
			c.say("waiting for another build of " + filepath.Base(dir))
			told = true
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// sumSuffix ends the name of the file that keeps another file's sha256.
const sumSuffix = ".sha256"

// writeSum puts the sha256 of a file beside it, in the form of sha256sum(1).
func writeSum(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	return os.WriteFile(file+sumSuffix, []byte(sumLine(hex.EncodeToString(h.Sum(nil)), filepath.Base(file))), 0o644)
}

func sumLine(sum, name string) string {
	return sum + "  " + name + "\n"
}

// readSum returns the sha256 that writeSum put beside a file.
func readSum(file string) (string, error) {
	line, err := os.ReadFile(file + sumSuffix)
	if err != nil {
		return "", err
	}
	sum, _, _ := strings.Cut(string(line), " ")
	if len(sum) != 2*sha256.Size {
		return "", fmt.Errorf("cannot read the checksum of %s: the file is damaged", filepath.Base(file))
	}
	return sum, nil
}

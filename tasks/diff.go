package tasks

import (
	"bytes"
	"context"
	"io"

	"golang.org/x/sys/unix"
)

// maxDiff is the size above which content is not shown, Ansible's max_file_size_for_diff.
const maxDiff = 104448

// addContentDiff shows old and new content where both are texts of a size that somebody would read.
func (w *fileWrite) addContentDiff(ctx context.Context) error {
	if !w.WantDiff() || w.opts.Secret {
		return nil
	}
	d := Diff{BeforeHeader: w.place.path, AfterHeader: w.opts.Header}
	if d.AfterHeader == "" {
		d.AfterHeader = w.place.path
	}
	var before, after []byte
	if w.old.Type == typeFile && w.old.Size <= maxDiff {
		f, err := w.place.open(unix.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		if before, err = io.ReadAll(f); err != nil {
			return err
		}
	}
	if w.content.Size <= maxDiff {
		r, err := w.Open(ctx, w.content)
		if err != nil {
			return err
		}
		defer r.Close()
		if after, err = io.ReadAll(r); err != nil {
			return err
		}
	}
	switch {
	case w.content.Size > maxDiff || w.old.Type == typeFile && w.old.Size > maxDiff:
		d.Note = "too large to show"
	case bytes.IndexByte(before, 0) >= 0 || bytes.IndexByte(after, 0) >= 0:
		d.Note = "binary"
	default:
		d.Before, d.After = string(before), string(after)
	}
	w.AddDiff(d)
	return nil
}

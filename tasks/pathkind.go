package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// pathKind restores one object at a path.
type pathKind struct{ kindOptions }

// Tidy removes the temporary names.
func (k pathKind) Tidy(_ context.Context, b Before) error {
	var m pathMeta
	if err := json.Unmarshal(b.Meta, &m); err != nil {
		return failed("read the record of "+b.Key, err)
	}
	return tidy(b.Key, m.Temp)
}

func tidy(path, temp string) error {
	if temp == "" {
		return nil
	}
	p, err := openPlace(path)
	if absent(err) {
		return nil
	}
	if err != nil {
		return failed("clear up beside "+path, err)
	}
	defer p.close()
	for _, name := range []string{temp, undoName(temp)} {
		if err := p.beside(name).remove(); err != nil {
			return failed("clear up "+p.beside(name).path, err)
		}
	}
	return nil
}

// State is what is at the path. A folder that is not empty is no state that a record knows, so that nothing in it is lost.
func (k pathKind) State(ctx context.Context, b Before) (string, error) {
	op := "look at " + b.Key
	var m pathMeta
	if err := json.Unmarshal(b.Meta, &m); err != nil {
		return "", failed(op, err)
	}
	p, err := openPlace(b.Key)
	if absent(err) {
		return typeAbsent, nil
	}
	if err != nil {
		return "", failed(op, err)
	}
	defer p.close()
	o, err := p.lookWhole(ctx)
	switch {
	case err != nil:
		return "", failed(op, err)
	case m.Inode != "" && o.is(m.Inode):
		return b.After, nil
	case m.InPlace && o.Type == typeFile && !o.sameAs(m.Before) && (!b.Done || o.word() == b.Was):
		return b.After, nil // half written, or half restored
	case o.Type == typeDir && b.After == typeDir && !p.empty():
		return "dir with something in it", nil
	}
	return o.word(), nil
}

// StandsFor tells that newer was about a name that older had made: from a copy, where the recorder could keep no link, it comes back as a file of its own.
func (k pathKind) StandsFor(newer, older Before) bool {
	var was, made pathMeta
	if json.Unmarshal(newer.Meta, &was) != nil || json.Unmarshal(older.Meta, &made) != nil {
		return false
	}
	return made.Inode != "" && sameInode(was.Before.Inode, made.Inode)
}

// sameAs tells whether a restore has nothing left to do.
func (o object) sameAs(before object) bool {
	return o.word() == before.word() && o.Mtime == before.Mtime && len(o.xattrsThatDiffer(before)) == 0
}

// Restore puts back what was at the path.
func (k pathKind) Restore(ctx context.Context, b Before, kept Kept, force bool) error {
	op := "restore " + b.Key
	var m pathMeta
	if err := json.Unmarshal(b.Meta, &m); err != nil {
		return failed(op, err)
	}
	p, err := openPlace(b.Key)
	if absent(err) && m.Before.Type == typeAbsent {
		return nil
	}
	if err != nil {
		return failed(op, err)
	}
	defer p.close()
	r := &pathRestore{kindOptions: k.kindOptions, place: p, meta: m, kept: kept, force: force}
	if err := r.run(ctx); err != nil {
		return failed(op, err)
	}
	k.units.note(b.Key)
	return failed(op, p.fsync())
}

// pathRestore is one Restore under way.
type pathRestore struct {
	kindOptions
	place *place
	meta  pathMeta
	kept  Kept
	force bool
}

func (r *pathRestore) run(ctx context.Context) error {
	before := r.meta.Before
	if r.meta.InPlace {
		return r.overwrite(ctx)
	}
	if before.Type == typeAbsent {
		return r.clear()
	}
	from := r.place.beside(undoName(r.meta.Temp))
	switch {
	case r.kept.Linked:
		kept, err := openPlace(r.kept.Path)
		if err != nil {
			return err
		}
		defer kept.close()
		if err := r.verify(ctx, kept); err != nil {
			return err
		}
		from = kept
	case before.Type == typeFile:
		if err := r.unpack(ctx, from); err != nil {
			return err
		}
	default:
		if err := from.make(before); err != nil {
			return err
		}
	}
	r.Step("undo made under a temporary name")
	if err := from.setAttrs(before, true, r.Step); err != nil {
		return err
	}
	if err := from.syncObject(before); err != nil {
		return err
	}
	return r.install(from)
}

// install renames what was restored into place.
func (r *pathRestore) install(from *place) error {
	if now, err := r.place.look(); err == nil && now.Type == typeDir && r.meta.Before.Type != typeDir {
		if err := r.clear(); err != nil {
			return err
		}
	}
	r.Step("before undo rename")
	if err := from.renameTo(r.place); err != nil {
		return err
	}
	r.Step("after undo rename")
	return from.fsync()
}

// clear takes away what is at the place; a folder with something in it only with force.
func (r *pathRestore) clear() error {
	err := r.place.rmdir()
	switch {
	case err == nil || errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.ENOTDIR):
		return r.place.unlink()
	case errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST):
		if r.force {
			return r.place.remove()
		}
	}
	return err
}

// verify refuses a kept file that somebody changed in place through another name of it.
func (r *pathRestore) verify(ctx context.Context, kept *place) error {
	o, err := kept.lookWhole(ctx)
	if err != nil {
		return fmt.Errorf("the kept file: %w", err)
	}
	if (o.Type != r.meta.Before.Type || o.SHA256 != r.meta.Before.SHA256) && !r.force {
		return refused("use the kept file "+kept.path, "somebody has changed it in place since (it was open, or has another name)")
	}
	return nil
}

func (r *pathRestore) unpack(ctx context.Context, to *place) error {
	if r.kept.Path == "" {
		return errors.New("the record has no before-image")
	}
	in, err := os.Open(r.kept.Path)
	if err != nil {
		return fmt.Errorf("the before-image: %w", plain(err))
	}
	defer in.Close()
	out, err := to.open(unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	r.Step("undo temporary file made")
	content := Content{SHA256: r.meta.Before.SHA256, Size: r.meta.Before.Size}
	return content.copyTo(ctx, out, in)
}

// overwrite restores in place what was written in place.
func (r *pathRestore) overwrite(ctx context.Context) error {
	in, err := os.Open(r.kept.Path)
	if err != nil {
		return fmt.Errorf("the before-image: %w", plain(err))
	}
	defer in.Close()
	out, err := r.place.open(unix.O_WRONLY|unix.O_TRUNC, 0)
	if err != nil {
		return err
	}
	defer out.Close()
	r.Step("undo truncated in place")
	content := Content{SHA256: r.meta.Before.SHA256, Size: r.meta.Before.Size}
	if err := content.copyTo(ctx, out, in); err != nil {
		return err
	}
	if err := r.place.setAttrs(r.meta.Before, true, r.Step); err != nil {
		return err
	}
	return out.Sync()
}

package artifacts

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/calroll/calroll/testenv/artifacts/image"
)

// cniPlugins offers the plugins in an archive like that of their project's releases: all at the top, as ./name.
func (b *builder) cniPlugins(ctx context.Context) error {
	return b.offer(ctx, cniPluginsURL(), []string{b.keys["cni"]}, func(file string) error {
		var t image.Tree
		for _, prog := range programsOf[CNIPlugins].cni {
			t.PutFile(prog, 0o755, b.set.programs[prog])
		}
		return writeTgz(file, &t, "./")
	})
}

// calicoRelease offers the archive of a Calico release. Upstream's holds the images too; here they are separate
// files, because an archive of a gigabyte would only slow a lab down.
func (b *builder) calicoRelease(ctx context.Context) error {
	version := b.set.Calico
	top := "release-" + version
	return b.offer(ctx, calicoURL(version, top+".tgz"), []string{b.keys["calico"]}, func(file string) error {
		var t image.Tree
		for _, plugin := range []string{"calico", "calico-ipam"} {
			t.PutFile(top+"/bin/cni/"+runtime.GOARCH+"/"+plugin, 0o755, b.set.programs["calico"])
		}
		if err := b.manifests(ctx, &t, top+"/manifests/"); err != nil {
			return err
		}
		return writeTgz(file, &t, "")
	})
}

// manifests adds the release's own manifests, with the image tags of the requested version.
func (b *builder) manifests(ctx context.Context, t *image.Tree, to string) error {
	source, err := b.tools.moduleDir(ctx, calicoPin(b.set.Calico), calicoModule)
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(source, "manifests", "*.yaml"))
	if err != nil {
		return err
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		t.Put(to+filepath.Base(f), 0o644, bytes.ReplaceAll(text, []byte(CalicoVersion), []byte(b.set.Calico)))
	}
	return nil
}

func (b *builder) calicoctl(ctx context.Context) error {
	url := calicoURL(b.set.Calico, "calicoctl-linux-"+runtime.GOARCH)
	return b.offer(ctx, url, []string{b.keys["calico"]}, func(file string) error {
		return copyFile(file, b.set.programs["calicoctl"])
	})
}

// copyFile makes a hard link where it can: both names are in the cache, and nobody writes to either.
func copyFile(to, from string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Close()
}

func writeTgz(file string, t *image.Tree, prefix string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	zw, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return err
	}
	if err := t.WriteTar(zw, prefix); err != nil {
		return err
	}
	if err := zw.Close(); err != nil {
		return err
	}
	return f.Close()
}

package artifacts

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// format changes when the same inputs come to give other files, so that old ones are not taken for new.
const format = "3"

// File is something that a Server offers.
type File struct {
	URL    string // path below the server's base, without a leading slash
	Path   string // on this machine
	SHA256 string // 64 hex digits
	Size   int64  // bytes
}

// Set is what one Build made.
type Set struct {
	Calico   string // the version that its Calico is stamped with
	cache    string
	programs map[string]string
	files    []File
}

// Program returns the path of a program that one of the requested parts is made of, such as etcdctl or calico; empty
// when the request did not need it. A program may be run but not altered: it is the cache's own.
func (s *Set) Program(name string) string { return s.programs[name] }

// Cache is the directory that has every program and file of the set somewhere below it.
func (s *Set) Cache() string { return s.cache }

// Files lists what the set offers, sorted by URL.
func (s *Set) Files() []File { return slices.Clone(s.files) }

// File returns the file of a URL path.
func (s *Set) File(url string) (File, bool) {
	i, found := slices.BinarySearchFunc(s.files, url, func(f File, u string) int { return cmp.Compare(f.URL, u) })
	if !found {
		return File{}, false
	}
	return s.files[i], true
}

// Options says where Build works. The zero value suits a command run in a clone of calroll.
type Options struct {
	Cache    string       // directory of the cache; empty means artifacts below the user's cache directory for calroll
	Source   string       // root of a clone of calroll; empty means the one around the working directory or the program
	Progress func(string) // receives a line when something slow begins, goes on or ends; may be nil
}

// Build makes what a request asks for, or finds it in the cache. The first build of all parts takes minutes and needs
// Go, network access to the Go module proxy and, for the node image, to a Debian mirror; a cached one takes milliseconds and needs Go alone.
func Build(ctx context.Context, r Request, o Options) (*Set, error) {
	r, err := r.complete()
	if err != nil {
		return nil, err
	}
	say := o.Progress
	if say == nil {
		say = func(string) {}
	}
	c, err := openCache(o.Cache, say)
	if err != nil {
		return nil, err
	}
	tools, err := openToolchain(ctx, o.Source)
	if err != nil {
		return nil, err
	}
	b := &builder{cache: c, tools: tools, say: say, set: &Set{Calico: r.Calico, cache: c.root, programs: map[string]string{}}}
	if err := b.build(ctx, r); err != nil {
		return nil, err
	}
	return b.set, nil
}

// builder carries one request out. keys has the cache key of each pin it compiled from.
type builder struct {
	cache *cache
	tools *toolchain
	say   func(string)
	set   *Set
	keys  map[string]string
}

func (b *builder) build(ctx context.Context, r Request) error {
	var all need
	for _, p := range r.Parts {
		n := programsOf[p]
		all.calico = append(all.calico, n.calico...)
		all.cni = append(all.cni, n.cni...)
		all.etcd = append(all.etcd, n.etcd...)
		all.kubernetes = append(all.kubernetes, n.kubernetes...)
		all.kubelet = append(all.kubelet, n.kubelet...)
		all.flannel = append(all.flannel, n.flannel...)
		all.pod = append(all.pod, n.pod...)
	}
	b.keys = map[string]string{}
	for _, step := range all.steps(r.Calico) {
		if err := b.compile(ctx, step.pin, step.programs); err != nil {
			return err
		}
	}
	for _, p := range r.Parts {
		if err := b.finish(ctx, p); err != nil {
			return err
		}
	}
	slices.SortFunc(b.set.files, func(a, b File) int { return cmp.Compare(a.URL, b.URL) })
	b.set.files = slices.Compact(b.set.files)
	return nil
}

// compile makes programs of a pin and records where they are.
func (b *builder) compile(ctx context.Context, p pin, programs []string) error {
	if len(programs) == 0 {
		return nil
	}
	slices.Sort(programs)
	programs = slices.Compact(programs)
	k, err := b.tools.pinKey(p)
	if err != nil {
		return err
	}
	b.keys[p.name] = k
	dir := b.cache.dir(p.name+"-"+p.version, k)
	err = b.cache.ensure(ctx, dir, programs, func(tmp string, missing []string) error {
		return b.tools.build(ctx, p, missing, tmp, b.say)
	})
	if err != nil {
		return err
	}
	for _, prog := range programs {
		b.set.programs[prog] = filepath.Join(dir, prog)
	}
	return nil
}

// finish makes the files of a part out of its programs.
func (b *builder) finish(ctx context.Context, p Part) error {
	switch p {
	case CNIPlugins:
		return b.cniPlugins(ctx)
	case CalicoRelease:
		return b.calicoRelease(ctx)
	case Calicoctl:
		return b.calicoctl(ctx)
	case EtcdPrograms, KubernetesPrograms, KubeletDockershim:
		return nil
	}
	return b.image(ctx, p)
}

// offer makes one file, with its checksum beside it, unless the cache has it, and adds it to the set under a URL path. inputs
// are what the file is made from besides the format.
func (b *builder) offer(ctx context.Context, url string, inputs []string, write func(file string) error) error {
	name := filepath.Base(url)
	dir := b.cache.dir("files-"+strings.TrimSuffix(name, filepath.Ext(name)), append(inputs, format, url)...)
	err := b.cache.ensure(ctx, dir, []string{name, name + sumSuffix}, func(tmp string, _ []string) error {
		b.say("making " + name)
		file := filepath.Join(tmp, name)
		if err := write(file); err != nil {
			return fmt.Errorf("cannot make %s: %w", name, err)
		}
		return writeSum(file)
	})
	if err != nil {
		return err
	}
	return b.add(url, filepath.Join(dir, name))
}

func (b *builder) add(url, file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	sum, err := readSum(file)
	if err != nil {
		return err
	}
	b.set.files = append(b.set.files, File{URL: url, Path: file, SHA256: sum, Size: info.Size()})
	return nil
}

// The paths under which upstream publishes, and the lab offers, its files.

func calicoURL(version, name string) string {
	return "projectcalico/calico/releases/download/" + version + "/" + name
}

func cniPluginsURL() string {
	return fmt.Sprintf("containernetworking/plugins/releases/download/%s/cni-plugins-linux-%s-%s.tgz",
		CNIPluginsVersion, runtime.GOARCH, CNIPluginsVersion)
}

// imageURL is the lab's own: upstream has images in registries, and inside an archive of a gigabyte.
func imageURL(tag string) string {
	return "images/" + strings.NewReplacer("/", "-", ":", "-").Replace(tag) + ".tar"
}

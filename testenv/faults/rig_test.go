package faults

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/artifacts"
	"github.com/calroll/calroll/testenv/kube"
)

// program builds calroll once for all rigs, unless CALROLL names one.
var program = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("CALROLL"); path != "" {
		return filepath.Abs(path)
	}
	dir, err := os.MkdirTemp("", "calroll-faults-")
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "calroll")
	cmd := exec.Command("go", "build", "-o", out, "github.com/calroll/calroll/cmd/calroll")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build calroll: %w\n%s", err, text)
	}
	return out, nil
})

// rig is six hosts that the play finds as prepare.sh makes them, a calroll that reaches each through a relay, and pictures of every host without and
// with what the play does.
type rig struct {
	testing.TB
	lab       *testenv.Lab
	dir       string // the program's folder, with its run store
	calroll   string
	book      string
	inventory string
	relays    map[string]*testenv.Relay
	batches   [][]string // as the play makes them
	before    map[string]testenv.Snapshot
	after     map[string]testenv.Snapshot
	steps     int // tasks of a batch, handlers too

	env    []string // of the program
	etcd   *artifacts.Etcd
	leader int // of etcd's members, the one that was killed
	api    *kube.API
}

//go:embed testdata/prepare.sh
var prepare string

// watch is what the play alters, and what is around it.
var watch = testenv.Watch{
	Paths: []string{"/etc/faults", "/srv/faults", "/etc/systemd/system", "/etc/sysctl.d", "/etc/sysctl.conf", "/etc/passwd", "/etc/group", "/etc/shadow",
		"/root/.ssh", "/usr/local"},
	Units:   []string{"faults-app.service", "faults-old.service", "faults-extra.service", "faults-spare.service"},
	Sysctls: []string{"net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_syn_retries"},
}

// newRig makes a rig for one of testdata's plays.
func newRig(t testing.TB, play string) *rig {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{TB: t, lab: testenv.ForTest(t, 6), dir: t.TempDir(), calroll: path, relays: map[string]*testenv.Relay{}}
	r.book = filepath.Join(r.dir, "play", play)
	r.inventory = filepath.Join(r.dir, "inventory.yml")
	r.must(os.CopyFS(filepath.Dir(r.book), os.DirFS("testdata")))
	r.content()
	for _, h := range r.lab.Hosts {
		r.relays[h.Name], err = h.Relay()
		r.must(err)
	}
	r.must(r.lab.WriteInventory(r.inventory, r.relays))
	r.prepare()
	return r
}

// prepare makes the hosts what the play finds.
func (r *rig) prepare() {
	r.Helper()
	r.onAll(func(ctx context.Context, h *testenv.Host) error {
		_, err := h.Sh(ctx, prepare)
		return err
	})
}

// renew makes the hosts anew and learns their pictures again.
func (r *rig) renew() {
	r.Helper()
	r.must(r.lab.Reset(r.Context()))
	r.prepare()
	if r.api != nil {
		r.objects()
	}
	r.learn(r.steps)
}

// content makes the files of the play that are better made than kept.
func (r *rig) content() {
	files := filepath.Join(filepath.Dir(r.book), "files")
	r.must(os.WriteFile(filepath.Join(files, "big"), bytes.Repeat([]byte("0123456789abcde\n"), 1<<16), 0o600))
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	pack := tar.NewWriter(zip)
	for _, name := range []string{"packed/one", "packed/two"} {
		r.must(pack.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(name))}))
		_, err := io.WriteString(pack, name)
		r.must(err)
	}
	r.must(errors.Join(pack.Close(), zip.Close(), os.WriteFile(filepath.Join(files, "set.tar.gz"), out.Bytes(), 0o600)))
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// check is must for what does not run in the test's own goroutine.
func (r *rig) check(err error) {
	r.Helper()
	if err != nil {
		r.Error(err)
	}
}

// onAll does something to all hosts at the same time.
func (r *rig) onAll(do func(context.Context, *testenv.Host) error) {
	r.Helper()
	g, ctx := errgroup.WithContext(r.Context())
	for _, h := range r.lab.Hosts {
		g.Go(func() error { return do(ctx, h) })
	}
	r.must(g.Wait())
}

func (r *rig) sh(h *testenv.Host, script string) string {
	r.Helper()
	text, err := h.Sh(r.Context(), script)
	r.check(err)
	return strings.TrimSpace(text)
}

// pictures takes one of every host.
func (r *rig) pictures() map[string]testenv.Snapshot {
	r.Helper()
	all, mu := map[string]testenv.Snapshot{}, sync.Mutex{}
	r.onAll(func(ctx context.Context, h *testenv.Host) error {
		s, err := h.Snapshot(ctx, watch)
		if err != nil {
			return err
		}
		for _, backup := range []string{"passwd-", "group-", "shadow-"} {
			delete(s, "path /etc/"+backup)
		}
		for thing, is := range s { // a name that a file has in the journal only
			s[thing] = strings.TrimSuffix(is, " same-as="+strings.TrimPrefix(thing, "path "))
		}
		mu.Lock()
		defer mu.Unlock()
		all[h.Name] = s
		return nil
	})
	r.addObjects(all)
	return all
}

// controller is what tasks that write to the cluster are delegated to.
const controller = "localhost"

// objects makes those of the cluster that the play finds.
func (r *rig) objects() {
	r.Helper()
	kubectl := func(args ...string) {
		if out, err := r.api.Kubectl(r.Context(), args...).CombinedOutput(); err != nil {
			r.Fatalf("%v\n%s", err, out)
		}
	}
	for _, h := range r.lab.Hosts {
		kubectl("delete", "configmap", "old-"+h.Name, "new-"+h.Name, "--ignore-not-found")
		kubectl("create", "configmap", "old-"+h.Name, "--from-literal=is=old")
	}
}

// addObjects adds to each host's picture the objects that are its own.
func (r *rig) addObjects(pictures map[string]testenv.Snapshot) {
	r.Helper()
	if r.api == nil {
		return
	}
	cmd := r.api.Kubectl(r.Context(), "get", "configmaps", "--output", "json")
	var why bytes.Buffer
	cmd.Stderr = &why
	out, err := cmd.Output()
	if err != nil {
		r.Fatalf("%v\n%s", err, &why)
	}
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Data     map[string]string
		}
	}
	r.must(json.Unmarshal(out, &list))
	for _, o := range list.Items {
		if s := pictures[o.Metadata.Name[strings.Index(o.Metadata.Name, "-")+1:]]; s != nil {
			data, err := json.Marshal(o.Data)
			r.must(err)
			s["object "+o.Metadata.Name] = string(data)
		}
	}
}

// learn runs the play without a fault, keeps the pictures of before and after, and takes the run back. steps are the tasks of a batch.
func (r *rig) learn(steps int) {
	r.Helper()
	r.before, r.steps = r.pictures(), steps
	run := r.start(nil)
	run.wait()
	said := run.said()
	if said.exit != 0 || len(said.committed) != len(r.lab.Hosts) {
		r.Fatalf("the play ends with %d where nothing is wrong:\n%s", said.exit, run)
	}
	if said.tasks != steps {
		r.Fatalf("a batch of the play has %d tasks, handlers counted, and not %d", said.tasks, steps)
	}
	r.batches, r.after = said.batches, r.pictures()
	for name := range r.before {
		if r.before[name].Hash() == r.after[name].Hash() {
			r.Fatalf("the play does nothing on %s", name)
		}
	}
	if problems := append(r.rollback(said), r.allBefore()...); len(problems) > 0 {
		r.Fatalf("the rollback of the run without a fault:\n%s", strings.Join(problems, "\n"))
	}
}

// free checks that no lock is held and nothing of calroll is left on any host. A helper whose link was cut may take a moment to notice.
func (r *rig) free() (problems []string) {
	r.Helper()
	const probe = `pgrep -af "[r]emote-|[f]aults-hold" && exit 1
for f in /var/lib/calroll/runs/lock /var/lib/calroll/runs/seat; do [ ! -e $f ] || flock -n $f true || { echo "$f is held"; exit 1; }; done`
	var mu sync.Mutex
	r.onAll(func(ctx context.Context, h *testenv.Host) error {
		last, err := eventually(ctx, func() (string, error) {
			got, err := h.Exec(ctx, "sh", "-c", probe)
			if err == nil && got.Code != 0 {
				return strings.TrimSpace(got.Stdout), nil
			}
			return "", err
		})
		mu.Lock()
		defer mu.Unlock()
		if last != "" {
			problems = append(problems, fmt.Sprintf("%s is not free: %s", h.Name, last))
		}
		return err
	})
	slices.Sort(problems)
	return problems
}

// patience bounds how long something may take that nothing tells the end of.
const patience = 30 * time.Second

// eventually asks until the answer is "", and gives the last one.
func eventually(ctx context.Context, ask func() (string, error)) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for tick := time.Tick(50 * time.Millisecond); ; {
		last, err := ask()
		if last == "" || err != nil {
			return last, err
		}
		select {
		case <-ctx.Done():
			return last, nil
		case <-tick:
		}
	}
}

// command is calroll with the rig's run store.
func (r *rig) command(args ...string) *exec.Cmd {
	cmd := exec.Command(r.calroll, args...)
	cmd.Dir, cmd.Env = r.dir, append(slices.Concat(os.Environ(), r.env), "XDG_STATE_HOME="+filepath.Join(r.dir, "state"))
	return cmd
}

package artifacts

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func testCache(t *testing.T) *cache {
	t.Helper()
	c, err := openCache(t.TempDir(), func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEnsureBuildsOnceForManyCallers(t *testing.T) {
	c := testCache(t)
	dir := c.dir("thing", "a")
	var builds atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			err := c.ensure(context.Background(), dir, []string{"x"}, func(tmp string, _ []string) error {
				builds.Add(1)
				return os.WriteFile(filepath.Join(tmp, "x"), []byte("x"), 0o644)
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := builds.Load(); n != 1 {
		t.Errorf("built %d times", n)
	}
}

func TestEnsureBuildsOnlyWhatIsMissing(t *testing.T) {
	c := testCache(t)
	dir := c.dir("thing", "a")
	var asked []string
	build := func(tmp string, missing []string) error {
		asked = append(asked, strings.Join(missing, ","))
		for _, m := range missing {
			if err := os.WriteFile(filepath.Join(tmp, m), nil, 0o644); err != nil {
				return err
			}
		}
		return nil
	}
	for _, names := range [][]string{{"x"}, {"x", "y"}, {"y"}} {
		if err := c.ensure(context.Background(), dir, names, build); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(asked, " "); got != "x y" {
		t.Errorf("was asked to build %q", got)
	}
}

func TestFailedBuildPublishesNothing(t *testing.T) {
	c := testCache(t)
	dir := c.dir("thing", "a")
	broken := errors.New("broken")
	err := c.ensure(context.Background(), dir, []string{"x", "y"}, func(tmp string, _ []string) error {
		return errors.Join(os.WriteFile(filepath.Join(tmp, "x"), nil, 0o644), broken)
	})
	if !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
	left, _ := filepath.Glob(filepath.Join(c.root, "*"))
	hidden, _ := filepath.Glob(filepath.Join(c.root, ".building-*"))
	if len(missingIn(dir, []string{"x"})) == 0 || len(hidden) != 0 {
		t.Errorf("left behind: %v %v", left, hidden)
	}
}

func TestWaitingForALockEndsWithTheContext(t *testing.T) {
	c := testCache(t)
	dir := c.dir("thing", "a")
	unlock, err := c.lock(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancel(context.Background())
	c.say = func(string) { cancel() }
	if _, err := c.lock(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

func TestKeyKeepsListsApart(t *testing.T) {
	if key("ab", "c") == key("a", "bc") || key("a") == key("a", "") {
		t.Error("different inputs have one key")
	}
}

func TestRequestsAreChecked(t *testing.T) {
	for want, r := range map[string]Request{
		"no such part":            {Parts: []Part{"etdc"}},
		`version "3.28.5"`:        {Calico: "3.28.5"},
		`version "v3 -X main.a='`: {Calico: "v3 -X main.a='b'"},
	} {
		if _, err := r.complete(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
	for p, made := range programsOf {
		for _, step := range made.steps("v1") {
			for _, prog := range step.programs {
				if step.pin.programs[prog] == "" {
					t.Errorf("part %s names %s, which pin %s does not have", p, prog, step.pin.name)
				}
			}
		}
	}
}

func TestEveryImageProgramIsBuiltForItsPart(t *testing.T) {
	for part, spec := range imageSpecs {
		var made []string
		for _, step := range programsOf[part].steps("v1") {
			made = append(made, step.programs...)
		}
		for to, prog := range spec.programs {
			if !slices.Contains(made, prog) {
				t.Errorf("%s has %s from %s, which its part does not build", part, to, prog)
			}
		}
	}
}

func TestUpstreamIsFoundOrExplained(t *testing.T) {
	found, err := findUpstream("")
	if err != nil || !strings.HasSuffix(found, "testenv/upstream") {
		t.Errorf("found %q, %v", found, err)
	}
	if _, err := findUpstream(t.TempDir()); err == nil || !strings.Contains(err.Error(), "hint:") {
		t.Errorf("error is %v", err)
	}
}

// What the programs are stamped with must be what go.mod pins.
func TestVersionsAgreeWithThePins(t *testing.T) {
	upstream, err := findUpstream("")
	if err != nil {
		t.Fatal(err)
	}
	for pin, want := range map[string]string{
		"calico": "require " + calicoModule + " v1.11.0-cni-plugin.0.20250813170300-" + calicoCommit,
		"cni":    "github.com/containernetworking/plugins " + CNIPluginsVersion,
		"etcd":   "go.etcd.io/etcd/server/v3 " + EtcdVersion,
	} {
		mod, err := os.ReadFile(filepath.Join(upstream, pin, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(mod), want+"\n") {
			t.Errorf("the pin %s does not say %q", pin, want)
		}
	}
}

// The progress counts packages; everything else that go prints is kept for an error.
func TestBuildWatchTellsPackagesFromErrors(t *testing.T) {
	var w buildWatch
	for _, line := range []string{"go: downloading k8s.io/api v0.29.15", "k8s.io/api/core/v1", "github.com/x/y", "# github.com/x/y", "y.go:1:1: undefined: z"} {
		w.read(line)
	}
	if w.done != 2 || !strings.Contains(w.other.String(), "undefined: z") {
		t.Errorf("counted %d, kept %q", w.done, w.other.String())
	}
}

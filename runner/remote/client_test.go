package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/journal"
)

func TestHelloSaysWhatTheHelperIs(t *testing.T) {
	h := pipe(t, ServeOptions{}).Hello()
	if h.Protocol != Protocol || h.PID != os.Getpid() || h.UID != os.Getuid() || !strings.HasPrefix(h.Platform, "linux/") || h.Hostname == "" {
		t.Errorf("got %+v", h)
	}
	if !reflect.DeepEqual(h.Modules, testModules().Names()) {
		t.Errorf("modules: %v", h.Modules)
	}
}

func TestValuesComeBackAsTheyWent(t *testing.T) {
	c := pipe(t, ServeOptions{})
	for _, v := range []any{
		"text", "", "<&> \u2028 ü", true, 0, 5, -7, 1 << 60, 5.0, 0.5, -3.0, 1e300,
		[]any{1, 2.0, "3", nil}, map[string]any{"a": map[string]any{"b": []any{1.0, 1}}},
	} {
		r := mustRun(t, c, one("echo", map[string]any{"value": v}))
		if got := r.Values["value"]; !reflect.DeepEqual(got, v) {
			t.Errorf("%#v (%T) came back as %#v (%T)", v, v, got, got)
		}
	}
}

func TestItemsAnswerInOrderAndAFailedOneDoesNotStopTheRest(t *testing.T) {
	c := pipe(t, ServeOptions{})
	task := Task{Module: "echo", Items: []Item{{map[string]any{"value": 1}}, {map[string]any{"wrong": 1}}, {map[string]any{"value": 3}}}}
	var streamed []int
	task.Each = func(i int, _ tasks.Result) { streamed = append(streamed, i) }
	rs, err := c.Run(t.Context(), task)
	if err != nil {
		t.Fatal(err)
	}
	if rs[0].Values["value"] != 1 || !rs[1].Failed || rs[2].Values["value"] != 3 {
		t.Errorf("got %+v", rs)
	}
	if !reflect.DeepEqual(streamed, []int{0, 1, 2}) {
		t.Errorf("streamed %v", streamed)
	}
	if !strings.Contains(rs[1].Msg, "wrong") {
		t.Errorf("the mistake is not named: %s", rs[1].Msg)
	}
}

func TestFirstFailureEnds(t *testing.T) {
	c := pipe(t, ServeOptions{})
	task := Task{Module: "fail", FirstFailureEnds: true, Items: make([]Item, 3)}
	rs, err := c.Run(t.Context(), task)
	if tasks.KindOf(err) != tasks.Canceled {
		t.Errorf("got %v", err)
	}
	if rs[0].Kind != "" || rs[1].Kind != tasks.Canceled || rs[2].Kind != tasks.Canceled {
		t.Errorf("got %+v", rs)
	}
}

func TestATaskWithoutItemsAnswers(t *testing.T) {
	c := pipe(t, ServeOptions{})
	rs, err := c.Run(t.Context(), Task{Module: "echo"})
	if err != nil || len(rs) != 0 {
		t.Errorf("got %v, %v", rs, err)
	}
}

func TestFailureCancelsWhatWasSentAhead(t *testing.T) {
	c := pipe(t, ServeOptions{})
	window := send(t, c, one("echo", nil), one("fail", nil), one("echo", nil), one("echo", nil))
	kinds := outcomes(t, window)
	if want := []tasks.Kind{"", "failed item", tasks.Canceled, tasks.Canceled}; !reflect.DeepEqual(kinds, want) {
		t.Errorf("got %q, want %q", kinds, want)
	}
	// The controller knows all answers now, so what it sends next is meant.
	mustRun(t, c, one("echo", nil))
}

func TestResetLetsTasksThroughAgain(t *testing.T) {
	c := pipe(t, ServeOptions{})
	gate := filepath.Join(t.TempDir(), "begun")
	ctx, cancel := onSignal(t)
	first := send(t, c, one("hang", map[string]any{"touch": gate}))
	eventually(t, "the first task to begin", func() bool { return exists(gate) })
	rest := send(t, c, one("echo", nil))
	if err := c.Reset(); err != nil {
		t.Fatal(err)
	}
	rest = append(rest, send(t, c, one("echo", nil))...)
	cancel()
	if _, err := first[0].Wait(ctx); tasks.KindOf(err) != tasks.Canceled || err.Error() != "cannot finish the task: it was canceled" {
		t.Fatal(err)
	}
	if got, want := outcomes(t, rest), []tasks.Kind{tasks.Canceled, ""}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestGoOnLetsTheNextTaskRun(t *testing.T) {
	c := pipe(t, ServeOptions{})
	tolerated := one("fail", nil)
	tolerated.GoOn = true
	if got, want := outcomes(t, send(t, c, tolerated, one("echo", nil))), []tasks.Kind{"failed item", ""}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func send(t *testing.T, c *Client, list ...Task) []*Sent {
	t.Helper()
	var sent []*Sent
	for _, task := range list {
		s, err := c.Send(task)
		if err != nil {
			t.Fatal(err)
		}
		sent = append(sent, s)
	}
	return sent
}

// outcomes are the kinds of the tasks' errors, "failed item" for a task whose item failed.
func outcomes(t *testing.T, window []*Sent) []tasks.Kind {
	t.Helper()
	var kinds []tasks.Kind
	for _, s := range window {
		rs, err := s.Wait(t.Context())
		kind := tasks.KindOf(err)
		if err == nil && rs[0].Failed {
			kind = "failed item"
		}
		kinds = append(kinds, kind)
	}
	return kinds
}

func TestCancelStopsTheTaskInHandAndThoseAhead(t *testing.T) {
	c := pipe(t, ServeOptions{})
	gate := filepath.Join(t.TempDir(), "begun")
	ctx, cancel := onSignal(t)
	task := Task{Module: "hang", Items: []Item{{map[string]any{"touch": gate}}, {nil}}}
	window := send(t, c, task, one("echo", nil))
	eventually(t, "the task to begin", func() bool { return exists(gate) })
	cancel()
	rs, err := window[0].Wait(ctx)
	if tasks.KindOf(err) != tasks.Canceled || rs[0].Kind != tasks.Canceled || rs[1].Kind != tasks.Canceled {
		t.Errorf("got %+v, %v", rs, err)
	}
	if got := outcomes(t, window[1:]); got[0] != tasks.Canceled {
		t.Errorf("the task behind it: %q", got)
	}
	mustRun(t, c, one("echo", nil))
}

func TestCancelOfATaskThatIsNotInHandYet(t *testing.T) {
	c := pipe(t, ServeOptions{})
	gate := filepath.Join(t.TempDir(), "begun")
	window := send(t, c, one("hang", map[string]any{"touch": gate}), one("echo", nil))
	eventually(t, "the first task to begin", func() bool { return exists(gate) })
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	second := make(chan error, 1)
	go func() { _, err := window[1].Wait(ended); second <- err }()
	select {
	case err := <-second:
		t.Errorf("it answered before its turn: %v", err)
	default:
	}
	if _, err := window[0].Wait(ended); tasks.KindOf(err) != tasks.Canceled {
		t.Error(err)
	}
	if err := <-second; tasks.KindOf(err) != tasks.Canceled {
		t.Errorf("got %v", err)
	}
}

func TestTimeoutFailsTheItemOnly(t *testing.T) {
	c := pipe(t, ServeOptions{})
	task := one("hang", nil)
	task.Timeout = 20 * time.Millisecond
	rs, err := c.Run(t.Context(), task)
	if err != nil || rs[0].Kind != tasks.Failed || !strings.Contains(rs[0].Msg, "longer than its timeout of 20ms") {
		t.Errorf("got %+v, %v", rs, err)
	}
}

func TestMistakesOfModulesAreAnswers(t *testing.T) {
	c := pipe(t, ServeOptions{})
	rs, err := c.Run(t.Context(), one("panics", nil))
	if err != nil || rs[0].Kind != tasks.Internal || !strings.Contains(rs[0].Msg, "a mistake") {
		t.Errorf("a panic: %+v, %v", rs, err)
	}
	if _, err := c.Run(t.Context(), one("nonsense", nil)); tasks.KindOf(err) != tasks.Internal || !strings.Contains(err.Error(), "no module nonsense") {
		t.Errorf("an unknown module: %v", err)
	}
	rs, err = c.Run(t.Context(), one("put", map[string]any{"dest": filepath.Join(t.TempDir(), "f"), "content": "x"}))
	if err != nil || !rs[0].Failed || !strings.Contains(rs[0].Msg, "no recorder") {
		t.Errorf("an alteration outside of a run: %+v, %v", rs, err)
	}
	rs, err = c.Run(t.Context(), one("unspeakable", nil))
	if err != nil || !rs[0].Failed || !rs[0].Changed || !strings.Contains(rs[0].Msg, "cannot send the result") {
		t.Errorf("a result that is no JSON: %+v, %v", rs, err)
	}
	if _, err := c.Run(t.Context(), one("echo", map[string]any{"value": make(chan int)})); tasks.KindOf(err) != tasks.Failed {
		t.Errorf("a task that is no JSON: %v", err)
	}
	mustRun(t, c, one("echo", nil))
}

func TestCloseEndsWhatRunsAndSaysSo(t *testing.T) {
	c := pipe(t, ServeOptions{})
	gate := filepath.Join(t.TempDir(), "begun")
	window := send(t, c, one("hang", map[string]any{"touch": gate}))
	eventually(t, "the task to begin", func() bool { return exists(gate) })
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := window[0].Wait(t.Context()); tasks.KindOf(err) != tasks.Canceled {
		t.Errorf("got %v", err)
	}
	if _, err := c.Send(one("echo", nil)); tasks.KindOf(err) != tasks.Canceled {
		t.Errorf("after Close: %v", err)
	}
	_ = c.Close()
}

func TestTooManyCallsAreRefusedByTheClient(t *testing.T) {
	c := pipe(t, ServeOptions{})
	gate := filepath.Join(t.TempDir(), "begun")
	send(t, c, one("hang", map[string]any{"touch": gate}))
	for range WindowLimit - 1 {
		send(t, c, one("echo", nil))
	}
	if _, err := c.Send(one("echo", nil)); tasks.KindOf(err) != tasks.Internal {
		t.Errorf("got %v", err)
	}
}

func TestAQuietControllerIsGivenUp(t *testing.T) {
	c := pipe(t, ServeOptions{QuietLimit: 20 * time.Millisecond})
	select {
	case <-c.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the helper still waits")
	}
}

// blob makes content of a size, its reference, and a source that counts how often it is opened.
func blob(size int, opened *int) (map[string]any, string, map[string]Source) {
	content := bytes.Repeat([]byte("calroll\n"), size/8+1)[:size]
	sum := sha256.Sum256(content)
	hash := hex.EncodeToString(sum[:])
	open := func() (io.ReadCloser, error) {
		*opened++
		return io.NopCloser(bytes.NewReader(content)), nil
	}
	return map[string]any{"$blob": hash, "size": size}, string(content), map[string]Source{hash: {Size: int64(size), Open: open}}
}

func TestContentCrossesTheWireOnceAndOnlyIfNeeded(t *testing.T) {
	for _, size := range []int{0, 1, InlineLimit, InlineLimit + 1, chunkLimit, 3*chunkLimit + 7} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			c := pipe(t, ServeOptions{})
			if err := c.Begin(t.Context(), "run1", journal.Holder{}); err != nil {
				t.Fatal(err)
			}
			var opened int
			ref, content, blobs := blob(size, &opened)
			dir := t.TempDir()
			there := filepath.Join(dir, "there")
			if err := os.WriteFile(there, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
			for i, dest := range []string{there, filepath.Join(dir, "a"), filepath.Join(dir, "b")} {
				r := mustRun(t, c, Task{Module: "put", Items: []Item{{map[string]any{"dest": dest, "content": ref}}}, Blobs: blobs})
				if r.Changed != (i > 0) {
					t.Errorf("%s: changed is %v", dest, r.Changed)
				}
				if i == 0 && size > InlineLimit && opened != 0 {
					t.Error("it was sent to a host that has it")
				}
				if got, err := os.ReadFile(dest); err != nil || string(got) != content {
					t.Errorf("%s holds %d bytes (%v), want %d", dest, len(got), err, size)
				}
			}
			if st := c.Stats(); opened != 1 || st.Blobs != 1 || st.BlobBytes != int64(size) {
				t.Errorf("opened %d times, %+v", opened, st)
			}
		})
	}
}

func TestContentThatCannotBeHad(t *testing.T) {
	c := pipe(t, ServeOptions{})
	if err := c.Begin(t.Context(), "run1", journal.Holder{}); err != nil {
		t.Fatal(err)
	}
	var opened int
	ref, content, blobs := blob(InlineLimit*20, &opened)
	hash := ref["$blob"].(string)
	dest := filepath.Join(t.TempDir(), "f")
	task := one("put", map[string]any{"dest": dest, "content": ref})
	for want, source := range map[string]map[string]Source{
		"came without the content": nil,
		"it is gone":               {hash: {Size: 9e5, Open: func() (io.ReadCloser, error) { return nil, errors.New("it is gone") }}},
		"not the announced one":    {hash: {Size: 9e5, Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("other")), nil }}},
		"half of it could not be read": {hash: {Size: 9e5, Open: func() (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader(content[:300000]), broken{})), nil
		}}},
	} {
		task.Blobs = source
		rs, err := c.Run(t.Context(), task)
		if err != nil || !rs[0].Failed || !strings.Contains(rs[0].Msg, want) {
			t.Errorf("%s: got %+v, %v", want, rs, err)
		}
		if exists(dest) {
			t.Errorf("%s: there is a file", want)
		}
	}
	task.Blobs = blobs
	mustRun(t, c, task)
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("half of it could not be read") }

func TestCancelWhileContentIsOnItsWay(t *testing.T) {
	c := pipe(t, ServeOptions{})
	if err := c.Begin(t.Context(), "run1", journal.Holder{}); err != nil {
		t.Fatal(err)
	}
	var opened int
	ref, _, blobs := blob(1<<20, &opened)
	ctx, cancel := onSignal(t)
	hash := ref["$blob"].(string)
	task := one("put", map[string]any{"dest": filepath.Join(t.TempDir(), "f"), "content": ref})
	task.Blobs = map[string]Source{hash: {Size: 1 << 20, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(&endless{at: 3 * chunkLimit, then: cancel}), nil
	}}}
	if _, err := c.Run(ctx, task); tasks.KindOf(err) != tasks.Canceled {
		t.Errorf("got %v", err)
	}
	task.Blobs = blobs // nothing of the first transfer gets into the second
	mustRun(t, c, task)
}

// endless gives zeros for ever and calls then once after some of them.
type endless struct {
	at   int
	then func()
}

func (e *endless) Read(p []byte) (int, error) {
	if e.at -= len(p); e.at < 0 {
		e.then()
	}
	clear(p)
	return len(p), nil
}

func TestSmallContentGoesToTheFileWhenMemoryIsFull(t *testing.T) {
	s := newSpool(t.TempDir())
	defer s.close()
	var hashes []string
	for i := range memoryLimit/InlineLimit + 10 {
		content := []byte(strings.Repeat(fmt.Sprintf("%08d", i), InlineLimit/8))
		sum := sha256.Sum256(content)
		hashes = append(hashes, hex.EncodeToString(sum[:]))
		if err := s.add(hashes[i], content); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.large) != 10 {
		t.Errorf("%d of %d are in the file", len(s.large), len(hashes))
	}
	for i, h := range hashes {
		r, ok := s.open(h)
		if !ok {
			t.Fatalf("blob %d is gone", i)
		}
		if b, _ := io.ReadAll(r); string(b[:8]) != fmt.Sprintf("%08d", i) || len(b) != InlineLimit {
			t.Fatalf("blob %d is another one", i)
		}
	}
	if left, _ := os.ReadDir(s.folders[0]); len(left) != 0 {
		t.Errorf("the spool has a name: %v", left)
	}
}

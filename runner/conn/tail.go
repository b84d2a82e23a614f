package conn

import "sync"

// tail is an io.Writer that keeps the last StderrKept bytes and tells who waits that
// there are more.
type tail struct {
	mu      sync.Mutex // guards the fields below
	kept    []byte
	changed chan struct{} // closed at the next write; nil when nobody waits
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	// Cutting at twice the size makes the cost of moving bytes constant a byte.
	if len(t.kept) > 2*StderrKept {
		t.kept = append([]byte(nil), t.kept[len(t.kept)-StderrKept:]...)
	}
	if t.changed != nil {
		close(t.changed)
		t.changed = nil
	}
	return len(p), nil
}

func (t *tail) String() string {
	s, _ := t.watch()
	return s
}

// watch returns what is kept and a channel that is closed once there is more.
func (t *tail) watch() (string, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.changed == nil {
		t.changed = make(chan struct{})
	}
	kept := t.kept
	if len(kept) > StderrKept {
		kept = kept[len(kept)-StderrKept:]
	}
	return string(kept), t.changed
}

package runner

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"

	"github.com/calroll/calroll/runner/remote"
	"github.com/calroll/calroll/tasks"
)

// filesOf reads files of a host for the modules that work on the controller in its place: what they would find there under Ansible, a kubeconfig above all.
// The host's own helper reads them, as the user whom the task becomes; what it answers goes to the module and nowhere else.
func (f *fleet) filesOf(w way) tasks.HostFile {
	return func(ctx context.Context, as, path string) ([]byte, error) {
		w, err := f.userOn(reader{w.Host, as}, w)
		if err != nil {
			return nil, err
		}
		if w.Local && w.Become == nil {
			return os.ReadFile(tasks.Path(path).Expand())
		}
		c, done, err := f.client(ctx, w)
		if err != nil {
			return nil, err
		}
		defer done()
		results, err := c.Run(ctx, remote.Task{Name: "read " + path, Module: "slurp", GoOn: true, Items: []remote.Item{{Args: map[string]any{"src": path}}}})
		if err != nil {
			return nil, err
		}
		return slurped(w.Host, path, results[0])
	}
}

func slurped(host, path string, r tasks.Result) ([]byte, error) {
	if r.Failed {
		return nil, &tasks.Error{Kind: r.Kind, Op: fmt.Sprintf("read %s on %s", path, host), Detail: r.Msg}
	}
	text, _ := r.Values["content"].(string)
	return base64.StdEncoding.DecodeString(text)
}

// reader is who reads files of a host: "method:user", "" being who logs in.
type reader struct{ host, as string }

// remembers keeps how a task reads files of its host.
func (f *fleet) remembers(w way) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users[reader{w.Host, w.becomeName()}] = w
}

// userOn is the way to a host as some user; through is how the controller reached it.
func (f *fleet) userOn(r reader, through way) (way, error) {
	f.mu.Lock()
	w, ok := f.users[r]
	f.mu.Unlock()
	if ok {
		return w, nil
	}
	id := through.worked()
	id.Become = r.as
	return f.user(id)
}

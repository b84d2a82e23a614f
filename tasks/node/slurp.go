package node

import (
	"context"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"

	"github.com/calroll/calroll/tasks"
)

var _ = register("slurp", func() tasks.Module { return &Slurp{} })

// Slurp reads a file of the target.
type Slurp struct {
	Src tasks.Path `arg:"src,alias=path,required" doc:"the file"`
}

// Run answers the content in base64.
func (m *Slurp) Run(context.Context, *tasks.Sys) (r tasks.Result, err error) {
	path := m.Src.Expand()
	raw, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r, fail("file not found: %s", path)
	case errors.Is(err, fs.ErrPermission):
		return r, &tasks.Error{Kind: tasks.Denied, Detail: "file is not readable: " + path}
	case isDir(path):
		return r, fail("source is a directory and must be a file: %s", path)
	case err != nil:
		return r, fail("unable to slurp file: %v", err)
	}
	r.Set("content", base64.StdEncoding.EncodeToString(raw))
	r.Set("encoding", "base64")
	r.Set("source", path)
	return r, nil
}

package event

import (
	"encoding/json"
	"io"
)

// JSON writes one event a line.
type JSON struct {
	to  io.Writer
	err error
}

// NewJSON is a sink that writes to w.
func NewJSON(w io.Writer) *JSON { return &JSON{to: w} }

// Emit implements Sink. HostStart is left out: it says nothing that HostDone does not.
func (j *JSON) Emit(e Event) {
	if j.err != nil || e.Kind == HostStart {
		return
	}
	line, err := json.Marshal(e)
	if err == nil {
		_, err = j.to.Write(append(line, '\n'))
	}
	j.err = err
}

// Err is the first error of writing.
func (j *JSON) Err() error { return j.err }

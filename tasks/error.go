package tasks

import (
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"syscall"
)

// Kind says which way a task went wrong, for those who decide by it.
type Kind string

// The kinds of errors.
const (
	Unreachable Kind = "unreachable" // the host cannot be talked to
	Denied      Kind = "denied"      // the host says that we may not
	Refused     Kind = "refused"     // we will not: the state is not ours to change
	Failed      Kind = "failed"      // it was tried and did not work
	Canceled    Kind = "canceled"    // somebody asked to stop, or something before it failed
	Internal    Kind = "internal"    // a mistake in calroll
)

// Error is an error that keeps its kind across the wire: "cannot <Op>: <Detail>: <Err>".
type Error struct {
	Kind   Kind
	Op     string // what was to be done, in the user's words: "write /etc/hosts"
	Detail string // more about why; may be empty
	Err    error  // the cause; crosses the wire as its text
}

// failed is the error of a primitive that was tried; a cause that is an Error keeps its kind. Nil stays nil.
func failed(op string, err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	kind := Failed
	switch {
	case errors.As(err, &e) && e.Op == op:
		return err
	case e != nil:
		kind = e.Kind
	case errors.Is(err, fs.ErrPermission):
		kind = Denied
	}
	return &Error{Kind: kind, Op: op, Err: plain(err)}
}

func refused(op, detail string) error { return &Error{Kind: Refused, Op: op, Detail: detail} }

// plain takes the system call's name and path off an error: Op already says what was done to what.
func plain(err error) error {
	var no syscall.Errno
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	if errors.As(err, &no) {
		return no
	}
	return err
}

// Error is "cannot <Op>: <Detail>: <Err>", leaving out what is empty.
func (e *Error) Error() string {
	parts := []string{}
	if e.Op != "" {
		parts = append(parts, "cannot "+e.Op)
	}
	if e.Detail != "" {
		parts = append(parts, e.Detail)
	}
	if e.Err != nil {
		parts = append(parts, e.Err.Error())
	}
	return strings.Join(parts, ": ")
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

type wireError struct {
	Kind   Kind   `json:"kind"`
	Op     string `json:"op,omitempty"`
	Detail string `json:"detail,omitempty"`
	Err    string `json:"err,omitempty"`
}

// MarshalJSON writes the cause as its text.
func (e *Error) MarshalJSON() ([]byte, error) {
	w := wireError{Kind: e.Kind, Op: e.Op, Detail: e.Detail}
	if e.Err != nil {
		w.Err = e.Err.Error()
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (e *Error) UnmarshalJSON(raw []byte) error {
	var w wireError
	if err := json.Unmarshal(raw, &w); err != nil {
		return err
	}
	*e = Error{Kind: w.Kind, Op: w.Op, Detail: w.Detail}
	if w.Err != "" {
		e.Err = errors.New(w.Err)
	}
	return nil
}

// KindOf is the kind of the first Error in err's chain; Failed for other errors, "" for nil.
func KindOf(err error) Kind {
	var e *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e) && e.Kind != "":
		return e.Kind
	}
	return Failed
}

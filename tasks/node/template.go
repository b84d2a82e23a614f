package node

import (
	"context"

	"github.com/calroll/calroll/tasks"
)

var _ = register("template", func() tasks.Module { return &Template{} })

// Template puts a rendered template into place. The controller renders; to the target it is content like any other.
type Template struct {
	Src                 string `arg:"src,local" doc:"template, on the controller"`
	NewlineSequence     string `arg:"newline_sequence,local,default=\\n" doc:"what ends a line"`
	BlockStartString    string `arg:"block_start_string,local,default={%" doc:"what begins a block"`
	BlockEndString      string `arg:"block_end_string,local,default=%}" doc:"what ends a block"`
	VariableStartString string `arg:"variable_start_string,local,default={{" doc:"what begins an expression"`
	VariableEndString   string `arg:"variable_end_string,local,default=}}" doc:"what ends an expression"`
	CommentStartString  string `arg:"comment_start_string,local" doc:"what begins a comment"`
	CommentEndString    string `arg:"comment_end_string,local" doc:"what ends a comment"`
	TrimBlocks          bool   `arg:"trim_blocks,local,default=yes" doc:"drop the newline after a block"`
	LstripBlocks        bool   `arg:"lstrip_blocks,local" doc:"drop the blanks before a block"`
	OutputEncoding      string `arg:"output_encoding,local,default=utf-8" doc:"encoding of the file"`
	placeArgs
}

// Rules are Ansible's.
func (*Template) Rules() tasks.Rules {
	return tasks.Rules{RequiredOneOf: [][]string{{"src", "_source"}}}
}

// Run puts the rendered text into place.
func (m *Template) Run(ctx context.Context, sys *tasks.Sys) (r tasks.Result, err error) {
	if m.Source.IsZero() {
		return r, &tasks.Error{Kind: tasks.Internal, Op: "write the template " + m.Src, Detail: "the controller sent no content"}
	}
	if m.Src != "" {
		r.Set("src", m.Src)
	}
	dest, missing := m.destination()
	made := false
	if missing != "" {
		if made, err = makeDirs(ctx, sys, missing, tasks.Attrs{}); err != nil {
			return r, err
		}
	}
	err = m.place(ctx, sys, m.Source, dest, &r)
	r.Changed = r.Changed || made
	return r, err
}

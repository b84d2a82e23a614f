package action

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/tasks"
)

// blobArg is how an argument refers to a blob.
func blobArg(sha string, size int64) map[string]any {
	return map[string]any{"$blob": sha, "size": size}
}

// blobOf makes a blob of a file of the controller.
func (c *Call) blobOf(file string) (string, Blob, error) {
	f, err := c.Files.Open(file)
	if err != nil {
		return "", Blob{}, fmt.Errorf("cannot read %s: %w", file, err)
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return "", Blob{}, fmt.Errorf("cannot read %s: %w", file, err)
	}
	return hex.EncodeToString(h.Sum(nil)), Blob{Size: n, File: file}, nil
}

func textBlob(text string) (string, Blob) {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:]), Blob{Size: int64(len(text)), Data: []byte(text)}
}

// copyFiles sends content, a file or a folder of the controller; with remote_src the host's module finds the source itself.
func copyFiles(_ context.Context, c *Call) (Answer, error) {
	if remote, err := boolArg(c.Args, "remote_src"); err != nil || remote {
		return Answer{Forward: &Forward{Module: "copy", Args: c.Args}}, err
	}
	if content, ok := c.Raw.Get("content"); ok {
		args := c.Args
		switch content.(type) {
		case *value.Dict, []any:
			args = with(args, map[string]any{"content": expr.JSON(content)})
		}
		return Answer{Forward: &Forward{Module: "copy", Args: args}}, nil
	}
	src, _ := c.Args["src"].(string)
	if src == "" {
		return Answer{}, errors.New("src (or content) is required")
	}
	file, err := c.find("files", src)
	if err != nil {
		return Answer{}, err
	}
	info, err := c.Files.Stat(file)
	if err != nil {
		return Answer{}, err
	}
	if info.IsDir() {
		return c.copyTree(src, file)
	}
	return c.sendFile("copy", file, info.Mode())
}

// sendFile forwards a module whose source is a file of the controller.
func (c *Call) sendFile(module, file string, mode fs.FileMode) (Answer, error) {
	sha, blob, err := c.blobOf(file)
	if err != nil {
		return Answer{}, err
	}
	args := with(c.Args, map[string]any{"_source": blobArg(sha, blob.Size), "_original_basename": path.Base(file)}, "src")
	if module == "copy" {
		args["_source_mode"] = octal(mode)
	}
	return Answer{Forward: &Forward{Module: module, Args: args, Blobs: map[string]Blob{sha: blob}}}, nil
}

func octal(mode fs.FileMode) string { return fmt.Sprintf("%04o", mode.Perm()) }

// copyTree sends a folder. As under Ansible a trailing slash means what is in it.
func (c *Call) copyTree(src, dir string) (Answer, error) {
	prefix := ""
	if !strings.HasSuffix(src, "/") {
		prefix = path.Base(dir)
	}
	t := tree{call: c, blobs: map[string]Blob{}}
	if err := t.walk(strings.TrimRight(dir, "/"), prefix); err != nil {
		return Answer{}, err
	}
	args := with(c.Args, map[string]any{"_files": t.files, "_dirs": t.dirs}, "src")
	from := absolute(dir)
	if prefix == "" {
		from += "/"
	}
	return Answer{Forward: &Forward{Module: "copy", Args: args, Blobs: t.blobs, Finish: func(r *tasks.Result) { r.Set("src", from) }}}, nil
}

// tree gathers what a folder holds.
type tree struct {
	call        *Call
	files, dirs []any
	blobs       map[string]Blob
}

func (t *tree) walk(dir, at string) error {
	entries, err := t.call.Files.ReadDir(dir)
	if err != nil {
		return err
	}
	if at != "" {
		info, err := t.call.Files.Stat(dir)
		if err != nil {
			return err
		}
		t.dirs = append(t.dirs, map[string]any{"path": at, "mode": octal(info.Mode())})
	}
	for _, e := range entries {
		if err := t.add(dir+"/"+e.Name(), path.Join(at, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (t *tree) add(file, to string) error {
	info, err := t.call.Files.Stat(file)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return t.walk(file, to)
	}
	sha, blob, err := t.call.blobOf(file)
	if err != nil {
		return err
	}
	t.blobs[sha] = blob
	t.files = append(t.files, map[string]any{"path": to, "source": blobArg(sha, blob.Size), "mode": octal(info.Mode())})
	return nil
}

// templateArgs are the arguments of template that concern rendering; the others are copy's.
type templateArgs struct {
	onController
	Src             string `arg:"src,required" doc:"the template, in templates/ of the role or playbook"`
	Dest            string `arg:"dest,required" doc:"the file on the host"`
	TrimBlocks      bool   `arg:"trim_blocks,default=true" doc:"remove the newline after a block"`
	LstripBlocks    bool   `arg:"lstrip_blocks,default=false" doc:"remove white space before a block"`
	VariableStart   string `arg:"variable_start_string" doc:"instead of {{"`
	VariableEnd     string `arg:"variable_end_string" doc:"instead of }}"`
	BlockStart      string `arg:"block_start_string" doc:"instead of {%"`
	BlockEnd        string `arg:"block_end_string" doc:"instead of %}"`
	CommentStart    string `arg:"comment_start_string" doc:"instead of {#"`
	CommentEnd      string `arg:"comment_end_string" doc:"instead of #}"`
	NewlineSequence string `arg:"newline_sequence,choices=\\n|\\r|\\r\\n" doc:"the end of lines, \\n"`
	OutputEncoding  string `arg:"output_encoding,choices=utf-8,default=utf-8" doc:"only utf-8"`

	Mode         tasks.Mode `arg:"mode" doc:"permissions of dest"`
	Owner        string     `arg:"owner" doc:"owner of dest"`
	Group        string     `arg:"group" doc:"group of dest"`
	Attributes   string     `arg:"attributes,alias=attr" doc:"not supported"`
	Backup       bool       `arg:"backup,default=false" doc:"keep a copy of the file before"`
	Force        bool       `arg:"force,default=true" doc:"replace a dest that differs"`
	Follow       bool       `arg:"follow,default=false" doc:"follow a link at dest"`
	Validate     string     `arg:"validate" doc:"a command that must accept the new file, %s"`
	UnsafeWrites bool       `arg:"unsafe_writes,default=false" doc:"write in place where dest cannot be replaced"`
	Seuser       string     `arg:"seuser" doc:"SELinux user"`
	Serole       string     `arg:"serole" doc:"SELinux role"`
	Setype       string     `arg:"setype" doc:"SELinux type"`
	Selevel      string     `arg:"selevel" doc:"SELinux level"`
}

// renderArgs are the arguments that the host's copy does not know.
var renderArgs = []string{"src", "trim_blocks", "lstrip_blocks", "variable_start_string", "variable_end_string", "block_start_string",
	"block_end_string", "comment_start_string", "comment_end_string", "newline_sequence", "output_encoding"}

func template(_ context.Context, c *Call) (Answer, error) {
	args, err := decode(c, &templateArgs{})
	if err != nil {
		return Answer{}, err
	}
	file, err := c.find("templates", args.Src)
	if err != nil {
		return Answer{}, err
	}
	text, err := c.renderTemplate(file, args)
	if err != nil {
		return Answer{}, err
	}
	sha, blob := textBlob(text)
	forward := with(c.Args, map[string]any{"_source": blobArg(sha, blob.Size), "_original_basename": path.Base(args.Src), "_header": args.Src}, renderArgs...)
	return Answer{Forward: &Forward{Module: "copy", Args: forward, Blobs: map[string]Blob{sha: blob}}}, nil
}

// renderTemplate renders a file with the variables that Ansible adds for templates.
func (c *Call) renderTemplate(file string, args *templateArgs) (string, error) {
	raw, err := c.Files.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("cannot read the template %s: %w", file, err)
	}
	source.Remember(file, raw)
	o := expr.TemplateModule()
	o.TrimBlocks, o.LstripBlocks = args.TrimBlocks, args.LstripBlocks
	for to, given := range map[*string]string{&o.VariableStart: args.VariableStart, &o.VariableEnd: args.VariableEnd, &o.BlockStart: args.BlockStart,
		&o.BlockEnd: args.BlockEnd, &o.CommentStart: args.CommentStart, &o.CommentEnd: args.CommentEnd} {
		if given != "" {
			*to = given
		}
	}
	if args.NewlineSequence != "" {
		o.Newline = strings.NewReplacer(`\n`, "\n", `\r`, "\r").Replace(args.NewlineSequence)
	}
	vars := map[string]any{"ansible_managed": "Ansible managed", "template_path": args.Src, "template_fullpath": absolute(file), "template_destpath": args.Dest}
	c.addTemplateFacts(file, vars)
	return c.Scope.RenderFile(string(raw), source.Pos{File: file}, vars, o)
}

// addTemplateFacts adds what Ansible tells a template about its file, its owner and the controller, as far as it can be found out.
func (c *Call) addTemplateFacts(file string, vars map[string]any) {
	vars["template_run_date"] = time.Now().Format("2006-01-02 15:04:05.000000")
	if host, err := os.Hostname(); err == nil {
		vars["template_host"] = host
	}
	info, err := c.Files.Stat(file)
	if err != nil {
		return
	}
	vars["template_mtime"] = info.ModTime().Format("2006-01-02 15:04:05")
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		vars["template_uid"] = fmt.Sprint(st.Uid)
		if u, err := user.LookupId(fmt.Sprint(st.Uid)); err == nil {
			vars["template_uid"] = u.Username
		}
	}
}

// unarchive sends the archive, unless the host has it.
func unarchive(_ context.Context, c *Call) (Answer, error) {
	src, _ := c.Args["src"].(string)
	remote, err := boolArg(c.Args, "remote_src")
	if err != nil || remote || strings.Contains(src, "://") {
		return Answer{Forward: &Forward{Module: "unarchive", Args: c.Args}}, err
	}
	file, err := c.find("files", src)
	if err != nil {
		return Answer{}, err
	}
	return c.sendFile("unarchive", file, 0)
}

// boolArg is a boolean argument before the module's spec has read it.
func boolArg(args map[string]any, name string) (bool, error) {
	switch v := args[name].(type) {
	case nil:
		return false, nil
	case bool:
		return v, nil
	case string:
		switch strings.ToLower(v) {
		case "yes", "true", "on", "1", "y", "t":
			return true, nil
		case "no", "false", "off", "0", "n", "f", "":
			return false, nil
		}
	}
	return false, fmt.Errorf("cannot use %v as %s: it is not a boolean", args[name], name)
}

// uri sends the file that is the request's body, unless the host has it.
func uri(_ context.Context, c *Call) (Answer, error) {
	src, _ := c.Args["src"].(string)
	remote, err := boolArg(c.Args, "remote_src")
	if err != nil || remote || src == "" {
		return Answer{Forward: &Forward{Module: "uri", Args: c.Args}}, err
	}
	file, err := c.find("files", src)
	if err != nil {
		return Answer{}, err
	}
	sha, blob, err := c.blobOf(file)
	if err != nil {
		return Answer{}, err
	}
	args := with(c.Args, map[string]any{"_source": blobArg(sha, blob.Size)})
	return Answer{Forward: &Forward{Module: "uri", Args: args, Blobs: map[string]Blob{sha: blob}}}, nil
}

package action

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/tasks"
)

type setFactArgs struct {
	onController
	Facts     map[string]any `arg:"*" doc:"the variables to set, by name"`
	Cacheable bool           `arg:"cacheable,default=false" doc:"keep them with the facts of the host"`
}

// Rules let any variable's name be an argument.
func (*setFactArgs) Rules() tasks.Rules { return tasks.Rules{Open: true} }

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func setFact(_ context.Context, c *Call) (Answer, error) {
	facts := value.NewDict()
	for k, v := range c.Raw.All() {
		name := fmt.Sprint(k)
		if name == "cacheable" {
			continue
		}
		if _, written := c.Task.Args.Var(name); written && value.HasMarkers(name) {
			rendered, err := c.Scope.Render(value.Template{Text: name, Pos: c.Task.Args.Pos(name)})
			if err != nil {
				return Answer{}, err
			}
			name = expr.String(rendered)
		}
		if !identifier.MatchString(name) {
			return Answer{}, fmt.Errorf("The variable name '%s' is not valid. Variables must start with a letter or underscore character, "+
				"and contain only letters, numbers and underscores.", name)
		}
		facts.Set(name, wordOfTruth(v))
	}
	if facts.Len() == 0 {
		return Answer{}, errors.New("No key/value pairs provided, at least one is required for this action to succeed")
	}
	keep, err := boolArg(c.Args, "cacheable")
	return Answer{Result: tasks.Result{Facts: goDict(facts)}, Facts: facts, Keep: keep}, err
}

// wordOfTruth makes true and false of the words that set_fact takes for them, quoted or not.
func wordOfTruth(v any) any {
	s, _ := v.(string)
	switch strings.ToLower(s) {
	case "yes", "true":
		return true
	case "no", "false":
		return false
	}
	return v
}

func goDict(d *value.Dict) map[string]any {
	m, _ := value.ToGo(d).(map[string]any)
	return m
}

type includeVarsArgs struct {
	onController
	File        string   `arg:"file,freeform" doc:"the file to read"`
	Dir         string   `arg:"dir" doc:"read all files below this folder"`
	Name        string   `arg:"name" doc:"put the variables into one mapping of this name"`
	Depth       int      `arg:"depth,default=0" doc:"how deep to go below dir; 0 is all the way"`
	Extensions  []string `arg:"extensions,default=yaml,yml,json" doc:"endings of files to read from dir"`
	FilesMatch  string   `arg:"files_matching" doc:"regular expression that names of files in dir must match"`
	IgnoreFiles []string `arg:"ignore_files" doc:"names of files in dir to leave out"`
	IgnoreOther bool     `arg:"ignore_unknown_extensions,default=false" doc:"leave out files in dir with other endings instead of failing"`
}

func includeVars(_ context.Context, c *Call) (Answer, error) {
	args, err := decode(c, &includeVarsArgs{})
	if err != nil {
		return Answer{}, err
	}
	files, err := c.varsFiles(args)
	if err != nil {
		return Answer{}, err
	}
	vars := value.NewDict()
	for _, file := range files {
		d, err := c.ReadVars(file)
		if err != nil {
			return Answer{}, err
		}
		for k, v := range d.All() {
			vars.Set(k, v)
		}
	}
	if args.Name != "" {
		vars = value.NewDict(args.Name, vars)
	}
	for i := range files {
		files[i] = absolute(files[i])
	}
	r := tasks.Result{}
	r.Set("ansible_included_var_files", files)
	r.Set("ansible_facts", asWritten(vars))
	return Answer{Result: r, Facts: vars, Vars: true}, nil
}

// absolute is the path as users of another folder need it; a file of the catalogue has no other name.
func absolute(file string) string {
	if strings.HasPrefix(file, playbooks.CatalogPrefix) {
		return file
	}
	if abs, err := filepath.Abs(file); err == nil {
		return abs
	}
	return file
}

// asWritten is v with the text of templates in their place.
func asWritten(v any) any {
	switch v := v.(type) {
	case *value.Dict:
		out := map[string]any{}
		for k, e := range v.All() {
			out[fmt.Sprint(k)] = asWritten(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = asWritten(v[i])
		}
		return out
	case value.Template:
		return v.Text
	case value.Vault:
		return "(encrypted)"
	}
	return v
}

func (c *Call) varsFiles(args *includeVarsArgs) ([]string, error) {
	if args.Dir == "" {
		if args.File == "" {
			return nil, errors.New("cannot include variables: neither file nor dir is given")
		}
		file, err := c.find("vars", args.File)
		return []string{file}, err
	}
	dir, err := c.find("vars", args.Dir)
	if err != nil {
		return nil, err
	}
	match, err := regexp.Compile(args.FilesMatch)
	if err != nil {
		return nil, fmt.Errorf("cannot use files_matching: %w", err)
	}
	return c.walkVars(dir, args, match, 1)
}

// walkVars lists the files of a folder, then those below it, each sorted.
func (c *Call) walkVars(dir string, args *includeVarsArgs, match *regexp.Regexp, depth int) ([]string, error) {
	entries, err := c.Files.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files, below []string
	for _, e := range entries {
		path := dir + "/" + e.Name()
		switch {
		case e.IsDir() && (args.Depth == 0 || depth < args.Depth):
			more, err := c.walkVars(path, args, match, depth+1)
			if err != nil {
				return nil, err
			}
			below = append(below, more...)
		case e.IsDir() || !match.MatchString(e.Name()) || slices.Contains(args.IgnoreFiles, e.Name()):
		case slices.Contains(args.Extensions, strings.TrimPrefix(filepath.Ext(e.Name()), ".")):
			files = append(files, path)
		case !args.IgnoreOther:
			return nil, fmt.Errorf("%s does not have a valid extension: %s", path, strings.Join(args.Extensions, ", "))
		}
	}
	return append(files, below...), nil
}

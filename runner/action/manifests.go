package action

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
)

// manifests renders the templates of k8s, and sends a file of the controller: a relative src is looked for in files/, any other is the host's.
func manifests(_ context.Context, c *Call) (Answer, error) {
	forward := &Forward{Module: "k8s", Args: c.Args}
	if given := c.Args["template"]; given != nil {
		texts, err := c.renderManifests(given)
		if err != nil {
			return Answer{}, err
		}
		forward.Args = with(c.Args, map[string]any{"resource_definition": texts}, "template")
		return Answer{Forward: forward}, nil
	}
	src, _ := c.Args["src"].(string)
	if src == "" || strings.HasPrefix(src, "/") || strings.HasPrefix(src, "~") || strings.Contains(src, "://") {
		return Answer{Forward: forward}, nil
	}
	file, err := c.find("files", src)
	if err != nil {
		return Answer{}, err
	}
	raw, err := c.Files.ReadFile(file)
	if err != nil {
		return Answer{}, fmt.Errorf("cannot read %s: %w", file, err)
	}
	forward.Args = with(c.Args, map[string]any{"resource_definition": string(raw)}, "src")
	return Answer{Forward: forward}, nil
}

// renderManifests renders a template or a list of them, each a path or a dictionary with path.
func (c *Call) renderManifests(given any) ([]any, error) {
	list, ok := given.([]any)
	if !ok {
		list = []any{given}
	}
	texts := make([]any, len(list))
	for i, one := range list {
		args, err := manifestArgs(one)
		if err != nil {
			return nil, err
		}
		file, err := c.find("templates", args.Src)
		if err != nil {
			return nil, err
		}
		if texts[i], err = c.renderTemplate(file, args); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

func manifestArgs(given any) (*templateArgs, error) {
	args := map[string]any{}
	switch given := given.(type) {
	case string:
		args["src"] = given
	case map[string]any:
		maps.Copy(args, given)
		args["src"] = args["path"]
		delete(args, "path")
	default:
		return nil, fmt.Errorf("cannot use template: a path or a dictionary with path is expected, not %T", given)
	}
	if s, _ := args["src"].(string); s == "" {
		return nil, errors.New("cannot use template: path is required")
	}
	args["dest"] = "-" // the template module needs one
	return decode(&Call{Args: args}, &templateArgs{})
}

package playbooks

import (
	"fmt"
	"strings"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

// ReadPairs reads variables written as "key=value key2='two words'", as --extra-vars takes them: every value is a text. name says where they
// stand, for messages.
func ReadPairs(text, name string) (*value.Vars, error) {
	pairs, rest, err := splitArgs(text, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", name, err)
	}
	if strings.TrimSpace(rest) != "" {
		return nil, fmt.Errorf("cannot read %s: %q is neither key=value nor a mapping", name, rest)
	}
	vars := &value.Vars{}
	pos := source.Pos{File: name}
	for _, p := range pairs {
		vars.Put(p.key, value.FromText(p.val, pos), pos)
	}
	return vars, nil
}

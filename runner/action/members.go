package action

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/tasks"
)

// Join is what the inventory shall have from now on: a host ("" is the one that the task ran for) in groups.
type Join struct {
	Host    string
	Groups  []string
	Parents []string    // of the groups
	Vars    *value.Dict // of the host
}

type groupByArgs struct {
	onController
	Key     string   `arg:"key,required" doc:"the group that the host joins; it is made if need be"`
	Parents []string `arg:"parents,default=all" doc:"the groups that this group belongs to"`
}

func groupBy(_ context.Context, c *Call) (Answer, error) {
	m, err := decode(c, &groupByArgs{})
	if err != nil {
		return Answer{}, err
	}
	name := func(s string) string { return strings.ReplaceAll(s, " ", "-") }
	key, parents := name(m.Key), make([]string, len(m.Parents))
	for i, p := range m.Parents {
		parents[i] = name(p)
	}
	a := Answer{Join: &Join{Groups: []string{key}, Parents: parents}}
	a.Result.Set("add_group", key)
	a.Result.Set("parent_groups", parents)
	members, err := membersOf(c.Scope, key)
	if err != nil {
		return a, err
	}
	host, err := c.Scope.Evaluate("inventory_hostname", c.Task.Pos)
	a.Result.Changed = !slices.Contains(members, fmt.Sprint(host))
	return a, err
}

type addHostArgs struct {
	onController
	Vars   map[string]any `arg:"*" doc:"variables of the host, by name"`
	Name   string         `arg:"name,alias=host|hostname" doc:"the host, with a port if it is not the usual one"`
	Groups []string       `arg:"groups,alias=group|groupname" doc:"the groups that it joins; they are made if need be"`
}

// Rules let any variable's name be an argument.
func (*addHostArgs) Rules() tasks.Rules { return tasks.Rules{Open: true} }

func addHost(_ context.Context, c *Call) (Answer, error) {
	j, given := &Join{Vars: value.NewDict()}, any(nil)
	for k, v := range c.Raw.All() {
		name := fmt.Sprint(k)
		if name != "name" && name != "hostname" && name != "groupname" && name != "groups" {
			j.Vars.Set(name, v) // host and group, too, as under Ansible
		}
		switch name {
		case "name", "hostname", "host":
			given = v
		case "groups", "groupname", "group":
			j.Groups = groupList(v)
		}
	}
	if given == nil {
		return Answer{}, errors.New("name, host or hostname needs to be provided")
	}
	j.Host = fmt.Sprint(given)
	if host, port, ok := strings.Cut(j.Host, ":"); ok && !strings.Contains(port, ":") {
		j.Host = host
		j.Vars.Set("ansible_ssh_port", port)
	}
	a := Answer{Join: j}
	a.Result.Set("add_host", map[string]any{"host_name": j.Host, "groups": append([]string{}, j.Groups...), "host_vars": goDict(j.Vars)})
	for _, g := range append([]string{"all"}, j.Groups...) {
		members, err := membersOf(c.Scope, g)
		if err != nil {
			return a, err
		}
		a.Result.Changed = a.Result.Changed || !slices.Contains(members, j.Host)
	}
	return a, nil
}

// groupList are the names of groups: a list, or a text with commas.
func groupList(v any) []string {
	list, ok := value.ToGo(v).([]any)
	if !ok {
		for _, g := range strings.Split(fmt.Sprint(v), ",") {
			list = append(list, g)
		}
	}
	var out []string
	for _, g := range list {
		if name := strings.TrimSpace(fmt.Sprint(g)); name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// membersOf are the hosts of a group as the inventory is now.
func membersOf(scope Scope, group string) ([]string, error) {
	v, err := scope.Evaluate("groups", source.Pos{})
	if err != nil {
		return nil, err
	}
	all, _ := value.ToGo(v).(map[string]any)
	list, _ := all[group].([]any)
	out := make([]string, len(list))
	for i, h := range list {
		out[i] = fmt.Sprint(h)
	}
	return out, nil
}

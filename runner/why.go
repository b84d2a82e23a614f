package runner

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/playbooks/vars"
	"github.com/calroll/calroll/runner/event"
)

// valueWidth is how many bytes of a variable's value an event carries.
const valueWidth = 300

// explain adds to the event of a failure what `calroll explain` tells of it: the place that is to blame, the variables that the task has used,
// and how to log in to the host. A task that says no_log tells the variables' names and places only.
func (c *call) explain(e *event.Event, r result) {
	if !r.Failed || r.items != nil {
		return // the items of a loop have told theirs
	}
	if r.pos.Known() {
		e.At = r.pos.String()
	}
	if w, _, err := c.plainWay(or(r.via, c.host.name)); err == nil {
		e.Login = w.command()
	}
	scope := r.scope
	if scope == nil {
		scope = c.scope
	}
	e.Vars = usedVars(scope.Used(), usage{mask: c.mask, hidden: c.set.noLog, connecting: r.unreachable()})
}

// command is what a user types to log in to the host, empty for the controller itself.
func (w way) command() string {
	if w.Local || w.cluster {
		return ""
	}
	text := "ssh"
	if w.SSH.Port > 0 {
		text += fmt.Sprintf(" -p %d", w.SSH.Port)
	}
	for _, file := range w.SSH.KeyFiles {
		text += " -i " + file
	}
	if w.SSH.ProxyJump != "" {
		text += " -J " + w.SSH.ProxyJump
	}
	if w.SSH.User != "" {
		return text + " " + w.SSH.User + "@" + w.SSH.Host
	}
	return text + " " + w.SSH.Host
}

// usage says how variables are shown.
type usage struct {
	mask       *event.Mask
	hidden     bool // no values
	connecting bool // the host could not be reached: how one connects is of interest
}

// usedVars are the variables as events carry them. What a secret variable holds is taken out of the others as well: a secret seldom comes alone.
func usedVars(uses []vars.Use, how usage) []event.Var {
	secrets := &event.Mask{}
	for _, u := range uses {
		if isSecret(u) {
			secrets.Add(textsIn(value.ToGo(u.Value))...)
		}
	}
	var out []event.Var
	for _, u := range uses {
		if how.leavesOut(u) {
			continue
		}
		v := event.Var{Name: u.Name, From: u.From, Undefined: !u.Defined()}
		if u.Pos.File != "" {
			v.Where = u.Pos.String()
		}
		switch {
		case how.hidden || isSecret(u):
			v.Hidden = u.Defined()
		case u.Err == nil && u.Defined():
			v.Value = shortValue(secrets.Value(how.mask.Value(withoutSecrets(value.ToGo(u.Value)))))
		}
		out = append(out, v)
	}
	return out
}

// leavesOut tells which variables say nothing to somebody who asks why a task failed: those by which calroll connects, when it did connect, and
// the big magic ones.
func (how usage) leavesOut(u vars.Use) bool {
	connects := slices.Contains(connectionVars, u.Name) || slices.Contains(becomeVars, u.Name) || u.Name == "ansible_connection" || u.Name == "ansible_become"
	switch {
	case connects:
		return !how.connecting || !u.Defined()
	case u.Magic:
		_, isText := u.Value.(string)
		return !isText
	}
	return strings.HasPrefix(u.Name, "ansible_") && !u.Defined()
}

var (
	secretName  = regexp.MustCompile(`(?i)passw|passphrase|_pass$|^pass$|secret|token|credential|private_?key|api_?key`)
	credentials = regexp.MustCompile(`(://[^/\s:@]*:)[^/\s@]+@`)
)

// isSecret tells whether a variable's value must not be shown: a task without a log set it, a vault has it, or its name says so.
func isSecret(u vars.Use) bool {
	return u.Secret || slices.Contains(secretVars, u.Name) || secretName.MatchString(u.Name)
}

// withoutSecrets is a value as JSON has it without what is a secret by the name of its key or by its looks.
func withoutSecrets(v any) any {
	switch v := v.(type) {
	case string:
		if strings.Contains(v, "PRIVATE KEY-----") {
			return event.Masked
		}
		return credentials.ReplaceAllString(v, "${1}"+event.Masked+"@")
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = withoutSecrets(v[i])
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			if out[k] = event.Masked; !secretName.MatchString(k) {
				out[k] = withoutSecrets(e)
			}
		}
		return out
	}
	return v
}

// textsIn are all texts inside a value.
func textsIn(v any) []string {
	var all []string
	switch v := v.(type) {
	case string:
		all = append(all, v, strings.TrimSpace(v))
	case []any:
		for _, e := range v {
			all = append(all, textsIn(e)...)
		}
	case map[string]any:
		for _, e := range v {
			all = append(all, textsIn(e)...)
		}
	}
	return all
}

// shortValue is a value as JSON, cut when it is long.
func shortValue(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return ""
	}
	text := strings.TrimSpace(b.String())
	if len(text) <= valueWidth {
		return text
	}
	cut := valueWidth
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "..."
}

// writer is the task as the one who sets variables. A task that may say no_log counts as one that does.
func writer(t *playbooks.Task) vars.Writer {
	noLog, constant := t.NoLog.Constant()
	return vars.Writer{Pos: t.Pos, Secret: t.NoLog.IsSet() && (!constant || noLog)}
}

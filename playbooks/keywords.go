package playbooks

import (
	"slices"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
)

// Condition is a bare Jinja2 expression (when, until, changed_when, failed_when).
type Condition struct {
	Text string
	Pos  source.Pos
}

// Keywords are what plays, roles, blocks and tasks have in common and hand down to what they hold. In a Node they are the outcome
// of inheritance; not set means that nobody said anything and the command line or the configuration decides.
type Keywords struct {
	Become                                           Setting[bool]
	BecomeUser, BecomeMethod, BecomeFlags, BecomeExe Setting[string]
	Connection, RemoteUser                           Setting[string]
	Port                                             Setting[int]
	AnyErrorsFatal, IgnoreErrors, IgnoreUnreachable  Setting[bool]
	CheckMode, Diff, NoLog, RunOnce                  Setting[bool]
	Throttle, Timeout                                Setting[int] // Timeout in seconds
	DelegateTo                                       Setting[string]
	DelegateFacts                                    Setting[bool]
	Collections                                      []string
	Environment                                      []any // *value.Dict or value.Template that renders to one; a later one wins
	ModuleDefaults                                   []*ModuleDefaults
	When                                             []Condition // all must hold; the outermost first
	Tags                                             []Setting[string]
	Notify                                           []Setting[string]
	Gate                                             Setting[string] // GateBefore, GateAfter, GateSoak; a constant, of tasks and blocks alone
}

// ModuleDefaults are default arguments for one module. For a task the last one of its module counts, alone.
type ModuleDefaults struct {
	Module string // canonical, as Task.Module
	Args   any    // *value.Dict, or value.Template that renders to one
	Pos    source.Pos
}

// within gives the keywords of something that stands inside outer.
func (k Keywords) within(outer Keywords) Keywords {
	k.Become = k.Become.or(outer.Become)
	k.BecomeUser = k.BecomeUser.or(outer.BecomeUser)
	k.BecomeMethod = k.BecomeMethod.or(outer.BecomeMethod)
	k.BecomeFlags = k.BecomeFlags.or(outer.BecomeFlags)
	k.BecomeExe = k.BecomeExe.or(outer.BecomeExe)
	k.Connection = k.Connection.or(outer.Connection)
	k.RemoteUser = k.RemoteUser.or(outer.RemoteUser)
	k.Port = k.Port.or(outer.Port)
	k.AnyErrorsFatal = k.AnyErrorsFatal.or(outer.AnyErrorsFatal)
	k.IgnoreErrors = k.IgnoreErrors.or(outer.IgnoreErrors)
	k.IgnoreUnreachable = k.IgnoreUnreachable.or(outer.IgnoreUnreachable)
	k.CheckMode = k.CheckMode.or(outer.CheckMode)
	k.Diff = k.Diff.or(outer.Diff)
	k.NoLog = k.NoLog.or(outer.NoLog)
	k.RunOnce = k.RunOnce.or(outer.RunOnce)
	k.Throttle = k.Throttle.or(outer.Throttle)
	k.Timeout = k.Timeout.or(outer.Timeout)
	k.DelegateTo = k.DelegateTo.or(outer.DelegateTo)
	k.DelegateFacts = k.DelegateFacts.or(outer.DelegateFacts)
	if k.Collections == nil {
		k.Collections = outer.Collections
	}
	k.Environment = slices.Concat(outer.Environment, k.Environment)
	k.ModuleDefaults = slices.Concat(outer.ModuleDefaults, k.ModuleDefaults)
	k.When = slices.Concat(outer.When, k.When)
	k.Tags = joinSettings(k.Tags, outer.Tags)
	k.Notify = joinSettings(k.Notify, outer.Notify)
	k.Gate = k.Gate.or(outer.Gate)
	return k
}

// joinSettings is own followed by what outer adds.
func joinSettings(own, outer []Setting[string]) []Setting[string] {
	joined := slices.Clone(own)
	for _, s := range outer {
		if !slices.ContainsFunc(joined, func(o Setting[string]) bool { return o.Text() == s.Text() }) {
			joined = append(joined, s)
		}
	}
	return joined
}

// overlay is base's variables and then own's, which win. Either may be nil, and may be the result.
func overlay(base, own *value.Vars) *value.Vars {
	switch {
	case own.Len() == 0:
		return base
	case base.Len() == 0:
		return own
	}
	all := &value.Vars{}
	all.PutAll(base)
	all.PutAll(own)
	return all
}

// kind is what a keyword can stand on, for messages and the table of what is valid where.
type kind uint8

const (
	onPlay kind = 1 << iota
	onRole
	onBlock
	onTask
	onHandler
	onImport // import_playbook
	onLoop   // loop_control
)

var kindNames = []struct {
	kind kind
	name string
}{{onPlay, "plays"}, {onRole, "roles"}, {onBlock, "blocks"}, {onTask, "tasks"}, {onHandler, "handlers"}, {onImport, "import_playbook"}, {onLoop, "loop_control"}}

func (k kind) one() string {
	switch k {
	case onPlay:
		return "a play"
	case onRole:
		return "a role"
	case onBlock:
		return "a block"
	case onHandler:
		return "a handler"
	case onImport:
		return "import_playbook"
	case onLoop:
		return "loop_control"
	}
	return "a task"
}

const everywhere = onPlay | onRole | onBlock | onTask | onHandler

// keywordKinds says where each keyword is valid. It is the list of Ansible 2.14's keywords, and calroll's own: rollback and undo,
// canary, spread, failure_budget, soak, gate, confirm, concurrent and time_limit.
var keywordKinds = map[string]kind{
	"any_errors_fatal": everywhere, "become": everywhere, "become_exe": everywhere, "become_flags": everywhere, "become_method": everywhere,
	"become_user": everywhere, "check_mode": everywhere, "collections": everywhere, "connection": everywhere, "debugger": everywhere,
	"diff": everywhere, "environment": everywhere, "ignore_errors": everywhere, "ignore_unreachable": everywhere,
	"module_defaults": everywhere, "name": everywhere | onImport, "no_log": everywhere, "port": everywhere, "remote_user": everywhere,
	"run_once": everywhere, "tags": everywhere | onImport, "throttle": everywhere, "timeout": everywhere, "vars": everywhere | onImport,

	"delegate_facts": everywhere &^ onPlay, "delegate_to": everywhere &^ onPlay, "when": everywhere&^onPlay | onImport,
	"notify": onBlock | onTask | onHandler,

	"fact_path": onPlay, "force_handlers": onPlay, "gather_facts": onPlay, "gather_subset": onPlay, "gather_timeout": onPlay,
	"handlers": onPlay, "hosts": onPlay, "max_fail_percentage": onPlay, "order": onPlay, "post_tasks": onPlay, "pre_tasks": onPlay,
	"roles": onPlay, "rollback": onPlay, "serial": onPlay, "strategy": onPlay, "tasks": onPlay, "time_limit": onPlay, "user": onPlay, "vars_files": onPlay,
	"vars_prompt": onPlay, "import_playbook": onImport,

	"canary": onPlay, "spread": onPlay, "failure_budget": onPlay, "soak": onPlay, "confirm": onPlay, "concurrent": onPlay, "gate": onBlock | onTask,

	"block": onBlock, "rescue": onBlock, "always": onBlock,

	"action": onTask | onHandler, "args": onTask | onHandler, "async": onTask | onHandler, "changed_when": onTask | onHandler,
	"delay": onTask | onHandler, "failed_when": onTask | onHandler, "local_action": onTask | onHandler, "loop": onTask | onHandler,
	"loop_control": onTask | onHandler, "poll": onTask | onHandler, "register": onTask | onHandler, "retries": onTask | onHandler,
	"undo": onTask | onHandler, "until": onTask | onHandler, "listen": onHandler, "role": onRole,
}

// notYet are keywords that Ansible carries out and calroll does not.
var notYet = map[string]string{
	"debugger":    "there is no interactive debugger; use -v, or debug tasks",
	"vars_prompt": "give the variables with --extra-vars, from a file too: -e @FILE",
	"async":       "tasks run until they end; set timeout: to limit them",
	"poll":        "it belongs to async, which is not supported yet either",
}

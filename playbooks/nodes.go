package playbooks

import (
	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/tasks"
)

// Playbook is a file of plays, with imported playbooks in their places.
type Playbook struct {
	File  string
	Dir   string // of File: Ansible's playbook_dir
	Plays []*Play
}

// Play brings hosts to a state. Its Keywords are those it was given itself; every node has inherited them.
type Play struct {
	Keywords
	Pos    source.Pos
	File   string // the file it is written in
	Dir    string // of File: where its roles and files are looked for
	Number int    // from 1, over the whole playbook
	Name   Setting[string]
	Hosts  []Setting[string]

	Vars      *value.Vars         // values may hold templates
	VarsFiles [][]Setting[string] // each is a list of alternatives, the first that exists is read

	GatherFacts   Setting[bool]
	GatherWhen    []Condition // conditions of import_playbook, for the implied setup task
	GatherSubset  []Setting[string]
	GatherTimeout Setting[int] // seconds
	FactPath      Setting[string]

	Serial            []Setting[string] // "3" or "30%"; a template may render to a number, such a text, or a list of them; none: all hosts at once
	MaxFailPercentage Setting[float64]
	TimeLimit         Setting[string] // of the whole play; read it with ParseDuration
	ForceHandlers     Setting[bool]
	Order             Setting[string] // inventory, reverse_inventory, sorted, reverse_sorted, shuffle
	Strategy          string          // linear
	Rollback          string          // host, batch, all, none; "" when the play says nothing

	Canary        []Setting[string] // patterns: hosts of the play that come first, in batches of their own
	Spread        Setting[string]   // each host renders it; hosts that it is equal for never share a batch
	Confirm       Setting[string]   // read it with ParseDuration: hosts go back by themselves when they are not confirmed in time
	FailureBudget Setting[string]   // "3" or "5%": how many hosts may fail over the whole play
	Concurrent    Setting[bool]     // a constant: the play goes at the same time as the one before it
	SoakTime      Setting[string]   // read it with ParseDuration: how long Soak must hold after each batch

	// Gates, which a batch has to pass: they stand anywhere among the tasks, and are taken out of the sections below.
	Before, After, Soak []Node

	// The sections in the order they run; after each of them the notified handlers run. Tasks holds those of the roles first.
	PreTasks, Tasks, PostTasks []Node
	// Handlers in the order they run: those of roles, the play's own, those of imported roles. When several have the notified name
	// the last one is meant; all that listen to a notified topic are.
	Handlers []*Task
	Roles    []*Role // roles: and import_role, whose variables all tasks of the play see; not their dependencies
}

// Node is a *Task or a *Block.
type Node interface {
	// Common is what tasks and blocks share; it is part of the node, not a copy.
	Common() *Head
}

// Head is what tasks and blocks share. The embedded Keywords are effective: everything inherited is in them.
type Head struct {
	Keywords
	Pos    source.Pos
	Number int64 // grows section by section in the order written, over everything one Loader loaded
	Name   Setting[string]
	// Vars are those of the task, its blocks and its imports and includes, the innermost winning; values may hold templates.
	Vars *value.Vars
	// IncludeVars are the vars of the include_tasks and include_role around it: include parameters, above set_fact in precedence.
	IncludeVars *value.Vars
	Play        *Play
	Role        *Role  // nil outside of roles
	Block       *Block // the block around it, nil at the top of a section or role
	Included    *Task  // the include_tasks or include_role that brought it in, nil when static
}

// Common is h itself.
func (h *Head) Common() *Head { return h }

// Block runs Main; if a task of it fails, Rescue; and Always in the end, whatever happened.
type Block struct {
	Head
	Main, Rescue, Always []Node
}

// Task is one call of a module.
type Task struct {
	Head
	Action string      // the module as it was written
	Module string      // its canonical name: "copy" for "ansible.builtin.copy"
	Spec   *tasks.Spec // nil for meta and includes
	Args   *value.Vars // values may hold templates; free-form text is under "_raw_params"
	// ArgsTemplate renders to a mapping of arguments that Args is laid over; nil for most tasks.
	ArgsTemplate *value.Template
	Defaults     any // of module_defaults: nil, *value.Dict or value.Template that renders to one

	Loop                           *Loop // nil when it runs once
	Register                       string
	Until, ChangedWhen, FailedWhen []Condition
	Retries                        Setting[int]     // Ansible's default with until is 3
	Delay                          Setting[float64] // seconds between tries, 5 by default
	Listen                         []Setting[string]
	Undo                           []*Task // what takes a command back, in order; they have module and arguments only
	UndoNone                       bool    // undo: none: the author says that nothing has to be taken back
	Handler                        bool
	Implicit                       bool     // put in by the loader (role_complete): never listed or shown
	Include                        *Include // of include_tasks and include_role
	SearchDirs                     []string // where files, templates and includes of the task are looked for, best first

	ownVars *value.Vars // the task's own vars, which are include parameters of an include
	outer   *Inherited  // where the task stands
}

// Include is an include_tasks or include_role: what it brings is read when its turn comes, by LoadTasks or LoadRole.
type Include struct {
	File Setting[string] // of include_tasks
	Use  *RoleUse        // of include_role

	apply     Keywords
	applyVars *value.Vars
}

// RoleUse names a role and how it is used. Of include_role, the settings may be templates: LoadRole takes it with Rendered values.
type RoleUse struct {
	Pos                                             source.Pos
	Name                                            Setting[string]
	TasksFrom, VarsFrom, DefaultsFrom, HandlersFrom Setting[string]
	Public                                          Setting[bool] // its variables and defaults are visible to later tasks of the play
	AllowDuplicates                                 Setting[bool]
	Validate                                        Setting[bool] // rolespec_validate
}

// Role is one use of a role, with everything it brings.
type Role struct {
	Pos  source.Pos // of the use
	Name string
	Path string // absolute, or below CatalogPrefix
	// Key is equal for uses that Ansible takes for the same: when a host has completed one of them (it came to the role's implicit
	// `meta: role_complete` after a task of the role ran), the tasks of further ones are passed over, unless AllowDuplicates.
	Key             string
	AllowDuplicates bool
	Public          bool

	Keywords                  // effective for its tasks
	Vars          *value.Vars // of the use (roles: [{role: x, vars: ...}]): below FileVars in precedence
	Params        *value.Vars // further keys of the use: the highest but for include parameters and extra vars
	Defaults      *value.Vars // defaults/main.yml
	FileVars      *value.Vars // vars/main.yml
	ArgumentSpecs *value.Dict

	Parents      []*Role // the roles that depend on or include this one, outermost first
	Dependency   bool    // the innermost parent depends on it; else it includes it
	Dependencies []*Role
	Nodes        []Node  // what runs: its dependencies', its own, and the implicit role_complete
	Handlers     []*Task // its dependencies' first

	dir string // Path as messages name files in it
}

// Loop repeats a task for each item.
type Loop struct {
	Pos    source.Pos
	Lookup string // "" for loop:, else the lookup of with_<lookup>
	Terms  any    // the list, or what the lookup takes; may hold templates
	// The loop_control.
	Var              Setting[string] // "item" when not set
	IndexVar         Setting[string]
	Label            any              // nil, or what is shown for an item; may hold templates
	Pause            Setting[float64] // seconds
	Extended         Setting[bool]
	ExtendedAllItems Setting[bool] // true when not set
}

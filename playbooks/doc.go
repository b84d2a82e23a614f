// Package playbooks reads playbooks and roles in Ansible's language into data that an engine can carry out.
//
// A Loader reads. What it gives is a tree:
//
//	Playbook ─ Play ─┬─ PreTasks, Tasks (roles first), PostTasks ─ Node ─┬─ *Task
//	                 ├─ Handlers                                         └─ *Block (Main, Rescue, Always) ─ Node ...
//	                 └─ Roles
//
// Everything static is done here, once: import_playbook, import_tasks, import_role and roles are expanded in place, keywords are
// inherited, module names are resolved and constant arguments are checked. What depends on a host stays data: a keyword that is a
// template is a Setting that the engine renders, include_tasks and include_role are tasks with an Include that LoadTasks and
// LoadRole read when their turn comes.
//
// Rules:
//   - Strict: a keyword, module or argument that is not known is a mistake, with the nearest known name; one that Ansible knows and
//     calroll does not carry out is a mistake that says so. Nothing is accepted and then ignored.
//   - All mistakes of a playbook are reported at once (source.Problems), each with file:line:column.
//   - Inheritance is Ansible's. The innermost value wins: task, then its blocks and static imports outwards, its role, the roles that
//     depend on that role, the play. Lists are extended instead: tags, when, environment, module_defaults, notify; and vars by name.
//     What a node shows is the outcome, so nobody else has to know these rules.
//   - Nodes do not change after they are loaded and may be read by many goroutines. LoadTasks and LoadRole may be called at any time.
//
// Files come from the disk or from the embedded catalogue (Files); names of the latter begin with CatalogPrefix.
package playbooks

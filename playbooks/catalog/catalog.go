// Package catalog holds the playbooks that calroll ships, as the files that a user would write.
//
//	<playbook>/playbook.yml    what `calroll run <playbook>` carries out
//	roles/<role>/              one folder for each step of the playbooks, named after what it sets up; all playbooks share them
//
// Rules:
//   - Version facts (which component belongs to which Calico release, names of artifacts, formats) stand in the role calico_versions
//     alone. Nothing else knows a version but by asking a fact of that table, or by comparing the wanted version with the one a
//     feature came with.
//   - Every variable that a user may set has its default in the role calico_settings and its description in that role's
//     meta/argument_specs.yml. What is derived from them is in its vars.
//   - A role alters hosts through modules that can be taken back. A command that alters something carries `undo:`, or a comment that
//     says why none is needed.
//   - A second run changes nothing.
//   - A playbook looks before it writes: calico_settings (tasks_from validate), host_facts, for everything that talks to Kubernetes
//     kube_facts, and then preflight with preflight_topics, the topics whose gates it wants. A gate is written once, in
//     roles/preflight/vars/main/<topic>.yml, as {id, level, rule, broken, found, remedy}: rule says in fixed words when it closes,
//     found and remedy are rendered only when broken is true. docs/gates.md is made of them.
//   - The tags of a role are the names of the step blocks in the document of a playbook, such as docs/calico-etcd.md.
package catalog

import (
	"embed"
	"io/fs"
)

//go:embed */playbook.yml roles
var files embed.FS

// FS is the catalogue: a folder for each playbook, with playbook.yml in it, and the roles.
func FS() fs.FS { return files }

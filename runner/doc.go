// Package runner carries playbooks out.
//
//	Run ── for each play ──▶ machine.Machine decides ──▶ task on hosts ──▶ action or module ──▶ answers back to the machine
//	 │                                                       │
//	 ├─ fleet: connections and helpers, one for each host and identity; so many at a time, by forks and not by hosts (stay.go)
//	 ├─ world: variables; facts, registered results and set_fact are added between tasks, by one goroutine. Plays at the same time fork it (together.go)
//	 └─ sinks: every event goes through the mask to the printers and the run store
//
// Words: a *host* here is an inventory host with what this run knows of it. A *way* is how to reach a host for a task: connection,
// port, users. An *outcome* is what a task came to on one host. A *ref* is a playbook's task as the machine carries it, with the
// loop variables of the includes around it.
//
// Rules:
//   - The machine decides; the runner obeys. What a task needs to be decided (when, loops, includes, changed_when) is found out here,
//     on many hosts at once (forks), and applied to the variables afterwards, in the order of the hosts.
//   - Reading and rendering come before any host is touched wherever that is possible: Load reports all mistakes at once.
//   - A lost helper makes the host unreachable for the play; an undo connects anew. That a host was left for a while, because others were needed,
//     nobody notices.
package runner

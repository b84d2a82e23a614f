// Package tasks is the contract between a unit of work and the machine it works on.
//
// A Module is one kind of work ("copy", "systemd"); a Set is the choice of modules a program carries. A module's exported
// fields with an `arg` tag are its arguments: SpecOf reads the tags, Spec.Decode fills a module with Ansible's coercions, and
// Spec.CheckStatic finds the mistakes that can be known before anything runs.
//
// A module reads the machine as it likes and alters it only through Sys. Each altering primitive of Sys
//
//  1. computes what is different; nothing different: it returns false and writes nothing anywhere;
//  2. in check mode says that there would be a change, and returns;
//  3. puts the state before (Before and its Image) on stable storage through the Recorder;
//  4. alters by one atomic step, and syncs it.
//
// So a machine can be taken back to what it was wherever the work was cut. Undo needs only three cases, because each record
// carries the state before (Was) and the state after (After) in words that Restorer.State speaks again: now is After: restore;
// now is Was: nothing to do; neither: somebody else changed it, so it is refused by name unless forced.
// What the run made and took away again stays away, for the kinds that are Passing.
//
// Words: a *kind* names what sort of state a record is about (path, attrs, tree, unit, sysctl, ...); its Restorer is found in a
// Kinds table that the programs hand over, so further kinds (etcd keys, Kubernetes objects) need no change here. A *refresh*
// (daemon-reload, restart, a handler's command) has no state to restore: it is fired again, once and forward, after the restores.
package tasks

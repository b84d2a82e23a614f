// Package remote is both ends of the protocol between the controller and its helper on a host, side by side.
//
// The helper is a small static program that the controller pushes to a host once and then talks to over the standard input and
// output of one command. It has no templates, no conditions and no YAML: it takes tasks whose arguments are finished, runs them
// one at a time in the order they came, and journals what they alter. Nothing of it stays running when the link is gone, but for a watcher (see below).
//
//	controller                                     host
//	Open ─ one shell line ───────────────────────▶ exec <cache>/calroll/<hash>/remote-<machine> remote-serve
//	Client ◀──── marker line, Hello ────────────── Main ─ Serve
//	       ───── Task ───────────────────────────▶      runs the items, journal first
//	       ◀──── Need hash ──────────────────────       (only when the content is not there already)
//	       ───── Blob, Blob, ... ────────────────▶
//	       ◀──── Answer per item, the last marked
//	                                                      Main ─ watch: a process of its own, while something waits to be confirmed
//
// Words: a *frame* is one type byte, four length bytes and a payload. The *marker* is a line with a random word that the
// controller chose, so that whatever a login shell prints before it is skipped. A *blob* is content known by its SHA-256. A
// task is *ahead* when it was sent before the answers of earlier ones were known. The *identity* is the user the helper runs
// as: there is one Client for each host and identity. A *stage* is the place on the host where an upload waits to be verified.
//
// Rules:
//   - Strictly in order, one task at a time. The reader runs ahead of the worker, so that Cancel, Ping and the end of the link
//     get through while a task works.
//   - Once a task failed, tasks sent ahead answer Canceled until a Reset, or until a task comes that was not sent ahead.
//   - When the link ends, the alteration in hand is completed, nothing further starts, and commands are killed with their group.
//     The host stays locked for the controller, who may come back with the token that Begin gave it; a farewell frees it, taking leave for
//     a while does not.
//   - A task that has to be confirmed starts a watcher before it alters anything, which undoes it when the controller is not heard for so long.
//     That is the only thing that outlives a helper; a Confirm over another link ends it.
//   - Whoever has lost the host is refused at the next Begin, Task, Undo or Commit: each compares the token with the newest.
//   - Limits are checked before a byte of a payload is read.
//   - A blob crosses the wire at most once in a session: with its task when it is small, otherwise when it is asked for.
//   - A program runs from a folder only if nobody but root and the identity can write there, and only after the identity itself
//     compared the hash of its own copy. A warm host costs one round trip up to Hello.
//   - The program that is pushed is named by its content, so a helper of another version is never met by accident.
//   - Every error is a *tasks.Error; a lost helper is Unreachable and says what it said last.
package remote

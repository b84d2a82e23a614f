// Package machine decides what happens next in a play, and does nothing itself: no I/O, no goroutine, no clock.
//
// Its words are Ansible's. A Play holds Sections (pre_tasks, roles and tasks, post_tasks); after each section the handlers that
// were notified are flushed. Hosts are taken in batches (serial). Within a batch all hosts keep step (the linear strategy): the
// machine names one task and the hosts that stand before it, waits for all their answers, and then names the next. Gates are
// tasks that only look: Before gates ahead of the batch, After gates when it is done, Soak gates in rounds after that, for as long
// as the caller, who has the clock, says.
//
// The conversation is Step: one Input in, any number of Outputs out.
//
//	                 Begin                           Done (every host)
//	(new play) ───────────────▶ StartBatch, Run ◀─────────────────────┐
//	                                   │  task, hosts                 │
//	                                   └──────────────▶ (the caller carries it out)
//
//	batch passed:  Confirm and Confirmed (every host) if the play wants that, Commit, then StartBatch of the next, at last EndPlay
//	batch failed:  Halt when a gate, a confirmation, a canary or the budget is why, Undo (scope host, batch or all), Undone (every host), EndPlay
//	in a batch:    facts, Before, sections and handlers, After, and then in rounds: Soak ─▶ Soaked ─▶ the soak gates; Soaked.Over ends them
//
// Rules:
//   - A host that failed leaves the batch, unless a block rescues it; an unreachable host is never rescued.
//   - any_errors_fatal and max_fail_percentage stop the batch and the run. They count a host when its task has failed for good,
//     as ansible-core 2.14 does: a host still busy in an always section is counted at the end of the batch.
//   - What is undone is the play's choice (Rollback). With a choice made, more failures than max_fail_percentage allows (none, when
//     neither it nor a budget is set) end the batch at once, and it is undone; fewer undo the failed hosts alone.
//   - A gate that fails is a failure of the batch and ends the play, whatever the limits allow. A host that is lost ahead of the
//     batch has failed no gate; after it, it has.
//   - What has to be confirmed is when the last gate has held, unless the batch is taken back anyway. A host that could not be is
//     a gate that fails.
//   - Canaries come in batches of their own; one that fails ends the play. No batch has two hosts of one group of Spread. The sizes
//     of serial bound every batch.
//   - FailureBudget counts over the whole play: hosts that failed or were lost, in earlier plays too, and absent ones. With a budget
//     a batch that fails as a whole does not end the play by itself.
//   - The undo of scope all goes back batch by batch, the newest first.
//   - A machine is used for one play by one goroutine.
package machine

// Package faults breaks things under runs, and checks that each run ends in a state that it names rightly. It has tests only; `make faults` runs all
// of them, `make test` a few.
//
// A *case* is a fault at a point of a run: the real program works through a play of forty tasks (testdata/site.yml) on six lab hosts, two at
// a time, with `rollback: batch`, and something dies, hangs, fills up or goes away. The *victim* is the host that it happens to. Points are the
// beginnings of tasks, things that take long (a command, a unit that starts, a handler, content that crosses the wire, the undo itself), and lengths of
// the journal on the victim. None of them is found by waiting for a time: the program stands still (SIGSTOP) while the fault is made, or a
// command of the play waits until the test lets it go.
//
// After each case it must be true that
//
//   - the run ended, unless the fault was its own death, and its exit code, events, recap and stored state say which hosts
//     failed or were lost, and no others;
//   - hosts that were committed are as after a run without faults, hosts that were not reached or were undone as before; others are
//     named as open;
//   - no lock is held on any host and nothing of calroll runs there;
//   - `calroll resume` then ends well and every host is as after a run without faults (every other case);
//   - `calroll rollback` takes the run back, and then every host is as before.
package faults

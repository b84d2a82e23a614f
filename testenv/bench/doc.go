// Package bench measures calroll beside what it replaces. It has benchmarks only; `make bench` runs them.
//
//   - BenchmarkAgainstAnsible: the same playbook (testdata/site) by calroll and by ansible-core, on the same three lab hosts, and the same
//     state by a shell script over plain ssh (testdata/floor).
//   - BenchmarkManyHosts: up to 200 light hosts (testenv/light).
//   - BenchmarkJournal: the same run with and without a journal on the hosts, in turns.
//   - BenchmarkRollback: a run of 40 tasks on six light hosts in three batches, and its rollback, which must not take longer.
//
// What counts are the ratios within one run: on a machine that does other work all figures grow, by much the same factor. A *first run*
// meets a host fresh from its image, a *second run* one that has everything already. The *floor* is the script: it has no engine,
// no modules and no templates. Every tool has to find nothing to change where another has been, so all bring about the same state;
// anything else fails the benchmark, as do the bounds on frames and bytes. Bounds on time would fail on a busy machine and are
// reported only.
//
// The program that is measured is dist/calroll, or what CALROLL names.
package bench

//go:build !faults

package faults

const (
	whole = false // a few trials
	rigs  = 1     // how many trials go on at the same time
)

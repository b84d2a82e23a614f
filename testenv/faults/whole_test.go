//go:build faults

package faults

const (
	whole = true // the matrix as a whole
	rigs  = 3    // how many trials go on at the same time
)

//go:build faults

package faults

const (
	whole = true // the matrix as a whole
	rigs  = 5    // how many trials go on at the same time
)

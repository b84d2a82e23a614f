package machine

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Batches cuts hosts by the sizes of serial: each size once, the last for all that remain. A percentage is of all hosts,
// rounded down, and at least one host; a size of zero or less takes all that remain.
func Batches(hosts, serial []string) ([][]string, error) {
	return (&Play{Hosts: hosts, Serial: serial}).schedule()
}

// schedule cuts the hosts into batches. The sizes of serial bound them in their order, those of canaries too. Each batch takes the first hosts
// that it may have, so their order stays but for hosts that wait because one of their group is in the batch already.
func (p *Play) schedule() ([][]string, error) {
	sizes, err := p.sizes()
	if err != nil {
		return nil, err
	}
	var canaries, others []string
	for _, h := range p.Hosts {
		if slices.Contains(p.Canaries, h) {
			canaries = append(canaries, h)
		} else {
			others = append(others, h)
		}
	}
	var batches [][]string
	for _, left := range [][]string{canaries, others} {
		for len(left) > 0 {
			var batch []string
			batch, left = p.fill(left, bound(sizes, len(batches)))
			batches = append(batches, batch)
		}
	}
	return batches, nil
}

func (p *Play) sizes() ([]int, error) {
	sizes := make([]int, len(p.Serial))
	for i, s := range p.Serial {
		n, err := Share(s, len(p.Hosts))
		if err != nil {
			return nil, err
		}
		sizes[i] = n
	}
	return sizes, nil
}

// bound is how many hosts the batch of this index may have at most; 0 is any number.
func bound(sizes []int, batch int) int {
	if len(sizes) == 0 {
		return 0
	}
	return max(sizes[min(batch, len(sizes)-1)], 0)
}

// fill takes up to size hosts for a batch, no two of one group.
func (p *Play) fill(hosts []string, size int) (batch, left []string) {
	taken := map[string]bool{}
	for _, h := range hosts {
		group := p.Spread[h]
		if size > 0 && len(batch) == size || taken[group] {
			left = append(left, h)
			continue
		}
		batch = append(batch, h)
		if group != "" {
			taken[group] = true
		}
	}
	return batch, left
}

// Share is the number that s ("3" or "30%") means out of total. A percentage gives at least one.
func Share(s string, total int) (int, error) {
	n, percent, err := share(s)
	if err != nil {
		return 0, err
	}
	if percent {
		return max(int(n/100*float64(total)), 1), nil
	}
	return int(n), nil
}

// share reads a number of hosts or a percentage.
func share(s string) (n float64, percent bool, err error) {
	number, percent := strings.CutSuffix(strings.TrimSpace(s), "%")
	if percent {
		n, err = strconv.ParseFloat(strings.TrimSpace(number), 64)
	} else {
		var whole int
		whole, err = strconv.Atoi(number)
		n = float64(whole)
	}
	if err != nil {
		return 0, percent, fmt.Errorf("cannot use %q as a share of hosts: it is neither a number nor a percentage", s)
	}
	return n, percent, nil
}

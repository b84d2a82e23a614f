package proc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
)

// Ports of programs lie below those that Linux takes for the near end of connections (net.ipv4.ip_local_port_range, from
// 32768 on), of which any could be gone before the program listens, and below the node ports of Kubernetes (from 30000 on).
const firstPort, endOfPorts = 10000, 30000

// FreePorts chooses n different TCP ports for programs that cannot choose for themselves: nobody listens on one, on any
// address. They are drawn at random, so that two processes that choose at the same time do not choose the same.
func FreePorts(n int) ([]int, error) {
	var free []int
	for _, i := range rand.Perm(endOfPorts - firstPort) {
		if len(free) == n {
			return free, nil
		}
		switch l, err := net.Listen("tcp", fmt.Sprintf(":%d", firstPort+i)); {
		case err == nil:
			free = append(free, firstPort+i)
			_ = l.Close()
		case !errors.Is(err, syscall.EADDRINUSE):
			return nil, fmt.Errorf("cannot choose a port: %w", err)
		}
	}
	return nil, fmt.Errorf("cannot choose a port: %d of those from %d to %d are free, and %d are wanted", len(free), firstPort, endOfPorts-1, n)
}

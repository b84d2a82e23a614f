package proc_test

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"

	"github.com/calroll/calroll/testenv/proc"
)

// Whoever listens on one address has the port, and no port is one that Linux gives to connections by itself.
func TestFreePorts(t *testing.T) {
	ports, err := proc.FreePorts(500)
	if err != nil {
		t.Fatal(err)
	}
	seen, taken := map[int]bool{}, 0
	for _, port := range ports {
		if seen[port] || port < 10000 || port >= 30000 {
			t.Errorf("%d was chosen twice, or is not for programs", port)
		}
		seen[port] = true
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if errors.Is(err, syscall.EADDRINUSE) {
			if taken++; taken > 5 { // somebody else who chose it may have been faster, now and then
				t.Fatalf("%d of the ports are taken", taken)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	more, err := proc.FreePorts(5000)
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range more {
		if seen[port] {
			t.Errorf("%d was chosen while somebody listens there", port)
		}
	}
}

package cluster

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/calroll/calroll/testenv/proc"
)

// TestAnUndoWaitsForTheAPI: who is not there is tried again, until the time is over or the undo is told to stop.
func TestAnUndoWaitsForTheAPI(t *testing.T) {
	ports, err := proc.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	at := fmt.Sprintf("127.0.0.1:%d", ports[0])
	var l net.Listener
	tries := 0
	dial := patient(func(ctx context.Context, network, addr string) (net.Conn, error) {
		if tries++; tries == 3 {
			if l, err = net.Listen("tcp", at); err != nil {
				return nil, err
			}
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}, time.Minute)
	c, err := dial(t.Context(), "tcp", at)
	if err != nil || tries != 3 {
		t.Fatalf("after %d tries: %v", tries, err)
	}
	_ = c.Close()
	_ = l.Close()

	if _, err := patient((&net.Dialer{}).DialContext, 0)(t.Context(), "tcp", at); err == nil {
		t.Error("nobody is there")
	}
	canceled, cancel := context.WithCancel(t.Context())
	dial = patient(func(context.Context, string, string) (net.Conn, error) {
		cancel()
		return nil, net.ErrClosed
	}, time.Hour)
	if _, err := dial(canceled, "tcp", at); err == nil {
		t.Error("who was told to stop goes on")
	}
}

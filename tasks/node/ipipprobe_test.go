package node_test

import (
	"fmt"
	"testing"

	"github.com/calroll/calroll/testenv"
)

// TestIPIPProbe asks a host that lets IP protocol 4 in, and does not.
func TestIPIPProbe(t *testing.T) {
	ctx := t.Context()
	lab := testenv.ForTest(t, 2)
	if err := lab.Reset(ctx); err != nil {
		t.Fatal(err)
	}
	from, to := lab.Hosts[0], lab.Hosts[1]
	rule := func(verdict string) {
		t.Helper()
		if _, err := to.Sh(ctx, "iptables -I INPUT -p 4 -j "+verdict); err != nil {
			t.Fatal(err)
		}
	}
	probe := func(passes bool, answer string) {
		t.Helper()
		got := runOnHost(t, from, []step{do("ipip_probe", args{"to": to.Address.String(), "timeout": 5})})[0]
		if got["passes"] != passes || got["answer"] != answer || got["changed"] != false {
			t.Errorf("%v, not %v, %s", got, passes, answer)
		}
	}
	probe(true, "destination unreachable")
	helper := helperOn(t, to)
	other := make(chan error)
	go func() { // as in a ring of two: neither keeps the other from being answered
		got, err := runBy(ctx, to, helper, []step{do("ipip_probe", args{"to": from.Address.String(), "timeout": 10})})
		if err == nil && got[0]["passes"] != true {
			err = fmt.Errorf("the other way: %v", got[0])
		}
		other <- err
	}()
	probe(true, "destination unreachable")
	if err := <-other; err != nil {
		t.Error(err)
	}
	rule("DROP")
	probe(false, "none")
	rule("REJECT --reject-with icmp-host-prohibited")
	probe(false, "prohibited")
}

// Command setup gets a machine ready for the lab, the demo, the tests or the benchmarks: it installs what is missing, builds the hosts'
// image and the real programs, and keeps both in the user's cache. A second run finds everything and takes no time.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/site"
)

// forTests is what tests run besides what a lab needs: real servers, and ansible-core to compare with.
var forTests = []testenv.Tool{
	{Program: "ansible-playbook", Package: "ansible-core"},
	{Program: "sshd", Package: "openssh-server"},
	{Program: "ssh", Package: "openssh-client"},
	{Program: "python3", Package: "python3-yaml"},
	{Program: "sudo", Package: "sudo"},
	{Program: "xz", Package: "xz-utils"},
	{Program: "unzip", Package: "unzip"},
}

// forBench is what calroll is measured beside: ansible-core, with the collections that Debian packs apart from it, and ssh.
var forBench = []testenv.Tool{
	{Program: "ansible-playbook", Package: "ansible-core"},
	{Program: "ansible-community", Package: "ansible"},
	{Program: "ssh", Package: "openssh-client"},
}

func main() {
	purpose := flag.String("for", "test", "test, bench, demo or lab")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := setup(ctx, *purpose)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "ERROR! %v\n", err)
		os.Exit(1)
	}
}

func setup(ctx context.Context, purpose string) error {
	start := time.Now()
	say := func(line string) { fmt.Fprintf(os.Stderr, "[%4.0f s] %s\n", time.Since(start).Seconds(), line) }
	var tools []testenv.Tool
	switch purpose {
	case "test":
		tools = forTests
	case "bench": // the playbook that is measured needs nothing of Calico
		return testenv.Prepare(ctx, say, forBench...)
	case "demo", "lab":
	default:
		return fmt.Errorf("cannot set up for %q: it is test, bench, demo or lab", purpose)
	}
	if err := testenv.Prepare(ctx, say, tools...); err != nil {
		return err
	}
	_, err := site.Build(ctx, say)
	return err
}

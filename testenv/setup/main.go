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
	"github.com/calroll/calroll/testenv/kube"
	"github.com/calroll/calroll/testenv/site"
)

// forTests is what tests run besides what a lab needs: real servers, and ansible-core to compare with.
var forTests = []testenv.Tool{
	{Program: "ansible-playbook", Package: "ansible-core"},
	{Program: "sshd", Package: "openssh-server"},
	{Program: "ssh", Package: "openssh-client"},
	{Program: "ansible-community", Package: "ansible"}, // its collections and what they import
	{File: python + "yaml/__init__.py", Package: "python3-yaml"},
	{File: python + "cryptography/__init__.py", Package: "python3-cryptography"},
	{File: python + "netaddr/__init__.py", Package: "python3-netaddr"},
	{File: python + "jmespath/__init__.py", Package: "python3-jmespath"},
	{File: python + "passlib/__init__.py", Package: "python3-passlib"},
	{Program: "gcc", Package: "gcc"}, // flanneld has C in it
	{File: "/usr/include/stdlib.h", Package: "libc6-dev"},
	{File: python + "kubernetes/__init__.py", Package: "python3-kubernetes"}, // what the collection kubernetes.core imports
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

// python is where Debian's packages put Python's modules.
const python = "/usr/lib/python3/dist-packages/"

func main() {
	purpose := flag.String("for", "test", "test, bench, demo, lab or cluster")
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
	case "demo", "lab", "cluster":
	default:
		return fmt.Errorf("cannot set up for %q: it is test, bench, demo, lab or cluster", purpose)
	}
	if err := testenv.Prepare(ctx, say, tools...); err != nil {
		return err
	}
	if _, err := site.Build(ctx, say); err != nil || purpose == "demo" || purpose == "lab" {
		return err
	}
	_, err := kube.Build(ctx, kube.Options{Calico: site.Versions, Flannel: purpose == "test", CNX: purpose == "test"}, say)
	return err
}

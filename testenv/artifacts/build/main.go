// Command build makes the lab's upstream programs ahead of time and lists what it made. With -serve it also offers
// them over HTTP until it is interrupted.
//
//	go run ./testenv/artifacts/build
//	go run ./testenv/artifacts/build -calico v3.28.4 -serve 127.0.0.1:8080 calicoctl node-image
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/calroll/calroll/testenv/artifacts"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	flags := flag.NewFlagSet("build", flag.ContinueOnError)
	calico := flags.String("calico", artifacts.CalicoVersion, "version to stamp Calico with")
	serve := flags.String("serve", "", "address to offer the files on, such as 127.0.0.1:8080")
	if err := flags.Parse(args); err != nil {
		return err
	}
	request := artifacts.ForNodes()
	if flags.NArg() > 0 {
		request.Parts = nil
		for _, name := range flags.Args() {
			request.Parts = append(request.Parts, artifacts.Part(name))
		}
	}
	request.Calico = *calico
	set, err := artifacts.Build(ctx, request, artifacts.Options{Progress: func(line string) { fmt.Fprintln(os.Stderr, line) }})
	if err != nil {
		return err
	}
	for _, f := range set.Files() {
		fmt.Printf("%s  %9d  %s\n", f.SHA256, f.Size, f.URL)
	}
	if *serve == "" {
		return nil
	}
	server, err := artifacts.Serve(*serve, set)
	if err != nil {
		return err
	}
	defer server.Close()
	fmt.Println("offered at", server.URL())
	<-ctx.Done()
	return nil
}

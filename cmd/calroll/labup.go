package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/artifacts"
	"github.com/calroll/calroll/testenv/kube"
	"github.com/calroll/calroll/testenv/site"
)

// labUp is what `lab up` was asked for.
type labUp struct {
	lab        testenv.Options
	bare       bool
	kubernetes string // version; empty for plain hosts
	nodes      int
	kubelets   []string
}

func (u *labUp) run(cmd *cobra.Command) error {
	start := time.Now()
	var lab *testenv.Lab
	err := testenv.ErrExists
	if !labIsThere(cmd.Context(), u.lab.Name) { // what is there needs nothing built
		lab, err = u.start(cmd.Context())
	}
	switch {
	case errors.Is(err, testenv.ErrExists):
		lab, err = u.resume(cmd)
	case err == nil && !u.bare:
		_, err = startSite(cmd.Context(), lab, u.lab.Progress)
	}
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "lab %s: %d hosts up after %.1f s\n", lab.Name, len(lab.Hosts), time.Since(start).Seconds())
	for _, h := range lab.Hosts {
		fmt.Fprintf(out, "  %-8s %s\n", h.Name, h.Address)
	}
	printLabNext(out, lab)
	return nil
}

// labIsThere asks the engine, which may not run yet.
func labIsThere(ctx context.Context, name string) bool {
	labs, err := testenv.List(ctx)
	return err == nil && slices.ContainsFunc(labs, func(l testenv.Summary) bool { return l.Name == name })
}

func (u *labUp) start(ctx context.Context) (*testenv.Lab, error) {
	if u.kubernetes == "" {
		if len(u.kubelets) > 0 {
			return nil, errors.New("cannot start a lab with kubelets and no cluster: add --kubernetes VERSION")
		}
		return testenv.Start(ctx, u.lab)
	}
	o, err := u.cluster()
	if err != nil {
		return nil, err
	}
	c, err := kube.Start(ctx, u.lab, o)
	if err != nil {
		return nil, err
	}
	return c.Lab, nil
}

// cluster checks what cluster was asked for.
func (u *labUp) cluster() (kube.Options, error) {
	o := kube.Options{Calico: site.Versions}
	if err := kube.CheckVersion(u.kubernetes); err != nil {
		return o, err
	}
	if u.nodes < 1 {
		return o, fmt.Errorf("cannot start a cluster with %d nodes: want one at least", u.nodes)
	}
	if n := len(u.kubelets); n > 1 && n != u.nodes {
		return o, fmt.Errorf("cannot start a cluster: %d kubelets for %d nodes: give one for all, or one for each", n, u.nodes)
	}
	for i := range u.nodes {
		k := kube.Containerd
		if len(u.kubelets) > 0 {
			var err error
			if k, err = kube.ParseKubelet(u.kubelets[i%len(u.kubelets)]); err != nil {
				return o, err
			}
		}
		o.Kubelets = append(o.Kubelets, k)
	}
	return o, nil
}

// resume is `lab up` for a lab that is there.
func (u *labUp) resume(cmd *cobra.Command) (*testenv.Lab, error) {
	lab, err := openLab(cmd, u.lab.Name, u.lab.Dir)
	if err != nil {
		return nil, fmt.Errorf("%w\nhint: remove it with `calroll lab down %s`", err, u.lab.Name)
	}
	want, count := u.lab.Hosts, cmd.Flags().Changed("hosts")
	if u.kubernetes != "" {
		want, count = u.nodes+1, true
	}
	if count && (want != len(lab.Hosts) || lab.IsCluster() != (u.kubernetes != "")) {
		return nil, fmt.Errorf("cannot start lab %s with %d hosts: it is up with %s\nhint: remove it with `calroll lab down %[1]s`",
			u.lab.Name, want, strings.Join(hostNames(lab), ", "))
	}
	return lab, lab.Resume(cmd.Context())
}

// startSite gives a lab its etcd and its file server, which outlive this program.
func startSite(ctx context.Context, lab *testenv.Lab, progress func(string)) (*site.Site, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("cannot start the file server: %w", err)
	}
	return site.Start(ctx, lab, site.Options{ServerCommand: []string{exe, "lab", "serve", "%s"}, Progress: progress})
}

// newLabServeCommand is the file server of a lab as a process of its own.
func newLabServeCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "serve ADDRESS",
		Short:  "Serve release files as upstream does",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			sets, err := site.Build(cmd.Context(), func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) })
			if err != nil {
				return err
			}
			server, err := artifacts.Serve(args[0], sets...)
			if err != nil {
				return err
			}
			<-cmd.Context().Done()
			return server.Close()
		},
	}
}

// progressTo prints what is being built, a line each.
func progressTo(w io.Writer) func(string) {
	return func(line string) { fmt.Fprintln(w, line) }
}

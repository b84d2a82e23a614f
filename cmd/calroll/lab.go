package main

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/calroll/calroll/testenv"
	"github.com/calroll/calroll/testenv/site"
)

const defaultLab = "lab"

// newLabCommand makes `calroll lab`: throw-away hosts to try playbooks on.
func newLabCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Throw-away hosts to try playbooks on",
		Long: "A lab is a set of containers that behave like hosts: systemd, sshd and a Docker engine\n" +
			"each, on a private network. It can be a Kubernetes cluster that wants nothing but a pod network.\n" +
			"It needs a Docker engine, and root to install one.",
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(newLabUpCommand(), newLabDownCommand(), newLabListCommand(), newLabSSHCommand(), newLabServeCommand(), newLabDemoCommand())
	return cmd
}

func newLabUpCommand() *cobra.Command {
	u := &labUp{}
	cmd := &cobra.Command{
		Use:   "up [NAME]",
		Short: "Start a lab, or start again what of it has stopped",
		Example: "  calroll lab up\n  calroll lab up --kubernetes 1.29 --nodes 3\n" +
			"  calroll lab up old --kubernetes 1.29 --nodes 2 --kubelet 1.29,1.23",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			u.lab.Name = labArgument(args)
			u.lab.Progress = progressTo(cmd.ErrOrStderr())
			return u.run(cmd)
		},
	}
	cmd.Flags().IntVar(&u.lab.Hosts, "hosts", 3, "how many hosts")
	cmd.Flags().BoolVar(&u.bare, "bare", false, "hosts only: no etcd for Calico and no server of release files")
	cmd.Flags().StringVar(&u.lab.Dir, "dir", "", "folder for inventory, key and known hosts (default ~/.local/state/calroll/lab/NAME)")
	cmd.Flags().StringVar(&u.kubernetes, "kubernetes", "", "make the hosts a cluster of this version, with a control plane on a host of its own and no pod network")
	cmd.Flags().IntVar(&u.nodes, "nodes", 3, "how many nodes the cluster has")
	cmd.Flags().StringSliceVar(&u.kubelets, "kubelet", nil, "the nodes' kubelets: one version for all, or one for each (default the cluster's version)")
	cmd.MarkFlagsMutuallyExclusive("hosts", "kubernetes")
	return cmd
}

func printLabNext(out io.Writer, lab *testenv.Lab) {
	name, playbook, command := "", "calico-etcd", ""
	if lab.Name != defaultLab {
		name = " " + lab.Name
	}
	switch {
	case lab.IsCluster():
		playbook, command = "calico-kdd", " kubectl get nodes"
	case !site.IsKept(lab): // a bare lab has nothing to install Calico from
		playbook = "PLAYBOOK.yml"
	}
	fmt.Fprintf(out, "\nnext:\n  calroll run %s -i %s\n", playbook, lab.InventoryFile())
	fmt.Fprintf(out, "  calroll lab ssh %s%s\n  calroll lab down%s\n", sshArgument(lab), command, name)
}

func sshArgument(lab *testenv.Lab) string {
	if lab.Name == defaultLab {
		return lab.Hosts[0].Name
	}
	return lab.Name + "/" + lab.Hosts[0].Name
}

func newLabDownCommand() *cobra.Command {
	all := false
	cmd := &cobra.Command{
		Use:   "down [NAME]",
		Short: "Remove a lab and everything that belongs to it",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !all {
				return labDown(cmd, labArgument(args))
			}
			if len(args) > 0 {
				return errors.New("cannot remove a lab: --all and a name exclude each other")
			}
			return labDownAll(cmd)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "remove every lab on this engine, except those of tests that still run")
	return cmd
}

func labDownAll(cmd *cobra.Command) error {
	labs, err := testenv.List(cmd.Context())
	for _, lab := range labs {
		if !lab.InUse {
			err = errors.Join(err, labDown(cmd, lab.Name))
		}
	}
	return err
}

func labDown(cmd *cobra.Command, name string) error {
	lab, err := openLab(cmd, name, "")
	if err == nil { // a lab whose folder is gone has lost its site with it
		err = site.StopKept(lab)
	} else {
		err = nil
	}
	if err = errors.Join(err, testenv.Remove(cmd.Context(), name)); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "lab %s: nothing of it is left\n", name)
	return nil
}

func newLabListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List labs and their hosts",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			labs, err := testenv.List(cmd.Context())
			if err != nil {
				return err
			}
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "LAB\tHOST\tSTATE\tADDRESS\tFOLDER")
			for _, lab := range labs {
				printLab(table, lab)
			}
			return table.Flush()
		},
	}
}

func printLab(table io.Writer, lab testenv.Summary) {
	if len(lab.Hosts) == 0 {
		fmt.Fprintf(table, "%s\t-\t-\t-\t%s\n", lab.Name, lab.Dir)
	}
	for _, h := range lab.Hosts {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", lab.Name, h.Name, h.State, h.Address, lab.Dir)
	}
}

func newLabSSHCommand() *cobra.Command {
	user := "root"
	cmd := &cobra.Command{
		Use:     "ssh [NAME/]HOST [COMMAND...]",
		Short:   "Log in to a host of a lab, or run a command there",
		Example: "  calroll lab ssh node1\n  calroll lab ssh demo/node2 systemctl status docker",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			command := args[1:]
			if len(command) > 0 && command[0] == "--" {
				command = command[1:]
			}
			return labSSH(cmd, user, args[0], command)
		},
	}
	cmd.Flags().StringVarP(&user, "user", "l", user, "log in as root, ops or guarded")
	cmd.Flags().SetInterspersed(false) // flags after HOST belong to COMMAND
	return cmd
}

// labSSH becomes ssh, so that terminal, signals and exit code are its own.
func labSSH(cmd *cobra.Command, user, where string, command []string) error {
	name, host, named := strings.Cut(where, "/")
	if !named {
		name, host = defaultLab, where
	}
	lab, err := openLab(cmd, name, "")
	if err != nil {
		return err
	}
	h := lab.Host(host)
	if h == nil {
		return fmt.Errorf("cannot log in to %s: lab %s has no host %s, but %s", where, name, host, strings.Join(hostNames(lab), ", "))
	}
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		return fmt.Errorf("cannot log in to %s: install an ssh client (on Debian: openssh-client)", host)
	}
	argv := append([]string{"ssh", "-F", "none", "-i", lab.KeyFile(), "-o", "IdentitiesOnly=yes",
		"-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile=\"" + lab.KnownHostsFile() + "\"",
		"-l", user, "--", h.Address.String()}, command...)
	return syscall.Exec(ssh, argv, syscall.Environ())
}

// openLab finds the lab's folder through the engine, which knows it wherever it is.
func openLab(cmd *cobra.Command, name, dir string) (*testenv.Lab, error) {
	labs, err := testenv.List(cmd.Context())
	if err != nil {
		return nil, err
	}
	for _, lab := range labs {
		if lab.Name == name && dir == "" {
			dir = lab.Dir
		}
	}
	return testenv.Open(cmd.Context(), name, dir)
}

func hostNames(lab *testenv.Lab) []string {
	var names []string
	for _, h := range lab.Hosts {
		names = append(names, h.Name)
	}
	return names
}

// labArgument is the name of the lab a command is about.
func labArgument(args []string) string {
	if len(args) == 0 {
		return defaultLab
	}
	return args[0]
}

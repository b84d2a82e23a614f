package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// otherNames are ansible-playbook's other names for flags.
var otherNames = map[string]string{"key-file": "private-key", "ssh-extra-args": "ssh-common-args", "conn-pass-file": "connection-password-file",
	"become-pass-file": "become-password-file", "inventory-file": "inventory"}

// otherwise says of flags of ansible-playbook that calroll does not have what does their work here.
var otherwise = map[string]string{
	"start-at-task":       "calroll resume RUN goes on with a run where each host stood; --tags chooses tasks",
	"step":                "pause with a prompt, as gate: after, asks between batches",
	"vault-password-file": "calroll does not read Ansible Vault; -e @FILE reads variables from a file of mode 0600",
	"vault-id":            "calroll does not read Ansible Vault; -e @FILE reads variables from a file of mode 0600",
	"ask-vault-pass":      "calroll does not read Ansible Vault; -e @FILE reads variables from a file of mode 0600",
	"ask-vault-password":  "calroll does not read Ansible Vault; -e @FILE reads variables from a file of mode 0600",
	"module-path":         "calroll has its modules built in",
	"M":                   "calroll has its modules built in",
	"flush-cache":         "calroll keeps no facts between runs",
}

// speakPlainly has the program say of a mistake in its arguments what was wrong, in the words of its other errors.
func speakPlainly(root *cobra.Command) {
	root.SetGlobalNormalizationFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if ours, ok := otherNames[name]; ok {
			name = ours
		}
		return pflag.NormalizedName(name)
	})
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		var unknown *pflag.NotExistError
		if !errors.As(err, &unknown) {
			return fmt.Errorf("cannot understand the flags: %w", err)
		}
		name, hint := unknown.GetSpecifiedName(), "see "+cmd.CommandPath()+" --help"
		if instead, ok := otherwise[name]; ok {
			hint = instead
		}
		dash := "--"
		if unknown.GetSpecifiedShortnames() != "" {
			dash = "-"
		}
		return fmt.Errorf("cannot use %s%s: %s has no such flag\n  hint: %s", dash, name, cmd.CommandPath(), hint)
	})
	for _, cmd := range append(root.Commands(), root) {
		plainArgs(cmd)
	}
}

// plainArgs wraps what judges a command's arguments, and those of the commands below it.
func plainArgs(cmd *cobra.Command) {
	judge := cmd.Args
	switch {
	case cmd.HasSubCommands() && !cmd.Runnable():
		cmd.RunE = onlyBelow
		cmd.Args = cobra.ArbitraryArgs
	case judge != nil:
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if judge(cmd, args) == nil {
				return nil
			}
			return fmt.Errorf("cannot understand the arguments %q: the command is %s\n  hint: see %s --help", args, cmd.UseLine(), cmd.CommandPath())
		}
	}
	for _, below := range cmd.Commands() {
		plainArgs(below)
	}
}

// onlyBelow is what a command does that has only commands below it.
func onlyBelow(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	var known []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			known = append(known, c.Name())
		}
	}
	return fmt.Errorf("cannot find the command %s %s: there are %s", cmd.CommandPath(), args[0], strings.Join(known, ", "))
}

// notRead are settings of Ansible that users may have and that calroll does not read.
var notRead = []string{"ANSIBLE_CONFIG", "ANSIBLE_INVENTORY", "ANSIBLE_ROLES_PATH", "ANSIBLE_REMOTE_USER", "ANSIBLE_PRIVATE_KEY_FILE", "ANSIBLE_VAULT_PASSWORD_FILE",
	"ANSIBLE_FORKS", "ANSIBLE_HOST_KEY_CHECKING", "ANSIBLE_BECOME"}

// ansibleSettings are those that are there, ansible.cfg in this folder too.
func ansibleSettings() []string {
	there := slices.DeleteFunc(slices.Clone(notRead), func(name string) bool { return os.Getenv(name) == "" })
	if _, err := os.Stat("ansible.cfg"); err == nil {
		there = append([]string{"ansible.cfg"}, there...)
	}
	return there
}

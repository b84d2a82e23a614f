package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/catalog"
)

func newPlaybooksCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "playbooks", Short: "The embedded playbooks", Args: cobra.NoArgs}
	cmd.AddCommand(
		&cobra.Command{
			Use:   "ls",
			Short: "List the embedded playbooks",
			Args:  cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				l := playbooks.Loader{Files: playbooks.Files{Catalog: catalog.FS()}}
				for _, name := range l.Catalog() {
					fmt.Fprintln(cmd.OutOrStdout(), name)
				}
				return nil
			},
		},
		&cobra.Command{
			Use:   "export DIR",
			Short: "Write the embedded playbooks into a folder, to read and change",
			Args:  cobra.ExactArgs(1),
			RunE:  func(_ *cobra.Command, args []string) error { return export(args[0]) },
		})
	return cmd
}

// export writes the catalogue into a folder that must not exist yet.
func export(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("cannot export the playbooks: %w", err)
	}
	from := catalog.FS()
	return fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(name))
		if d.IsDir() {
			return os.Mkdir(to, 0o755)
		}
		text, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		return os.WriteFile(to, text, 0o644)
	})
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/calroll/calroll/cmd/calroll/helpers"
	"github.com/calroll/calroll/facts"
	"github.com/calroll/calroll/inventory"
	"github.com/calroll/calroll/playbooks"
	"github.com/calroll/calroll/playbooks/catalog"
	"github.com/calroll/calroll/playbooks/expr"
	"github.com/calroll/calroll/playbooks/value"
	"github.com/calroll/calroll/runner"
	"github.com/calroll/calroll/runner/action"
	"github.com/calroll/calroll/runner/remote"
	"github.com/calroll/calroll/runner/store"
	"github.com/calroll/calroll/tasks"
	"github.com/calroll/calroll/tasks/cluster"
	"github.com/calroll/calroll/tasks/node"
)

func programVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// hostModules are the modules that run on hosts.
func hostModules() tasks.Set { return node.Modules().Merge(facts.Modules()) }

// helperOptions are what this program can do as a helper.
func helperOptions() remote.ServeOptions {
	modules := hostModules()
	return remote.ServeOptions{Modules: modules, Kinds: tasks.NodeKinds(tasks.KindOptions{Modules: modules}).Merge(node.Kinds())}
}

// carried is what the controller brings to a run.
func carried() (runner.Carried, error) {
	hs, err := helpers.Carried()
	if err != nil {
		return runner.Carried{}, err
	}
	dir, err := stateDir()
	if err != nil {
		return runner.Carried{}, err
	}
	o := helperOptions()
	return runner.Carried{Helpers: hs, Modules: o.Modules, Kinds: o.Kinds, StateDir: filepath.Join(dir, "controller"),
		Cluster: cluster.Modules(), ClusterKinds: cluster.Kinds}, nil
}

// stateDir is where calroll keeps what it has to remember on this machine.
func stateDir() (string, error) {
	runs, err := store.DefaultDir()
	return filepath.Dir(runs), err
}

// openStore opens the store of runs, which knows what the state that bastions share says of them.
func openStore(ctx context.Context) (*store.Store, error) {
	dir, err := store.DefaultDir()
	if err != nil {
		return nil, err
	}
	s, err := store.Open(dir)
	if err == nil {
		s.Claimed(claimed(ctx))
	}
	return s, err
}

// newEnv is the template engine for playbooks in dir.
func newEnv(dir string, inv *inventory.Inventory) *expr.Env {
	return expr.New(expr.Options{BaseDir: dir, Hosts: func(pattern string) ([]string, error) {
		hosts, err := inv.Match(pattern)
		if err != nil {
			return nil, err
		}
		var names []string
		for _, h := range hosts {
			names = append(names, h.Name)
		}
		return names, nil
	}})
}

// newLoader reads playbooks from disk and from the catalogue.
func newLoader(env *expr.Env, rolesPath []string) *playbooks.Loader {
	all := hostModules().Merge(cluster.Modules(), action.Modules())
	return &playbooks.Loader{Files: playbooks.Files{Catalog: catalog.FS(), Sums: &playbooks.Sums{}}, RolesPath: rolesPath, Modules: playbooks.ModuleSet(all),
		CheckTemplate: env.Check, CheckCondition: env.CheckCondition}
}

// extraVars reads -e: key=value pairs, YAML or JSON mappings, and @files, later ones winning.
func extraVars(args []string) (*value.Vars, error) {
	all := &value.Vars{}
	var errs []error
	for i, arg := range args {
		v, err := readExtra(arg, fmt.Sprintf("--extra-vars (%d)", i+1))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all.PutAll(v)
	}
	return all, errors.Join(errs...)
}

func readExtra(arg, name string) (*value.Vars, error) {
	if file, ok := strings.CutPrefix(arg, "@"); ok {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("cannot read extra variables: %w", err)
		}
		v, _, err := value.ReadVars(file, text)
		return v, err
	}
	if t := strings.TrimSpace(arg); strings.HasPrefix(t, "{") || strings.HasPrefix(t, "[") {
		v, _, err := value.ReadVars(name, []byte(arg))
		return v, err
	}
	return playbooks.ReadPairs(arg, name)
}

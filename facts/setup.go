package facts

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/calroll/calroll/tasks"
)

// Setup is the module setup: it answers with facts and alters nothing.
type Setup struct {
	Subset  []string `arg:"gather_subset,default=all" doc:"what to gather: all, min, network, hardware, virtual, facter, ohai; !x leaves x out"`
	Filter  []string `arg:"filter" doc:"only facts whose names match one of these shell patterns"`
	Timeout int      `arg:"gather_timeout,default=10" doc:"seconds for slow collectors"`
	Path    string   `arg:"fact_path,default=/etc/ansible/facts.d" doc:"folder with *.fact files of the host's own"`
}

// collector finds out one side of a host.
type collector struct {
	name   string
	subset string // min, network, hardware, virtual
	gather func(ctx context.Context, s *Setup) found
}

var collectors = []collector{
	{"platform", "min", platform}, {"distribution", "min", distribution}, {"date_time", "min", dateTime}, {"user", "min", userFacts},
	{"env", "min", environment}, {"cmdline", "min", commandLine}, {"dns", "min", dns}, {"service_mgr", "min", serviceManager},
	{"pkg_mgr", "min", packageManager}, {"selinux", "min", selinux}, {"local", "min", local}, {"lsb", "min", lsb},
	{"network", "network", network}, {"hardware", "hardware", hardware}, {"mounts", "hardware", mounts}, {"virtual", "virtual", virtual},
}

// Run implements tasks.Module.
func (s *Setup) Run(ctx context.Context, _ *tasks.Sys) (tasks.Result, error) {
	wanted, err := s.wanted()
	if err != nil {
		return tasks.Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.Timeout)*time.Second)
	defer cancel()
	facts := map[string]any{"ansible_gather_subset": s.Subset, "ansible_module_setup": true}
	var mu sync.Mutex // guards facts
	var wg sync.WaitGroup
	for _, c := range collectors {
		if !wanted[c.subset] && !wanted[c.name] {
			continue
		}
		wg.Go(func() {
			got := c.gather(ctx, s)
			mu.Lock()
			defer mu.Unlock()
			for name, v := range got {
				facts["ansible_"+name] = v
			}
		})
	}
	wg.Wait()
	delete(facts, "ansible_gather_subset")
	facts["gather_subset"], facts["module_setup"] = s.Subset, true
	delete(facts, "ansible_module_setup")
	return tasks.Result{Facts: s.filtered(facts)}, nil
}

// subsets are the words of gather_subset that mean several collectors.
var subsets = []string{"min", "network", "hardware", "virtual"}

// outside are subsets that Ansible gets from programs of others; there is nothing to gather for them.
var outside = []string{"facter", "ohai", "other"}

// wanted are the subsets and collectors that gather_subset chooses.
func (s *Setup) wanted() (map[string]bool, error) {
	wanted := map[string]bool{"min": true}
	positive := false
	for _, word := range s.Subset {
		if !strings.HasPrefix(word, "!") {
			positive = true
		}
	}
	if !positive {
		setAll(wanted, true)
	}
	for _, word := range s.Subset {
		word, not := strings.CutPrefix(word, "!")
		switch {
		case word == "all" && not:
			setAll(wanted, false)
			wanted["min"] = true
		case word == "all":
			setAll(wanted, true)
		case slices.Contains(outside, word):
		case !known(word):
			return nil, fmt.Errorf("Bad subset '%s' given to Ansible. gather_subset options allowed: all, %s", word, strings.Join(names(), ", "))
		default:
			wanted[word] = !not
		}
	}
	return wanted, nil
}

func setAll(wanted map[string]bool, to bool) {
	for _, name := range subsets {
		wanted[name] = to
	}
}

func names() []string {
	all := slices.Clone(subsets)
	for _, c := range collectors {
		all = append(all, c.name)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// aliases are collectors of Ansible's that are part of one of ours.
var aliases = []string{"interfaces", "default_ipv4", "processor", "processor_count", "memory", "devices", "distribution_version", "machine_id", "python",
	"apparmor", "caps", "fips", "system_capabilities", "ssh_pub_keys", "system", "kernel", "architecture", "fibre_channel_wwn", "iscsi", "nvme", "loadavg"}

func known(word string) bool { return slices.Contains(names(), word) || slices.Contains(aliases, word) }

// filtered are the facts that one of the filters matches; a pattern may leave "ansible_" out.
func (s *Setup) filtered(facts map[string]any) map[string]any {
	if len(s.Filter) == 0 || len(s.Filter) == 1 && s.Filter[0] == "" {
		return facts
	}
	out := map[string]any{}
	for name, v := range facts {
		for _, pattern := range s.Filter {
			long, _ := path.Match(pattern, name)
			short, _ := path.Match(pattern, strings.TrimPrefix(name, "ansible_"))
			if long || short {
				out[name] = v
			}
		}
	}
	return out
}

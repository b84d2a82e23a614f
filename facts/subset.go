package facts

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/calroll/calroll/playbooks/source"
	"github.com/calroll/calroll/tasks"
)

// collector looks at one side of the host.
type collector struct {
	name    string
	subset  string   // min, hardware, network, virtual; "" is part of all only
	aliases []string // further names by which it can be chosen: facts that it gives
	needs   []string // collectors that run with it
	gather  func(context.Context, *host) map[string]any
}

var collectors = []*collector{
	{"platform", "min", []string{"architecture", "kernel", "kernel_version", "machine", "machine_id", "python_version", "system"}, nil, platform},
	{"distribution", "min", []string{"distribution_version", "distribution_release", "distribution_major_version", "os_family"}, nil, distribution},
	{"date_time", "min", nil, nil, dateTime},
	{"user", "min", []string{"user_id", "user_uid", "user_gid", "user_gecos", "user_dir", "user_shell", "real_user_id", "effective_user_id", "effective_group_ids"}, nil, userFacts},
	{"env", "min", nil, nil, environment},
	{"caps", "min", []string{"system_capabilities", "system_capabilities_enforced"}, nil, capabilities},
	{"cmdline", "min", nil, nil, commandLine},
	{"dns", "min", nil, nil, nameServers},
	{"fips", "min", nil, nil, fips},
	{"selinux", "min", nil, nil, selinux},
	{"apparmor", "min", nil, nil, apparmor},
	{"lsb", "min", nil, nil, lsb},
	{"local", "min", nil, nil, localFacts},
	{"pkg_mgr", "min", nil, []string{"distribution"}, packageManager},
	{"service_mgr", "min", nil, []string{"platform", "distribution"}, serviceManager},
	{"ssh_pub_keys", "min", []string{"ssh_host_pub_keys", "ssh_host_key_dsa_public", "ssh_host_key_rsa_public", "ssh_host_key_ecdsa_public", "ssh_host_key_ed25519_public"}, nil, hostKeys},
	{"hardware", "hardware", nil, []string{"platform", "processor", "memory", "mounts", "devices", "dmi"}, nothing},
	{"processor", "hardware", []string{"processor_cores", "processor_count"}, []string{"hardware"}, processor},
	{"memory", "hardware", nil, []string{"hardware"}, memory},
	{"mounts", "hardware", nil, []string{"hardware"}, mounts},
	{"devices", "hardware", nil, []string{"hardware"}, devices},
	{"dmi", "hardware", nil, []string{"hardware"}, dmi},
	{"network", "network", []string{"interfaces", "default_ipv4", "default_ipv6", "all_ipv4_addresses", "all_ipv6_addresses"}, []string{"platform", "distribution"}, network},
	{"virtual", "virtual", []string{"virtualization_type", "virtualization_role", "virtualization_tech_guest", "virtualization_tech_host"}, nil, virtualization},
	{"loadavg", "", nil, nil, loadAverage},
	{"chroot", "", []string{"is_chroot"}, nil, chroot},
	{"iscsi", "", nil, nil, iscsi},
	{"nvme", "", nil, nil, nvme},
	{"fibre_channel_wwn", "", nil, nil, fibreChannel},
}

// without are names that Ansible knows and that mean programs which calroll does not use: nothing is gathered for them.
var without = []string{"facter", "ohai", "python"}

func nothing(context.Context, *host) map[string]any { return nil }

// choose finds the collectors of a gather_subset: min and what is named, without what has ! before it, with what those need. What is
// named itself outweighs the exclusion of a subset that it is in, and what another collector needs cannot be excluded.
func choose(subset []string) ([]*collector, error) {
	wanted, _ := expand("min")
	named, refused := map[string]bool{}, map[string]bool{}
	for _, word := range subset {
		name, not := strings.CutPrefix(word, "!")
		names, known := expand(name)
		switch {
		case not && name == "all":
			maps.DeleteFunc(names, func(n string, _ bool) bool { return find(n).subset == "min" })
			maps.Copy(refused, names)
		case not:
			maps.Copy(refused, names)
		case !known:
			return nil, badSubset(name)
		default:
			maps.Copy(wanted, names)
			if name != "all" && name != "min" {
				maps.Copy(named, names)
			}
		}
	}
	maps.DeleteFunc(wanted, func(n string, _ bool) bool { return refused[n] && !named[n] })
	return withNeeds(wanted), nil
}

func find(name string) *collector {
	i := slices.IndexFunc(collectors, func(c *collector) bool { return c.name == name })
	return collectors[i]
}

// expand are the collectors that a word of gather_subset means.
func expand(word string) (names map[string]bool, known bool) {
	names = map[string]bool{}
	for _, c := range collectors {
		if word == "all" || word == c.name || word == c.subset && word != "" || slices.Contains(c.aliases, word) {
			names[c.name] = true
		}
	}
	return names, len(names) > 0 || slices.Contains(without, word)
}

func withNeeds(wanted map[string]bool) []*collector {
	var add func(name string)
	add = func(name string) {
		for _, n := range find(name).needs {
			if !wanted[n] {
				wanted[n] = true
				add(n)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		add(name)
	}
	var chosen []*collector
	for _, c := range collectors {
		if wanted[c.name] {
			chosen = append(chosen, c)
		}
	}
	return chosen
}

func badSubset(name string) error {
	known := append([]string{"all", "min", "hardware", "network", "virtual"}, without...)
	for _, c := range collectors {
		known = append(append(known, c.name), c.aliases...)
	}
	slices.Sort(known)
	detail := "Bad subset '" + name + "' given to Ansible. gather_subset options allowed: " + strings.Join(slices.Compact(known), ", ")
	if near := source.Nearest(name, known); near != "" {
		detail = "Bad subset '" + name + "' given to Ansible (did you mean " + near + "?). gather_subset options allowed: " + strings.Join(slices.Compact(known), ", ")
	}
	return &tasks.Error{Kind: tasks.Failed, Detail: detail}
}

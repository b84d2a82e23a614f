package facts

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// processor reads /proc/cpuinfo. The list has, for each processor, the values by which Ansible describes one; the counts are
// sockets, cores of a socket, threads of a core, and their product.
func processor(_ context.Context, h *host) map[string]any {
	facts := processorsOf(h.read("/proc/cpuinfo"))
	var mask unix.CPUSet
	if unix.SchedGetaffinity(0, &mask) == nil {
		facts["processor_nproc"] = mask.Count()
	}
	return facts
}

var describing = []string{"model name", "Processor", "vendor_id", "cpu", "Vendor", "processor"}

func processorsOf(cpuinfo string) map[string]any {
	list := []string{}
	sockets := map[string]bool{}
	threads, cores, siblings := 0, 0, 0
	for line := range strings.Lines(cpuinfo) {
		name, value, _ := strings.Cut(line, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if slices.Contains(describing, name) && value != "" {
			list = append(list, value)
		}
		switch name {
		case "processor":
			threads++
		case "physical id":
			sockets[value] = true
		case "cpu cores":
			cores, _ = strconv.Atoi(value) // 0 is not known
		case "siblings":
			siblings, _ = strconv.Atoi(value)
		}
	}
	facts := map[string]any{"processor": list}
	count, perCore := len(sockets), 1
	if count == 0 || cores == 0 { // machines that do not show sockets: each processor is one
		count, cores = threads, 1
	} else if siblings > cores {
		perCore = siblings / cores
	}
	facts["processor_count"], facts["processor_cores"], facts["processor_threads_per_core"] = count, cores, perCore
	facts["processor_vcpus"] = count * cores * perCore
	return facts
}

// memory reads /proc/meminfo; all values are in MiB.
func memory(_ context.Context, h *host) map[string]any {
	facts := memoryOf(h.read("/proc/meminfo"))
	if up, _, ok := strings.Cut(h.read("/proc/uptime"), "."); ok {
		if seconds, err := strconv.Atoi(up); err == nil {
			facts["uptime_seconds"] = seconds
		}
	}
	return facts
}

func memoryOf(meminfo string) map[string]any {
	mb := map[string]int{}
	for line := range strings.Lines(meminfo) {
		name, value, _ := strings.Cut(line, ":")
		kb, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")))
		if err == nil {
			mb[name] = kb / 1024
		}
	}
	cacheless := mb["Cached"] + mb["MemFree"] + mb["Buffers"]
	return map[string]any{
		"memtotal_mb": mb["MemTotal"], "memfree_mb": mb["MemFree"], "swaptotal_mb": mb["SwapTotal"], "swapfree_mb": mb["SwapFree"],
		"memory_mb": map[string]any{
			"real":    map[string]any{"total": mb["MemTotal"], "free": mb["MemFree"], "used": mb["MemTotal"] - mb["MemFree"]},
			"nocache": map[string]any{"free": cacheless, "used": mb["MemTotal"] - cacheless},
			"swap":    map[string]any{"total": mb["SwapTotal"], "free": mb["SwapFree"], "used": mb["SwapTotal"] - mb["SwapFree"], "cached": mb["SwapCached"]},
		},
	}
}

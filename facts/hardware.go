package facts

import (
	"context"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func hardware(context.Context, *Setup) found {
	f := found{}
	memory(f)
	processors(f)
	for fact, file := range map[string]string{"product_name": "product_name", "product_version": "product_version", "product_serial": "product_serial",
		"product_uuid": "product_uuid", "system_vendor": "sys_vendor", "bios_date": "bios_date", "bios_version": "bios_version", "bios_vendor": "bios_vendor",
		"board_name": "board_name", "board_vendor": "board_vendor", "chassis_vendor": "chassis_vendor"} {
		f[fact] = "NA"
		if text := read("/sys/devices/virtual/dmi/id/" + file); text != "" {
			f[fact] = text
		}
	}
	if seconds, _, ok := strings.Cut(read("/proc/uptime"), "."); ok {
		f["uptime_seconds"], _ = strconv.Atoi(seconds)
	}
	return f
}

func memory(f found) {
	mb := map[string]int{}
	for _, line := range strings.Split(read("/proc/meminfo"), "\n") {
		k, rest, _ := strings.Cut(line, ":")
		if fields := strings.Fields(rest); len(fields) > 0 {
			kb, _ := strconv.Atoi(fields[0])
			mb[k] = kb / 1024
		}
	}
	total, free := mb["MemTotal"], mb["MemFree"]
	unused := free + mb["Cached"] + mb["Buffers"]
	f["memtotal_mb"], f["memfree_mb"], f["swaptotal_mb"], f["swapfree_mb"] = total, free, mb["SwapTotal"], mb["SwapFree"]
	f["memory_mb"] = map[string]any{
		"real":    map[string]any{"total": total, "used": total - free, "free": free},
		"nocache": map[string]any{"free": unused, "used": total - unused},
		"swap":    map[string]any{"total": mb["SwapTotal"], "free": mb["SwapFree"], "used": mb["SwapTotal"] - mb["SwapFree"], "cached": mb["SwapCached"]},
	}
}

func processors(f found) {
	var list []any
	sockets, cores := map[string]bool{}, 0
	for _, line := range strings.Split(read("/proc/cpuinfo"), "\n") {
		k, v, ok := strings.Cut(line, ":")
		k, v = strings.TrimSpace(k), strings.TrimSpace(v)
		switch {
		case !ok:
		case k == "processor", k == "vendor_id", k == "model name":
			list = append(list, v)
		case k == "physical id":
			sockets[v] = true
		case k == "cpu cores":
			cores, _ = strconv.Atoi(v)
		}
	}
	n := runtime.NumCPU()
	count := max(len(sockets), 1)
	cores = max(cores, 1)
	f["processor"], f["processor_nproc"], f["processor_count"], f["processor_cores"] = list, n, count, cores
	threads := max(n/(count*cores), 1)
	f["processor_threads_per_core"], f["processor_vcpus"] = threads, threads*count*cores
}

func mounts(context.Context, *Setup) found {
	var list []any
	for _, line := range strings.Split(read("/proc/mounts"), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "/") && !strings.Contains(fields[0], ":/") || fields[2] == "none" {
			continue
		}
		list = append(list, mount(fields))
	}
	return found{"mounts": list}
}

func mount(fields []string) map[string]any {
	at := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\134`, `\`).Replace(fields[1])
	m := map[string]any{"device": fields[0], "mount": at, "fstype": fields[2], "options": fields[3], "uuid": "N/A"}
	var s unix.Statfs_t
	if err := unix.Statfs(at, &s); err != nil {
		return m
	}
	size := int64(s.Frsize)
	m["size_total"], m["size_available"] = size*int64(s.Blocks), size*int64(s.Bavail)
	m["block_size"], m["block_total"], m["block_available"], m["block_used"] = int64(s.Bsize), int64(s.Blocks), int64(s.Bavail), int64(s.Blocks-s.Bavail)
	m["inode_total"], m["inode_available"], m["inode_used"] = int64(s.Files), int64(s.Ffree), int64(s.Files-s.Ffree)
	return m
}

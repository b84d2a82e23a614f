package facts

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// devices lists disks and their partitions, and the names that /dev/disk has for them.
func devices(_ context.Context, h *host) map[string]any {
	links := map[string]map[string][]string{}
	for kind, dir := range map[string]string{"ids": "by-id", "uuids": "by-uuid", "labels": "by-label"} {
		links[kind] = h.diskLinks("/dev/disk/" + dir)
	}
	links["masters"] = h.masters()
	all := map[string]any{}
	for _, name := range h.list("/sys/block") {
		all[name] = h.device(name, links)
	}
	return map[string]any{"devices": all, "device_links": links, "lvm": "N/A"}
}

// diskLinks are the names in a folder of /dev/disk, by device.
func (h *host) diskLinks(dir string) map[string][]string {
	links := map[string][]string{}
	for _, name := range h.list(dir) {
		if device := h.link(filepath.Join(dir, name)); device != "" {
			links[device] = append(links[device], name)
			slices.Sort(links[device])
		}
	}
	return links
}

// masters are the devices that are made of a device, by device.
func (h *host) masters() map[string][]string {
	masters := map[string][]string{}
	for _, master := range h.list("/sys/block") {
		for _, part := range h.list("/sys/block/" + master + "/slaves") {
			masters[part] = append(masters[part], master)
		}
	}
	return masters
}

func linksOf(links map[string]map[string][]string, device string) map[string]any {
	out := map[string]any{}
	for _, kind := range []string{"ids", "uuids", "labels", "masters"} {
		names := links[kind][device]
		if names == nil {
			names = []string{}
		}
		out[kind] = names
	}
	return out
}

var scheduler = regexp.MustCompile(`\[(.*?)\]`)

func (h *host) device(name string, links map[string]map[string][]string) map[string]any {
	at := "/sys/block/" + name + "/"
	d := map[string]any{
		"virtual": 1, "links": linksOf(links, name), "vendor": orNil(h.read(at + "device/vendor")), "model": orNil(h.read(at + "device/model")),
		"sas_address": orNil(h.read(at + "device/sas_address")), "sas_device_handle": orNil(h.read(at + "device/sas_device_handle")),
		"removable": h.readOr(at+"removable", "0"), "support_discard": h.read(at + "queue/discard_granularity"), "rotational": h.read(at + "queue/rotational"),
		"scheduler_mode": "", "holders": orEmpty(h.list(at + "holders")), "host": "",
	}
	if serial := h.read(at + "device/serial"); serial != "" {
		d["serial"] = serial
	}
	if m := scheduler.FindStringSubmatch(h.read(at + "queue/scheduler")); m != nil {
		d["scheduler_mode"] = m[1]
	}
	sectors := h.readOr(at+"size", "0")
	d["sectors"], d["sectorsize"], d["size"] = sectors, h.readOr(at+"queue/logical_block_size", h.readOr(at+"queue/hw_sector_size", "512")), sizeOf(sectors)
	d["partitions"] = h.partitions(at, name, links)
	return d
}

func (h *host) partitions(at, disk string, links map[string]map[string][]string) map[string]any {
	parts := map[string]any{}
	uuids := h.uuids()
	for _, name := range h.list(at) {
		p := at + name + "/"
		if !strings.HasPrefix(name, disk) || !h.exists(p+"start") {
			continue
		}
		sectors := h.readOr(p+"size", "0")
		parts[name] = map[string]any{
			"start": h.readOr(p+"start", "0"), "sectors": sectors, "sectorsize": h.readOr(p+"queue/logical_block_size", h.readOr(p+"queue/hw_sector_size", "512")), "size": sizeOf(sectors),
			"uuid": orNil(uuids[name]), "links": linksOf(links, name), "holders": orEmpty(h.list(p + "holders")),
		}
	}
	return parts
}

func orNil(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// sizeOf writes so many sectors of 512 bytes for people.
func sizeOf(sectors string) string {
	n, err := strconv.ParseFloat(sectors, 64)
	if err != nil {
		return ""
	}
	n *= 512
	units := []string{"Bytes", "KB", "MB", "GB", "TB", "PB", "EB"}
	i := 0
	for n >= 1024 && i < len(units)-1 {
		n /= 1024
		i++
	}
	return fmt.Sprintf("%.2f %s", n, units[i])
}

// formFactors are the types of a chassis in the order of their numbers in SMBIOS.
var formFactors = []string{
	"Unknown", "Other", "Unknown", "Desktop", "Low Profile Desktop", "Pizza Box", "Mini Tower", "Tower", "Portable", "Laptop", "Notebook", "Hand Held", "Docking Station", "All In One", "Sub Notebook", "Space-saving",
	"Lunch Box", "Main Server Chassis", "Expansion Chassis", "Sub Chassis", "Bus Expansion Chassis", "Peripheral Chassis", "RAID Chassis", "Rack Mount Chassis", "Sealed-case PC", "Multi-system", "CompactPCI", "AdvancedTCA",
	"Blade", "Blade Enclosure", "Tablet", "Convertible", "Detachable", "IoT Gateway", "Embedded PC", "Mini PC", "Stick PC",
}

// dmi is what the firmware says of the machine; NA where it says nothing, or not to this user.
func dmi(_ context.Context, h *host) map[string]any {
	facts := map[string]any{}
	for name, file := range map[string]string{
		"bios_date": "bios_date", "bios_vendor": "bios_vendor", "bios_version": "bios_version", "board_asset_tag": "board_asset_tag", "board_name": "board_name", "board_serial": "board_serial",
		"board_vendor": "board_vendor", "board_version": "board_version", "chassis_asset_tag": "chassis_asset_tag", "chassis_serial": "chassis_serial", "chassis_vendor": "chassis_vendor",
		"chassis_version": "chassis_version", "product_name": "product_name", "product_serial": "product_serial", "product_uuid": "product_uuid", "product_version": "product_version", "system_vendor": "sys_vendor",
	} {
		facts[name] = h.readOr("/sys/devices/virtual/dmi/id/"+file, "NA")
	}
	facts["form_factor"] = "NA"
	if n, err := strconv.Atoi(h.read("/sys/devices/virtual/dmi/id/chassis_type")); err == nil && n >= 0 && n < len(formFactors) {
		facts["form_factor"] = formFactors[n]
	}
	return facts
}

package facts

import (
	"context"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mounts lists the file systems on devices and network shares. Each is asked for its sizes on its own, since one that does not
// answer must not hide the others.
func mounts(ctx context.Context, h *host) map[string]any {
	found := mountsOf(h.read("/proc/self/mountinfo"))
	sized := make([]chan map[string]any, len(found))
	uuids := h.uuids()
	for i, m := range found {
		sized[i] = make(chan map[string]any, 1)
		go func() { sized[i] <- sizes(h.path(m["mount"].(string))) }() // ends when the file system answers
	}
	list := []any{}
	for i, m := range found {
		m["uuid"] = "N/A"
		if id := uuids[filepath.Base(m["device"].(string))]; id != "" {
			m["uuid"] = id
		}
		select {
		case s := <-sized[i]:
			for name, value := range s {
				m[name] = value
			}
		case <-ctx.Done():
			m["note"] = "Could not get extra information due to timeout"
		}
		list = append(list, m)
	}
	return map[string]any{"mounts": list}
}

// mountsOf reads /proc/self/mountinfo.
func mountsOf(text string) []map[string]any {
	var list []map[string]any
	for line := range strings.Lines(text) {
		left, right, ok := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 6 || len(r) < 3 {
			continue
		}
		device, kind := unescape(r[1]), r[0]
		if !strings.HasPrefix(device, "/") && !strings.Contains(device, ":/") || kind == "none" {
			continue
		}
		options := joinOptions(l[5], r[2])
		if root := l[3]; root != "/" {
			options += ",bind"
		}
		list = append(list, map[string]any{"mount": unescape(l[4]), "device": device, "fstype": kind, "options": options})
	}
	return list
}

// joinOptions are the options of the mount, then those of the file system, as /proc/mounts shows them.
func joinOptions(mount, super string) string {
	for o := range strings.SplitSeq(super, ",") {
		if o != "rw" && o != "ro" {
			mount += "," + o
		}
	}
	return mount
}

// unescape reads the octal escapes of blanks in a name.
func unescape(name string) string {
	if !strings.Contains(name, `\`) {
		return name
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] == '\\' && i+3 < len(name) {
			if c, err := strconv.ParseUint(name[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(name[i])
	}
	return b.String()
}

func sizes(path string) map[string]any {
	var s unix.Statfs_t
	if unix.Statfs(path, &s) != nil {
		return nil
	}
	fragment := s.Frsize
	if fragment == 0 {
		fragment = s.Bsize
	}
	return map[string]any{
		"size_total": int64(s.Blocks) * fragment, "size_available": int64(s.Bavail) * fragment, "block_size": s.Bsize, "block_total": int64(s.Blocks),
		"block_available": int64(s.Bavail), "block_used": int64(s.Blocks - s.Bavail), "inode_total": int64(s.Files), "inode_available": int64(s.Ffree), "inode_used": int64(s.Files - s.Ffree),
	}
}

// uuids are those of file systems, by the name of their device.
func (h *host) uuids() map[string]string {
	found := map[string]string{}
	for _, id := range h.list("/dev/disk/by-uuid") {
		found[h.link("/dev/disk/by-uuid/"+id)] = id
	}
	return found
}

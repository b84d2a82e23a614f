package facts

import (
	"context"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func platform(ctx context.Context, h *host) map[string]any {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return nil
	}
	text := unix.ByteSliceToString
	node, machine := text(u.Nodename[:]), text(u.Machine[:])
	short, _, _ := strings.Cut(node, ".")
	full := h.fullName(ctx, node)
	_, domain, _ := strings.Cut(full, ".")
	facts := map[string]any{
		"system": text(u.Sysname[:]), "kernel": text(u.Release[:]), "kernel_version": text(u.Version[:]), "machine": machine, "architecture": architecture(machine),
		"nodename": node, "hostname": short, "fqdn": full, "domain": domain,
		"userspace_bits": strconv.Itoa(strconv.IntSize), "userspace_architecture": architecture(machine),
	}
	if id := h.readOr("/var/lib/dbus/machine-id", h.read("/etc/machine-id")); id != "" {
		facts["machine_id"], _, _ = strings.Cut(id, "\n")
	}
	return facts
}

var i386 = regexp.MustCompile(`^(i[3456]86|i86pc)$`)

func architecture(machine string) string {
	if i386.MatchString(machine) {
		return "i386"
	}
	return machine
}

// lookupTime bounds questions to name servers, which may be out of reach while a network is being set up.
const lookupTime = 2 * time.Second

// fullName is what Python's socket.getfqdn says: the first name with a dot of those that the node name's address has, else the
// first of them; /etc/hosts is asked before name servers.
func (h *host) fullName(ctx context.Context, node string) string {
	names := h.hostsNames(node)
	if names == nil {
		ctx, cancel := context.WithTimeout(ctx, lookupTime)
		defer cancel()
		addrs, err := net.DefaultResolver.LookupHost(ctx, node)
		if err != nil || len(addrs) == 0 {
			return node
		}
		found, _ := net.DefaultResolver.LookupAddr(ctx, addrs[0]) // none is an answer
		for _, n := range found {
			names = append(names, strings.TrimSuffix(n, "."))
		}
	}
	for _, n := range names {
		if strings.Contains(n, ".") {
			return n
		}
	}
	if len(names) == 0 {
		return node
	}
	return names[0]
}

// hostsNames are the names that /etc/hosts gives the address which it gives to node; nil when it does not have node.
func (h *host) hostsNames(node string) []string {
	var lines [][]string
	for line := range strings.Lines(h.read("/etc/hosts")) {
		line, _, _ = strings.Cut(line, "#")
		if f := strings.Fields(line); len(f) > 1 {
			lines = append(lines, f)
		}
	}
	for _, f := range lines {
		for _, name := range f[1:] {
			if !strings.EqualFold(name, node) {
				continue
			}
			for _, other := range lines { // the address's first line names it
				if other[0] == f[0] {
					return other[1:]
				}
			}
		}
	}
	return nil
}

func loadAverage(context.Context, *host) map[string]any {
	var s unix.Sysinfo_t
	if unix.Sysinfo(&s) != nil {
		return nil
	}
	load := func(i int) float64 { return float64(s.Loads[i]) / (1 << 16) }
	return map[string]any{"loadavg": map[string]any{"1m": load(0), "5m": load(1), "15m": load(2)}}
}

// chroot compares our root with that of the first process.
func chroot(_ context.Context, h *host) map[string]any {
	var ours, first unix.Stat_t
	is := os.Getenv("debian_chroot") != ""
	if unix.Stat("/", &ours) == nil && unix.Stat("/proc/1/root/.", &first) == nil {
		is = is || ours.Ino != first.Ino || ours.Dev != first.Dev
	}
	return map[string]any{"is_chroot": is}
}

func dateTime(context.Context, *host) map[string]any {
	return map[string]any{"date_time": dateTimeAt(time.Now())}
}

func dateTimeAt(now time.Time) map[string]any {
	utc := now.UTC()
	epoch := strconv.FormatInt(now.Unix(), 10)
	return map[string]any{
		"year": now.Format("2006"), "month": now.Format("01"), "day": now.Format("02"), "hour": now.Format("15"), "minute": now.Format("04"), "second": now.Format("05"),
		"weekday": now.Weekday().String(), "weekday_number": strconv.Itoa(int(now.Weekday())), "weeknumber": weekOf(now), "date": now.Format(time.DateOnly), "time": now.Format(time.TimeOnly),
		"epoch": epoch, "epoch_int": epoch, "iso8601": utc.Format("2006-01-02T15:04:05Z"), "iso8601_micro": utc.Format("2006-01-02T15:04:05.000000Z"),
		"iso8601_basic": now.Format("20060102T150405") + now.Format(".000000")[1:], "iso8601_basic_short": now.Format("20060102T150405"),
		"tz": now.Format("MST"), "tz_dst": summerName(now), "tz_offset": now.Format("-0700"),
	}
}

// weekOf is strftime's %W: weeks begin on Monday, and the days before the first Monday are in week 00.
func weekOf(t time.Time) string {
	monday := (int(t.Weekday()) + 6) % 7
	week := (t.YearDay() - 1 + 7 - monday) / 7
	return strconv.Itoa(week/10) + strconv.Itoa(week%10)
}

// summerName is the zone's name in summer time; the usual one for zones that have none.
func summerName(now time.Time) string {
	name, _ := now.Zone()
	for month := time.January; month <= time.December; month++ {
		t := time.Date(now.Year(), month, 15, 12, 0, 0, 0, now.Location())
		if t.IsDST() {
			name, _ = t.Zone()
		}
	}
	return name
}

package facts

import (
	"context"
	"strings"
)

// commandLine is the kernel's: cmdline has the last value of each name, proc_cmdline lists where there are several. A name without a
// value is true.
func commandLine(_ context.Context, h *host) map[string]any {
	text := h.read("/proc/cmdline")
	if text == "" {
		return nil
	}
	last, all := map[string]any{}, map[string]any{}
	for _, word := range words(text) {
		name, value, ok := strings.Cut(word, "=")
		if !ok {
			last[name], all[name] = true, true
			continue
		}
		last[name] = value
		switch before := all[name].(type) {
		case nil, bool:
			all[name] = value
		case string:
			all[name] = []any{before, value}
		case []any:
			all[name] = append(before, value)
		}
	}
	return map[string]any{"cmdline": last, "proc_cmdline": all}
}

// words splits as a shell does, quotes taken off.
func words(text string) []string {
	var out []string
	var word strings.Builder
	quote, started := rune(0), false
	for _, c := range text {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, started = c, true
		case quote == 0 && strings.ContainsRune(" \t\n", c):
			if started {
				out = append(out, word.String())
			}
			word.Reset()
			started = false
		default:
			word.WriteRune(c)
			started = true
		}
	}
	if started {
		out = append(out, word.String())
	}
	return out
}

// nameServers is /etc/resolv.conf.
func nameServers(_ context.Context, h *host) map[string]any {
	dns := map[string]any{}
	for line := range strings.Lines(h.read("/etc/resolv.conf")) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0][0] == '#' || f[0][0] == ';' {
			continue
		}
		switch f[0] {
		case "nameserver":
			servers, _ := dns["nameservers"].([]string)
			dns["nameservers"] = append(servers, f[1:]...)
		case "domain":
			if len(f) > 1 {
				dns["domain"] = f[1]
			}
		case "search", "sortlist":
			dns[f[0]] = f[1:]
		case "options":
			options := map[string]any{}
			for _, o := range f[1:] {
				name, value, ok := strings.Cut(o, ":")
				options[name] = value
				if !ok {
					options[name] = true
				}
			}
			dns["options"] = options
		}
	}
	return map[string]any{"dns": dns}
}

package node_test

func find(a ...any) step { return do("find", pairs(append([]any{"paths", "@/f"}, a...))) }
func repl(a ...any) step { return do("replace", pairs(append([]any{"path", "@/r"}, a...))) }

// findCases use trees whose folders have one entry of a kind, or ask for one: the order within a folder is the file system's.
var findCases = []sameAs{
	{"find", "mkdir -p f/d/e; printf 'one\\ntwo\\n' > f/a.txt; printf 12345678901 > f/d/b.conf; touch -d '3 days ago' f/d/e/old; ln -s d f/l; touch f/.h; mkdir f/d/.hd; touch f/d/.hd/x; chmod 4711 f/a.txt", []step{
		find(), find("recurse", true, "patterns", "*.conf"), find("recurse", true, "patterns", "a*,*z", "get_checksum", true), find("file_type", "directory"), find("file_type", "link"), find("hidden", true, "patterns", ".*"),
		find("recurse", true, "age", "1d"), find("recurse", true, "age", "-1h", "excludes", "a.txt"), find("recurse", true, "size", "10"), find("recurse", true, "size", "-1", "excludes", "x"), find("contains", "two"), find("contains", "wo"), find("contains", "wo", "read_whole_file", true),
		find("use_regex", true, "patterns", "a.t"), find("use_regex", true, "patterns", ".*", "excludes", "^a", "recurse", true, "depth", 2), find("recurse", true, "depth", 1), find("recurse", true, "follow", true, "patterns", "nothing"), find("age", "x"), find("size", "1q"),
		find("patterns", "[!b]*"), find("patterns", "[ab].???"), find("patterns", "[a"), do("find", args{"paths": []any{"@/none", "@/f/d"}}), find("file_type", "any", "patterns", "d"),
	}},
	{"replace", "printf 'alpha=1\\nbeta=2\\n[s]\\nbeta=3\\nß beta=4\\n[t]\\nbeta=5\\n' > r; mkdir d; ln -s r l", []step{
		repl("regexp", "^beta=(\\d)$", "replace", "gamma=\\1\\g<1>"), repl("regexp", "^beta=(\\d)$", "replace", "gamma=\\1"), repl("regexp", "beta", "replace", "delta", "after", "\\[s\\]", "before", "\\[t\\]"),
		repl("regexp", "gamma", "replace", "x", "after", "\\[t\\]"), repl("regexp", "gamma", "before", "\\[s\\]"), repl("regexp", "x", "after", "nowhere"), repl("regexp", "=", "replace", ":", "mode", "0600", "backup", true), repl("regexp", "none", "mode", "0640"), repl("regexp", "none", "mode", "0640"),
		checked(repl("regexp", "alpha", "replace", "omega")), repl("regexp", "alpha", "replace", "omega", "validate", "test -s %s"), repl("regexp", "omega", "replace", "alpha", "validate", "false %s"), do("replace", args{"path": "@/none", "regexp": "x"}), do("replace", args{"path": "@/d", "regexp": "x"}),
		do("replace", args{"path": "@/l", "regexp": "omega", "replace": "link"}), repl("regexp", "li(n)k", "replace", "a\\nb"), repl("regexp", "("), repl("regexp", "$", "replace", "!"),
	}},
}

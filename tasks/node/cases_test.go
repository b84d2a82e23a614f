package node_test

var fileCases = []sameAs{
	{"file touch", "", []step{do("file", args{"path": "@/f", "state": "touch"}), do("file", args{"path": "@/f", "state": "touch", "mode": "0600"}),
		do("file", args{"path": "@/f", "state": "touch", "modification_time": "preserve", "access_time": "preserve"}),
		check("file", args{"path": "@/g", "state": "touch"}), do("file", args{"path": "@/no/f", "state": "touch"})}},
	{"file touch time", "echo > f", []step{do("file", args{"path": "@/f", "state": "touch", "modification_time": "202001020304.05", "access_time": "preserve"}),
		do("file", args{"path": "@/f", "modification_time": "202001020304.05"}), do("file", args{"path": "@/f", "modification_time": "nonsense"}), do("stat", args{"path": "@/f"})}},
	{"file attributes", "echo > f; chmod 644 f; ln -s f l; mkdir d", []step{do("file", args{"path": "@/f", "mode": "0600"}), do("file", args{"path": "@/f", "mode": "0600"}),
		do("file", args{"path": "@/l", "mode": "u+x,g=r,o="}), do("file", args{"path": "@/l", "state": "file", "mode": "0644"}),
		do("file", args{"path": "@/f", "owner": "daemon", "group": "1"}), do("file", args{"path": "@/f", "owner": "nosuchuser"}),
		do("file", args{"path": "@/no"}), do("file", args{"path": "@/d", "state": "file"}), do("file", args{"path": "@/d", "mode": 448}),
		check("file", args{"path": "@/f", "mode": "0640"}), do("file", args{"path": "@/l", "owner": "1", "follow": false}), do("file", args{"path": "@/f", "mode": "u=rwX,go=rX"})}},
	{"file directory", "", []step{do("file", args{"path": "@/a/b/c", "state": "directory", "mode": "0750", "owner": "1"}), do("file", args{"path": "@/a/b/c", "state": "directory", "mode": "0750"}),
		check("file", args{"path": "@/x/y", "state": "directory"}), do("file", args{"path": "@/a", "recurse": true, "state": "directory", "group": "2"}),
		do("file", args{"path": "@/n", "recurse": true}), do("file", args{"path": "@/a", "state": "touch", "recurse": true})}},
	{"file directory recurse", "mkdir -p d/e; echo > d/f; echo > d/e/g; chmod 755 d/e/g; ln -s ../out d/l; echo > out; ln -s nowhere d/broken", []step{
		do("file", args{"path": "@/d", "state": "directory", "recurse": true, "mode": "u=rwX,g=rX,o="}), do("file", args{"path": "@/d", "state": "directory", "recurse": true, "mode": "u=rwX,g=rX,o="}),
		do("file", args{"path": "@/d", "state": "directory", "recurse": true, "owner": "1", "follow": false})}},
	{"file directory in the way", "echo > f; ln -s f l; mkdir d; ln -s d ld", []step{do("file", args{"path": "@/f", "state": "directory"}), do("file", args{"path": "@/l", "state": "directory"}),
		do("file", args{"path": "@/ld", "state": "directory", "mode": "0700"}), do("file", args{"path": "@/ld", "state": "directory", "follow": false})}},
	{"file link", "echo > f; echo > g; chmod 640 f", []step{do("file", args{"path": "@/l", "src": "@/f", "state": "link"}), do("file", args{"path": "@/l", "src": "@/f", "state": "link"}),
		do("file", args{"path": "@/l", "src": "g", "state": "link"}), do("file", args{"path": "@/l", "src": "@/no", "state": "link"}), do("file", args{"path": "@/l2", "src": "@/no", "state": "link", "force": true}),
		do("file", args{"path": "@/l", "state": "link", "mode": "0600"}), do("file", args{"path": "@/new", "state": "link"}), do("file", args{"path": "@/g", "src": "@/f", "state": "link"}),
		do("file", args{"path": "@/g", "src": "@/f", "state": "link", "force": true}), check("file", args{"path": "@/l9", "src": "@/f", "state": "link"}), do("file", args{"path": "@/f", "src": "x"}),
		do("file", args{"path": "@/l", "state": "absent"})}},
	{"file link over folder", "mkdir d full; echo > full/x; echo > f", []step{do("file", args{"path": "@/d", "src": "@/f", "state": "link"}), do("file", args{"path": "@/full", "src": "@/f", "state": "link", "force": true}),
		check("file", args{"path": "@/d", "src": "@/f", "state": "link", "force": true}), do("file", args{"path": "@/d", "src": "@/f", "state": "link", "force": true})}},
	{"file hard", "echo > f; echo > g; mkdir d", []step{do("file", args{"path": "@/h", "src": "@/f", "state": "hard"}), do("file", args{"path": "@/h", "src": "@/f", "state": "hard", "mode": "0600"}),
		do("file", args{"path": "@/h", "src": "@/g", "state": "hard"}), do("file", args{"path": "@/h", "src": "@/g", "state": "hard", "force": true}), do("file", args{"path": "@/f", "src": "@/g", "state": "hard"}),
		do("file", args{"path": "@/x", "src": "@/no", "state": "hard"}), do("file", args{"path": "@/x", "state": "hard"}), do("file", args{"path": "@/d", "src": "@/f", "state": "hard"}), do("file", args{"path": "@/h"})}},
	{"file absent", "mkdir -p d/e; echo > d/f; echo > f; ln -s d l", []step{do("file", args{"path": "@/l", "state": "absent"}), check("file", args{"path": "@/d", "state": "absent"}),
		do("file", args{"path": "@/d", "state": "absent"}), do("file", args{"path": "@/d", "state": "absent"}), do("file", args{"path": "@/f", "state": "absent"}), do("file", args{"path": "@/no/such/f", "state": "absent"})}},
	{"file mistakes", "echo > f", []step{do("file", args{"path": "@/f", "state": "nonsense"}), do("file", args{"path": "@/f", "modee": "1"}), do("file", args{"state": "touch"}), do("file", args{"path": "@/f", "recurse": "maybe"}), do("file", args{"path": "@/f", "mode": "u+q"})}},
}

var copyCases = []sameAs{
	{"copy content", "", []step{do("copy", args{"content": "one\n", "dest": "@/f"}), do("copy", args{"content": "one\n", "dest": "@/f"}), do("copy", args{"content": "one\n", "dest": "@/f", "mode": "0600"}),
		do("copy", args{"content": "two\n", "dest": "@/f"}), do("copy", args{"content": "three\n", "dest": "@/f", "force": false}), check("copy", args{"content": "four\n", "dest": "@/f"}), check("copy", args{"content": "four\n", "dest": "@/new"}),
		do("copy", args{"content": "x", "dest": "@/f", "backup": true}), do("copy", args{"content": "", "dest": "@/empty"}), do("copy", args{"content": "x", "dest": "@/no/such"})}},
	{"copy src", "echo one > src; chmod 755 src; mkdir d", []step{do("copy", args{"src": "@/src", "dest": "@/f"}), do("copy", args{"src": "@/src", "dest": "@/d"}), do("copy", args{"src": "@/src", "dest": "@/d/"}),
		do("copy", args{"src": "@/src", "dest": "@/n/m/"}), do("copy", args{"src": "@/src", "dest": "@/p", "mode": "preserve"}), do("copy", args{"src": "@/src", "dest": "@/p", "owner": "1", "group": "1", "mode": "0400"}),
		do("copy", args{"src": "@/src", "dest": "@/n2/", "directory_mode": "0700"}), do("copy", args{"src": "@/src", "dest": "@/f", "mode": "a-x"}), do("copy", args{"src": "@/src", "dest": "@/ck", "checksum": "0000000000000000000000000000000000000000"})}},
	{"copy over links", "echo one > src; echo old > real; ln -s real l; ln -s real l2; ln -s nowhere l3; mkdir d; ln -s d ld", []step{do("copy", args{"src": "@/src", "dest": "@/l"}), do("copy", args{"src": "@/src", "dest": "@/l2", "follow": true}),
		do("copy", args{"src": "@/src", "dest": "@/ld"}), do("copy", args{"src": "@/src", "dest": "@/l3"})}},
	{"copy same content over link", "echo one > src; echo one > real; ln -s real l; ln -s real l2", []step{do("copy", args{"src": "@/src", "dest": "@/l"}), do("copy", args{"src": "@/src", "dest": "@/l2", "follow": true, "mode": "0600"})}},
	{"copy keeps attributes", "echo old > f; chmod 4750 f; chown 1:2 f; echo new > src", []step{do("copy", args{"src": "@/src", "dest": "@/f"})}},
	{"copy validate", "echo old > f; echo new > src", []step{do("copy", args{"src": "@/src", "dest": "@/f", "validate": "grep -q wrong %s"}), do("copy", args{"src": "@/src", "dest": "@/f", "validate": "grep -q new %s"}), do("copy", args{"content": "z", "dest": "@/f", "validate": "true"})}},
	{"copy folder", "mkdir -p s/e; echo 1 > s/a; echo 2 > s/e/b; chmod 700 s/e/b", []step{do("copy", args{"src": "@/s", "dest": "@/d"}), do("copy", args{"src": "@/s", "dest": "@/d"}), do("copy", args{"src": "@/s/", "dest": "@/d2/", "mode": "0640", "directory_mode": "0750"}),
		do("copy", args{"src": "@/s", "dest": "@/d3", "mode": "preserve"}), check("copy", args{"src": "@/s", "dest": "@/d4"})}},
	{"copy remote", "echo one > src; chmod 750 src; mkdir d", []step{do("copy", args{"src": "@/src", "dest": "@/f", "remote_src": true}), do("copy", args{"src": "@/src", "dest": "@/f", "remote_src": true}), do("copy", args{"src": "@/src", "dest": "@/d", "remote_src": true, "mode": "preserve"}),
		do("copy", args{"src": "@/no", "dest": "@/x", "remote_src": true}), check("copy", args{"src": "@/src", "dest": "@/y", "remote_src": true}), do("copy", args{"src": "@/src", "dest": "@/d", "remote_src": true, "mode": "0600"})}},
	{"copy remote folder", "mkdir -p s/e; echo 1 > s/a; echo 2 > s/e/b; chmod 700 s/e/b; chmod 711 s/e", []step{do("copy", args{"src": "@/s", "dest": "@/d", "remote_src": true}), do("copy", args{"src": "@/s", "dest": "@/d", "remote_src": true}),
		do("copy", args{"src": "@/s/", "dest": "@/d2", "remote_src": true}), sh("echo 3 >> s/a; echo 9 > s/new"), do("copy", args{"src": "@/s/", "dest": "@/d2", "remote_src": true})}},
	{"copy mistakes", "", []step{do("copy", args{"dest": "@/f"}), do("copy", args{"content": "x"}), do("copy", args{"content": "x", "dest": "@"})}},
}

var lineCases = []sameAs{
	{"lineinfile present", "printf 'a\\nb\\nc\\n' > f", []step{do("lineinfile", args{"path": "@/f", "line": "b"}), do("lineinfile", args{"path": "@/f", "line": "d"}), do("lineinfile", args{"path": "@/f", "regexp": "^b", "line": "B"}),
		do("lineinfile", args{"path": "@/f", "regexp": "^zz", "line": "B"}), do("lineinfile", args{"path": "@/f", "regexp": "^zz", "line": "Z"}), do("lineinfile", args{"path": "@/f", "line": "after a", "insertafter": "^a"}), do("lineinfile", args{"path": "@/f", "line": "before a", "insertbefore": "^a"}),
		do("lineinfile", args{"path": "@/f", "line": "first", "insertbefore": "BOF"}), do("lineinfile", args{"path": "@/f", "line": "last", "insertafter": "EOF"}), do("lineinfile", args{"path": "@/f", "line": "nowhere", "insertafter": "^qq"}),
		do("lineinfile", args{"path": "@/f", "search_string": "fir", "line": "FIRST"}), check("lineinfile", args{"path": "@/f", "line": "check"}), do("lineinfile", args{"path": "@/f", "line": "last", "mode": "0600"}), do("lineinfile", args{"path": "@/f", "line": "new", "mode": "0640"})}},
	{"lineinfile backrefs", "printf 'key=old\\nother\\n' > f", []step{do("lineinfile", args{"path": "@/f", "regexp": "^(key)=(?P<v>.*)", "line": "\\1=new \\g<v>", "backrefs": true}), do("lineinfile", args{"path": "@/f", "regexp": "^(nokey)=", "line": "\\1=x", "backrefs": true}), do("lineinfile", args{"path": "@/f", "line": "\\1", "backrefs": true}),
		do("lineinfile", args{"path": "@/f", "regexp": "^key=(?!zzz)", "line": "lookahead"})}},
	{"lineinfile absent", "printf 'a\\nb\\na\\nab\\n' > f", []step{do("lineinfile", args{"path": "@/f", "line": "a", "state": "absent"}), do("lineinfile", args{"path": "@/f", "regexp": "b", "state": "absent"}), do("lineinfile", args{"path": "@/f", "regexp": "b", "state": "absent"}), do("lineinfile", args{"path": "@/no", "line": "b", "state": "absent"}), do("lineinfile", args{"path": "@/f", "state": "absent"})}},
	{"lineinfile create", "mkdir d", []step{do("lineinfile", args{"path": "@/f", "line": "a"}), do("lineinfile", args{"path": "@/f", "line": "a", "create": true, "mode": "0600"}), check("lineinfile", args{"path": "@/g", "line": "a", "create": true}), do("lineinfile", args{"path": "@/d", "line": "a"}), do("lineinfile", args{"path": "@/x/y/f", "line": "a", "create": true}), do("lineinfile", args{"path": "@/f"})}},
	{"lineinfile no newline", "printf 'a\\nb' > f; printf 'a\\nb' > g; printf 'a\\nb' > h; printf 'x\\r\\ny\\r\\n' > c", []step{do("lineinfile", args{"path": "@/f", "line": "c"}), do("lineinfile", args{"path": "@/g", "line": "b"}), do("lineinfile", args{"path": "@/h", "regexp": "^b", "line": "b"}), do("lineinfile", args{"path": "@/c", "line": "y"}), do("lineinfile", args{"path": "@/c", "regexp": "^x", "line": "x"}), do("lineinfile", args{"path": "@/f", "line": "two\nlines"})}},
	{"lineinfile links and checks", "printf 'a\\n' > f; ln -s f l; printf 'm1\\nm2\\nm3\\n' > m", []step{do("lineinfile", args{"path": "@/l", "line": "b"}), do("lineinfile", args{"path": "@/f", "line": "c", "validate": "grep -q zzz %s"}), do("lineinfile", args{"path": "@/f", "line": "c", "validate": "grep -q c %s", "backup": true}),
		do("lineinfile", args{"path": "@/m", "line": "first", "insertafter": "^m", "firstmatch": true}), do("lineinfile", args{"path": "@/m", "line": "x", "insertbefore": "^m"}), do("lineinfile", args{"path": "@/m", "regexp": "^m", "line": "M"}), do("lineinfile", args{"path": "@/m", "regexp": "[", "line": "M"}),
		do("lineinfile", args{"path": "@/m", "regexp": "^m", "line": "N", "firstmatch": true}), do("lineinfile", args{"path": "@/m", "regexp": "^none", "line": "x", "insertafter": "^m"}), do("lineinfile", args{"path": "@/m", "regexp": "^none", "line": "yy", "insertbefore": "^x"})}},
}

var readCases = []sameAs{
	{"stat", "echo hi > f; chmod 4755 f; mkdir d; ln -s f l; ln -s no broken; mkfifo p", []step{do("stat", args{"path": "@/f"}), do("stat", args{"path": "@/d"}), do("stat", args{"path": "@/l"}), do("stat", args{"path": "@/l", "follow": true}), do("stat", args{"path": "@/broken"}),
		do("stat", args{"path": "@/broken", "follow": true}), do("stat", args{"path": "@/no"}), do("stat", args{"path": "@/f/x"}), do("stat", args{"path": "@/f", "checksum_algorithm": "sha256"}), do("stat", args{"path": "@/f", "get_checksum": false, "get_mime": false, "get_attributes": false}), do("stat", args{"path": "@/p"}), do("stat", args{"path": "/dev/null"})}},
	{"slurp", "printf 'hi\\000\\377' > f; mkdir d", []step{do("slurp", args{"src": "@/f"}), do("slurp", args{"path": "@/no"}), do("slurp", args{"src": "@/d"})}},
}

const makeArchives = `umask 022; mkdir -p s/e d; echo 1 > s/a; echo 2 > s/e/b; ln -s a s/l; chmod 750 s/e; chown -R 5:6 s/e; chmod 4755 s/a; head -c 3000000 /dev/zero > s/big
touch -d 2020-01-02T03:04:05Z s/a s/e/b s/big; tar cf s.tar s; tar czf s.tgz s; tar cJf s.txz s; tar cjf s.tbz s; tar --zstd -cf s.tzst s; (cd s; zip -qry ../s.zip .); mkdir dz hl; echo h > hl/x; ln hl/x hl/y; tar czf hl.tgz hl; chmod 600 s.tar; rm -r s hl`

var unarchiveCases = []sameAs{
	{"unarchive tgz", makeArchives, []step{do("unarchive", args{"src": "@/s.tgz", "dest": "@/d", "list_files": true}), do("unarchive", args{"src": "@/s.tgz", "dest": "@/d"}), sh("echo 3 > d/s/a"), do("unarchive", args{"src": "@/s.tgz", "dest": "@/d"}),
		sh("rm d/s/e/b"), do("unarchive", args{"src": "@/s.tgz", "dest": "@/d"}), sh("chmod 600 d/s/e"), do("unarchive", args{"src": "@/s.tgz", "dest": "@/d"}),
		sh("chown 0 d/s/e/b"), do("unarchive", args{"src": "@/s.tgz", "dest": "@/d"}), sh("touch d/s/big"), do("unarchive", args{"src": "@/s.tgz", "dest": "@/d"})}},
	{"unarchive formats", makeArchives + "; mkdir 1 2 3 4", []step{do("unarchive", args{"src": "@/s.tar", "dest": "@/1", "remote_src": true}), do("unarchive", args{"src": "@/s.txz", "dest": "@/2", "remote_src": true}), do("unarchive", args{"src": "@/s.tbz", "dest": "@/3", "remote_src": true}), do("unarchive", args{"src": "@/s.tzst", "dest": "@/4", "remote_src": true})}},
	{"unarchive zip", makeArchives, []step{do("unarchive", args{"src": "@/s.zip", "dest": "@/dz"}), do("unarchive", args{"src": "@/s.zip", "dest": "@/dz"}), sh("rm dz/e/b"), do("unarchive", args{"src": "@/s.zip", "dest": "@/dz", "list_files": true})}},
	{"unarchive attributes", makeArchives, []step{do("unarchive", args{"src": "@/s.tgz", "dest": "@/d", "owner": "daemon", "group": "1"}),
		do("unarchive", args{"src": "@/s.tgz", "dest": "@/d", "owner": "daemon", "group": "1", "mode": "0711"})}},
	{"unarchive choices", makeArchives + "; mkdir d2 d3 d4", []step{do("unarchive", args{"src": "@/s.tgz", "dest": "@/d", "exclude": []any{"s/e"}}), do("unarchive", args{"src": "@/s.tgz", "dest": "@/d2", "include": []any{"s/a"}}), do("unarchive", args{"src": "@/s.tgz", "dest": "@/d3", "extra_opts": []any{"--strip-components=1"}}),
		do("unarchive", args{"src": "@/hl.tgz", "dest": "@/d4"}), do("unarchive", args{"src": "@/hl.tgz", "dest": "@/d4"})}},
	{"unarchive mistakes", makeArchives + "; echo no > x.tgz", []step{do("unarchive", args{"src": "@/s.tgz", "dest": "@/nodir"}), do("unarchive", args{"src": "@/x.tgz", "dest": "@/d"}), do("unarchive", args{"src": "@/no.tgz", "dest": "@/d", "remote_src": true}), do("unarchive", args{"src": "@/s.tgz", "dest": "@/d", "creates": "@/d"})}},
}

// In these % is the address of a server that serves /file ("hello"), /sums (a list), /other, /named (with a name of its
// own), /private (user ann, password secret), /gone (404), /moved (to /file).
var urlCases = []sameAs{
	{"get_url", "mkdir d", []step{do("get_url", args{"url": "%/file", "dest": "@/f"}), do("get_url", args{"url": "%/file", "dest": "@/f"}), do("get_url", args{"url": "%/other", "dest": "@/f"}), do("get_url", args{"url": "%/other", "dest": "@/f", "force": true}),
		do("get_url", args{"url": "%/other", "dest": "@/f", "force": true}), do("get_url", args{"url": "%/other", "dest": "@/f", "mode": "0600"}), do("get_url", args{"url": "%/file", "dest": "@/d"}), do("get_url", args{"url": "%/file", "dest": "@/d"}),
		do("get_url", args{"url": "%/named", "dest": "@/d"}), do("get_url", args{"url": "%/moved", "dest": "@/m"}), do("get_url", args{"url": "%/dated", "dest": "@/dated"}), do("get_url", args{"url": "%/dated", "dest": "@/dated"}), do("get_url", args{"url": "%/dated", "dest": "@/dated", "force": true}), check("get_url", args{"url": "%/file", "dest": "@/check"})}},
	{"get_url checksum", "echo x > other", []step{do("get_url", args{"url": "%/file", "dest": "@/f", "checksum": "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"}), do("get_url", args{"url": "%/file", "dest": "@/f", "checksum": "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"}),
		do("get_url", args{"url": "%/file", "dest": "@/g", "checksum": "sha256:0000b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"}), do("get_url", args{"url": "%/file", "dest": "@/h", "checksum": "sha256:%/sums"}), do("get_url", args{"url": "%/other", "dest": "@/h2", "checksum": "sha256:%/sums"}),
		do("get_url", args{"url": "%/file", "dest": "@/other", "checksum": "sha1:f572d396fae9206628714fb2ce00f72e94f2258f", "mode": "0640"}), do("get_url", args{"url": "%/file", "dest": "@/i", "checksum": "nonsense"}), do("get_url", args{"url": "%/file", "dest": "@/i", "checksum": "sha256:%/gone"})}},
	{"get_url mistakes", "", []step{do("get_url", args{"url": "%/gone", "dest": "@/f"}), do("get_url", args{"url": "%/file", "dest": "@/no/such"}), do("get_url", args{"url": "http://127.0.0.1:1/x", "dest": "@/f"}), do("get_url", args{"url": "%/private", "dest": "@/f"}), do("get_url", args{"url": "%/private", "dest": "@/f", "url_username": "ann", "url_password": "secret"}),
		do("get_url", args{"url": "%/private", "dest": "@/f2", "url_username": "ann", "url_password": "secret", "force_basic_auth": true}), do("get_url", args{"url": "file://@/f", "dest": "@/copy"}), do("get_url", args{"url": "file://@/nofile", "dest": "@/copy2"})}},
}

# Prints the state of this machine as JSON: a map of what to how. Reads what to look at from
# its argument, as JSON: paths, exclude, times, units, sysctls, links, routes, rules.
import hashlib, json, os, stat, subprocess, sys

ask = json.loads(sys.argv[1])
state = {}
exclude = set(ask["exclude"] or [])
inodes = {}


def content(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def note(path):
    s = os.lstat(path)
    kind = stat.S_IFMT(s.st_mode)
    words = ["mode=%06o" % s.st_mode, "owner=%d:%d" % (s.st_uid, s.st_gid)]
    if stat.S_ISREG(kind):
        words.append("size=%d sha256=%s" % (s.st_size, content(path)))
        if s.st_nlink > 1:
            words.append("same-as=" + inodes.setdefault((s.st_dev, s.st_ino), path))
    elif stat.S_ISLNK(kind):
        words.append("to=" + os.readlink(path))
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        words.append("device=%d:%d" % (os.major(s.st_rdev), os.minor(s.st_rdev)))
    for name in sorted(os.listxattr(path, follow_symlinks=False)):
        words.append("%s=%s" % (name, os.getxattr(path, name, follow_symlinks=False).hex()))
    if ask["times"]:
        words.append("mtime=%d" % s.st_mtime_ns)
    state["path " + path] = " ".join(words)
    return kind


def names(path):
    # fuse-overlayfs leaves names out of a listing now and then when the machine is busy, so it is repeated until it adds none.
    seen = set()
    while True:
        now = set(os.listdir(path))
        if now <= seen:
            return sorted(seen)
        seen |= now


def walk(path):
    if path in exclude:
        return
    try:
        if stat.S_ISDIR(note(path)):
            for name in names(path):
                walk(os.path.join(path, name))
    except FileNotFoundError:
        pass  # it is not there, or went while we looked: both are no entry


def output(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True).stdout


def ip(*arguments):
    return json.loads(output("ip", "-j", *arguments) or "[]")


def links():
    for link in ip("-d", "address", "show"):
        words = ["kind=" + link.get("linkinfo", {}).get("info_kind", link["link_type"]), "mtu=%d" % link["mtu"]]
        words += ["up"] if "UP" in link["flags"] else []
        words += ["master=" + link["master"]] if "master" in link else []
        words += sorted("address=%s/%d" % (a["local"], a["prefixlen"]) for a in link["addr_info"])
        state["link " + link["ifname"]] = " ".join(words)


def routes():
    for family in "-4", "-6":
        for route in ip("-d", family, "route", "show", "table", "all"):
            named = ("table", "type", "dst", "dev", "metric")
            key = [str(route.get("table", "main"))] + [str(route[k]) for k in ("type", "dst") if k in route and route[k] != "unicast"]
            key += ["%s %s" % (k, route[k]) for k in ("dev", "metric") if k in route]
            words = sorted("%s=%s" % (k, json.dumps(v)) for k, v in route.items() if k not in named and k not in ("expires", "pref"))
            note_once("route " + " ".join(key), " ".join(words).replace('"', ""))
        for rule in ip(family, "rule", "show"):
            note_once("rule " + family + " " + " ".join("%s=%s" % (k, rule[k]) for k in sorted(rule)), "there")


def note_once(key, value):
    n = 1
    while key + " #%d" % n in state or n == 1 and key in state:
        n += 1
    state[key if n == 1 else key + " #%d" % n] = value


def rules():
    for family in "iptables", "ip6tables", "iptables-legacy", "ip6tables-legacy":
        table, place = "", {}
        for line in output(family + "-save").splitlines():
            if line.startswith("*"):
                table = line[1:]
            elif line.startswith(":"):
                chain, policy = line[1:].split()[:2]
                if policy != "ACCEPT":  # which is as good as no chain: those of a table come with its first use
                    state["%s %s chain %s" % (family, table, chain)] = "policy=" + policy
            elif line.startswith("-A"):
                chain = (table, line.split()[1])
                place[chain] = place.get(chain, 0) + 1
                note_once("%s %s %s" % (family, table, line), "place=%d" % place[chain])
    members = {}
    for line in output("ipset", "save").splitlines():
        verb, name, what = line.split(" ", 2)
        members.setdefault(name, []).append(what if verb == "create" else "member=" + what)
    for name, words in members.items():
        state["ipset " + name] = " ".join(sorted(words))


for path in ask["paths"] or []:
    walk(path)
for what in links, routes, rules:
    if ask[what.__name__]:
        what()
if ask["units"]:
    properties = "LoadState,ActiveState,UnitFileState,FragmentPath,DropInPaths,NeedDaemonReload"
    blocks = output("systemctl", "show", "--property=" + properties, "--", *ask["units"]).split("\n\n")
    for unit, block in zip(ask["units"], blocks, strict=True):
        state["unit " + unit] = " ".join(sorted(block.split("\n"))).strip()
for name in ask["sysctls"] or []:
    try:
        with open("/proc/sys/" + name.replace(".", "/")) as f:
            state["sysctl " + name] = f.read().strip()
    except FileNotFoundError:
        pass
# Names that are no UTF-8 arrive as surrogates, which JSON can carry as escapes.
json.dump(state, sys.stdout)

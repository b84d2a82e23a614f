# Prints the state of this machine as JSON: a map of what to how. Reads what to look at from
# its argument, as JSON: paths, exclude, times, units, sysctls.
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


def walk(path):
    if path in exclude:
        return
    try:
        if stat.S_ISDIR(note(path)):
            for name in sorted(os.listdir(path)):
                walk(os.path.join(path, name))
    except FileNotFoundError:
        pass  # it is not there, or went while we looked: both are no entry


for path in ask["paths"] or []:
    walk(path)
for unit in ask["units"] or []:
    properties = "LoadState,ActiveState,UnitFileState,FragmentPath,DropInPaths,NeedDaemonReload"
    show = subprocess.run(
        ["systemctl", "show", "--property=" + properties, "--", unit],
        stdout=subprocess.PIPE, check=True, text=True)
    state["unit " + unit] = " ".join(sorted(show.stdout.split("\n"))).strip()
for name in ask["sysctls"] or []:
    try:
        with open("/proc/sys/" + name.replace(".", "/")) as f:
            state["sysctl " + name] = f.read().strip()
    except FileNotFoundError:
        pass
# Names that are no UTF-8 arrive as surrogates, which JSON can carry as escapes.
json.dump(state, sys.stdout)

package remote

import (
	"fmt"
	"strings"
)

// Command is the first argument by which a program knows that it shall be the helper.
const Command = "remote-serve"

// The scripts run in the identity's POSIX sh, but the login shell in front of it may be any: csh, fish, or one with a
// chatty start file. So each is one line in single quotes and contains no single quote (they could not be nested), no
// backslash (fish reads it inside quotes), no exclamation mark (csh reads it inside quotes) and no newline (csh). Hence no "!"
// for "not". Each begins with an empty line, because noise need not end its last one.

// shellLine is the command that runs script with sh, whatever the login shell is.
func shellLine(script string) string {
	if strings.ContainsAny(script, "'\\!\n") {
		panic("a script that not every login shell can carry: " + script)
	}
	return "sh -c '" + script + "'"
}

// scriptDirs sets the positional parameters to the folders where a helper may be kept, best first: the system's own folder
// for root, the home for others, and places that are there when those are full, read-only or mounted noexec.
const scriptDirs = `PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin; export PATH; ` +
	`u=$(id -u); m=$(uname -m); ` +
	`if [ "$u" = 0 ]; then set -- /var/cache/calroll; else set -- "$HOME/.cache/calroll"; fi; ` +
	`set -- "$@" /var/tmp/calroll-$u /tmp/calroll-$u /dev/shm/calroll-$u; `

// scriptSafe defines safe FOLDER: nobody but root and the identity may be able to replace what is in it. Each folder on the
// way down must belong to one of the two and must not be writable by others; only above the last one may it be, if it is
// sticky like /tmp. Root's own group may write, unless an access list (the + after the mode) speaks of others.
const scriptSafe = `safe() { ` +
	`if [ -h "$1" ]; then why="it is a symbolic link"; return 1; fi; ` +
	`a=$(cd "$1" 2>/dev/null && pwd -P) || { why="it cannot be entered"; return 1; }; ` +
	`set --; while [ -n "$a" ]; do set -- "$@" "$a"; a=${a%/*}; done; ` +
	`why=$(ls -ldn / "$@" | { last=; while read -r b l o g r; do last=; r=/${r#*/}; ` +
	`case $o in 0|$u) ;; *) echo "$r belongs to user $o";; esac; ` +
	`case $b/$g in d????w????+*/*|d???????w*) last="others may write to $r";; d????w*/0) ;; d????w*) last="group $g may write to $r";; esac; ` +
	`case $b in d????????[tT]*) ;; *) if [ -n "$last" ]; then echo "$last"; last=; fi;; esac; ` +
	`done; if [ -n "$last" ]; then echo "$last"; fi; } | head -n 1); ` +
	`[ -z "$why" ]; }; `

// startScript executes the helper from the first folder that has it, or says what host this is and ends with 127.
func startScript(marker string, helpers []Helper) string {
	var b strings.Builder
	fmt.Fprintf(&b, "echo; n=%s; ", marker)
	b.WriteString(scriptDirs)
	b.WriteString("case $m in ")
	for _, h := range helpers {
		fmt.Fprintf(&b, "%s) h=%s;; ", strings.Join(machines[h.Platform], "|"), h.Hash)
	}
	b.WriteString("*) h=none;; esac; ")
	b.WriteString(scriptSafe)
	b.WriteString(`for d in "$@"; do f=$d/$h/remote-$m; if [ -x "$f" ]; then ` +
		`if safe "$d"; then echo "` + wordStart + ` $n $m $d"; exec "$f" ` + Command + ` --marker $n; fi; ` +
		`echo "` + wordNote + ` $n $d: $why"; fi; done; ` +
		`echo "` + wordCold + ` $n $(uname -s) $m $u"; exit 127`)
	return b.String()
}

// installScript copies the stage into the first folder that is safe, has room and lets programs run. The hash is that of the
// identity's own copy, which nobody else can alter, so it does not matter who could write to the stage; no more than the
// helper's size is read from it, whatever it has become.
func installScript(marker, stage string, h Helper) string {
	return fmt.Sprintf("echo; umask 077; LC_ALL=C; export LC_ALL; n=%s; g=%s; s=%d; h=%s; ", marker, stage, h.Size, h.Hash) +
		scriptDirs + scriptSafe +
		`sum() { if command -v sha256sum >/dev/null 2>&1; then sha256sum <"$1"; ` +
		`elif command -v shasum >/dev/null 2>&1; then shasum -a 256 <"$1"; ` +
		`elif command -v openssl >/dev/null 2>&1; then openssl dgst -sha256 -r <"$1"; else echo none; fi; }; ` +
		`pass() { rm -f "$t" 2>/dev/null; echo "` + wordNote + ` $n $d: $1"; }; ` +
		`if [ -r "$g" ]; then :; else echo "` + wordFailed + ` $n stage"; exit 1; fi; ` +
		`for d in "$@"; do t=$d/$h/.new-$n; ` +
		`e=$( { mkdir -p "${d%/*}" && { [ -d "$d" ] || mkdir "$d"; }; } 2>&1) || { echo "` + wordNote + ` $n $d: ${e##*: }"; continue; }; ` +
		`safe "$d" || { echo "` + wordNote + ` $n $d: refused, because $why"; continue; }; ` +
		`e=$( { mkdir -p "$d/$h" && head -c $s <"$g" >"$t"; } 2>&1) || { pass "${e##*: }"; continue; }; ` +
		`case $(sum "$t") in $h*) ;; none*) rm -f "$t"; echo "` + wordFailed + ` $n sum"; exit 1;; ` +
		`*) pass "the copy is damaged, $(wc -c <"$t") of $s bytes arrived"; continue;; esac; ` +
		`chmod 700 "$t"; e=$("$t" ` + Command + ` --check 2>&1 </dev/null); ` +
		`case $e in *` + checkWord + `) ;; *) rm -f "$d/$h/remote-$m"; pass "programs cannot run there, ${e##*: }"; continue;; esac; ` +
		`e=$(mv -f "$t" "$d/$h/remote-$m" 2>&1) || { pass "${e##*: }"; continue; }; ` +
		`rm -f "$g" 2>/dev/null; if [ -e "$g" ]; then echo "` + wordNote + ` $n stage"; fi; ` +
		`echo "` + wordStart + ` $n $m $d"; exit 0; done; echo "` + wordFailed + ` $n folders"; exit 1`
}

// checkWord is what the helper prints when it is only asked whether it can run.
const checkWord = "calroll-ok"

// machines are the names that uname -m gives the platforms.
var machines = map[string][]string{
	"linux/amd64": {"x86_64", "amd64"},
	"linux/arm64": {"aarch64", "arm64"},
}

#!/bin/sh
# run.sh brings hosts to the state of ../site with nothing but ssh, one connection a host, all hosts at a time: what a careful person
# without a tool would write. A host that lacks files gets them over a second connection, and is looked at again.
#
#   run.sh SSH_CONFIG FILES URL NAME=ADDRESS...
set -u
here=$(dirname "$0")
config=$1 files=$2 url=$3
shift 3

remote() { ssh -F "$config" "$@"; }

host() { # NAME ADDRESS HOSTS
	{ echo "me=$1 url=$url hosts='$3'"; cat "$files/sums" "$here/host.sh"; } >"$work/$1.sh"
	missing=$(remote "$2" sh -s <"$work/$1.sh") || return 1
	[ -z "$missing" ] && return
	tar -C "$files" -cf - $missing | remote "$2" "mkdir -p /opt/bench/share && tar -xof - -C /opt/bench/share" || return 1
	[ -z "$(remote "$2" sh -s <"$work/$1.sh")" ]
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for h; do
	(host "${h%=*}" "${h#*=}" "$*" || : >"$work/failed-${h%=*}") &
done
wait
for f in "$work"/failed-*; do
	[ -e "$f" ] && echo "cannot finish on ${f##*failed-}" >&2 && exit 1
done
exit 0

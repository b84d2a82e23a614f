# host.sh brings this host to the state of ../site. It checks, then acts; it prints the files that it needs and does not have. Before it
# stand: me (this host), url, hosts ("name=address ..."), bundle_sum, pages_sum, tool_sum, large_sum.
set -eu
root=/opt/bench port=8099 peers="alpha beta gamma delta"
conf=$root/etc share=$root/share restart= reload=

mode() { # MODE PATH
	[ "$(stat -c %a "$2")" = "$1" ] || chmod "$1" "$2"
}

folder() { # MODE PATH
	[ -d "$2" ] || mkdir "$2"
	mode "$1" "$2"
}

# text MODE PATH writes the standard input to PATH; it fails when that was the case already.
text() {
	new=$(cat; echo .)
	if [ -e "$2" ] && [ "$new" = "$(cat "$2"; echo .)" ]; then
		mode "$1" "$2"
		return 1
	fi
	umask 077
	printf %s "${new%.}" >"$2.new"
	umask 022
	chmod "$1" "$2.new"
	mv "$2.new" "$2"
}

same() { # SUM PATH
	[ -e "$2" ] && [ "$(sha256sum "$2" | cut -d' ' -f1)" = "$1" ]
}

fetch() { # MODE SUM URL PATH
	same "$2" "$4" || {
		curl -fsS -o "$4.new" "$3"
		same "$2" "$4.new"
		mv "$4.new" "$4"
	}
	mode "$1" "$4"
}

unpacked() { # ARCHIVE FOLDER
	tar -dzf "$1" -C "$2" >/dev/null 2>&1 || tar -xzf "$1" -C "$2"
}

line() { # PATH LINE
	[ -e "$1" ] && grep -qxF "$2" "$1" || echo "$2" >>"$1"
}

param() { # NAME VALUE
	line /etc/sysctl.d/90-bench.conf "$1=$2"
	[ "$(cat "/proc/sys/$(echo "$1" | tr . /)")" = "$2" ] || sysctl -qw "$1=$2"
}

unpack_json() { tr -d ' \n' | sed -n 's/.*"state":"\([a-z]*\)".*/\1/p'; }

grep -q '^ID=debian$' /etc/os-release
printf '* - nofile 65536\nroot - nofile 65536\n' | text 644 /etc/security/limits.d/90-bench.conf || :
line /etc/motd "Managed from elsewhere"
mode 644 /etc/motd
for d in '' /etc /etc/peers.d /bin /share /www; do folder 755 "$root$d"; done
folder 700 $conf/secret
printf 'node = %s\nport = %s\n' "$me" $port | text 644 $conf/node || :
printf 'token = %s\n' "$(printf %s "$me$root" | sha256sum | cut -d' ' -f1)" | text 600 $conf/secret/token || :
text 755 $root/bin/health <<'EOF' || :
#!/bin/sh
# Is the agent well?
curl -fsS "http://127.0.0.1:${1:-8099}/status.json" | grep -q '"state": "ready"'
EOF

missing=
same "$large_sum" $share/large || missing="$missing large"
same "$pages_sum" $share/pages.tar.gz || missing="$missing pages.tar.gz"
if [ -n "$missing" ]; then
	echo "$missing"
	exit 0
fi
mode 644 $share/large

{
	printf '# Ansible managed\n[main]\nnode = %s\nport = %s\nlog_level = info\nmax_conns = 512\ntls = true\n\n[peers]\n' "$me" $port
	i=0
	for p in $peers; do
		i=$((i + 1))
		printf 'peer.%s = %s%s\n' $i "$(echo $p | tr a-z A-Z)" "$([ $i = 4 ] || echo ,)"
	done
	printf '\n[hosts]\n'
	for h in $hosts; do echo "${h%=*} = ${h#*=}"; done
} | text 644 $conf/main.conf && restart=yes
for p in $peers; do
	printf '# Ansible managed\nname = %s\nchecksum = %s\nweight = %s\ntls = on\n' $p "$(printf %s $p | sha1sum | cut -d' ' -f1)" $((${#p} * 10)) |
		text 644 $conf/peers.d/$p.conf || :
done
fetch 644 "$bundle_sum" "$url/bundle.tar.gz" $share/bundle.tar.gz
unpacked $share/bundle.tar.gz $share
unpacked $share/pages.tar.gz $root/www
fetch 755 "$tool_sum" "$url/tool" $root/bin/tool
[ "$(readlink /usr/local/bin/bench-tool)" = $root/bin/tool ] || ln -sfn $root/bin/tool /usr/local/bin/bench-tool
[ ! -e $root/old ] || rm -r $root/old
[ -x $root/bin/tool ] && [ "$(stat -c %s $root/bin/tool)" -gt 1000 ]
line $conf/hosts "10.0.0.1 registry.internal"
line $conf/hosts "10.0.0.1 bastion.internal"
mode 644 $conf/hosts
grep -qxF "port = $port" $conf/node || sed -i "s/^port =.*/port = $port/" $conf/node
param net.ipv4.conf.all.rp_filter 1
param net.ipv4.ip_forward 1
[ ! -e /proc/modules ] || ! grep -q '^pcspkr ' /proc/modules || modprobe -r pcspkr
kernel=$(uname -r)
[ -e $root/initialised ] || touch $root/initialised
count=$(find $conf/peers.d -name '*.conf' | wc -l)
[ "$count" = 4 ]

printf '{\n    "node": "%s",\n    "state": "ready"\n}\n' "$me" | text 644 $root/www/status.json || :
text 644 /etc/systemd/system/bench-agent.service <<EOF && restart=yes reload=yes
# Ansible managed
[Unit]
Description=Bench agent

[Service]
ExecStart=/usr/bin/busybox httpd -f -p 127.0.0.1:$port -h $root/www
Restart=on-failure

[Install]
WantedBy=multi-user.target
EOF
[ -z "$reload" ] || systemctl daemon-reload
[ -z "$restart" ] || systemctl restart bench-agent
systemctl -q is-active bench-agent || systemctl start bench-agent
systemctl -q is-enabled bench-agent || systemctl -q enable bench-agent
tries=0
until curl -fsS -o /dev/null "http://127.0.0.1:$port/"status.json; do
	tries=$((tries + 1))
	[ $tries -lt 100 ]
	sleep 0.2
done
[ -e $conf/main.conf ]
[ "$(curl -fsS "http://127.0.0.1:$port/status.json" | unpack_json)" = ready ]
curl -fsS "$url/version" >/dev/null
cat $conf/node >/dev/null

i=0
for p in $peers; do
	echo "$i: $p is a peer of $me" | text 644 $share/note-$p || :
	i=$((i + 1))
done
printf '{\n    "log_level": "info",\n    "max_conns": 512,\n    "tls": true\n}\n' | text 644 $conf/settings.json || :
grep -q '"max_conns": 512' $conf/settings.json
! grep -q panic $conf/node
systemctl -q is-active bench-agent || systemctl start bench-agent
echo "$me: $count peers, kernel $kernel, tool of $(stat -c %s $root/bin/tool) bytes" >&2

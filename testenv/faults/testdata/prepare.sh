# Makes a host what the play finds. Run once a host.
set -e
systemctl disable --quiet --now docker.socket docker containerd # the play has no use for them, and every boot waits for them
mkdir -p /srv/faults/small /srv/faults/tree/branch /usr/local/bin /run/faults
printf 'port=80\ndebug=1\ncolour=grey\n' >/srv/faults/old.conf
echo '#!/bin/sh' >/srv/faults/tool
chmod 0600 /srv/faults/tool
echo goes >/srv/faults/goes
ln -sfn old.conf /srv/faults/pointer
echo leaf >/srv/faults/tree/branch/leaf
ln -sf branch/leaf /srv/faults/tree/link
# faults-hold NAME waits while /run/faults/hold-NAME is there, and says so in /run/faults/at-NAME.
cat >/usr/local/bin/faults-hold <<'H'
#!/bin/sh
[ ! -e /run/faults/hold-$1 ] || : >/run/faults/at-$1
while [ -e /run/faults/hold-$1 ]; do sleep 0.05; done
H
chmod 0755 /usr/local/bin/faults-hold
mkdir -p /usr/local/lib/systemd/system # a unit in /etc cannot be masked
for u in etc/systemd/system/faults-old etc/systemd/system/faults-extra usr/local/lib/systemd/system/faults-spare; do
  printf '[Service]\nExecStart=/usr/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n' >/$u.service
done
systemctl daemon-reload
systemctl enable --now faults-old faults-extra

#!/bin/sh
# Makes a Debian root a lab host. Runs once, while the image is built.
set -eu
here=$(dirname "$0")
packages=$(sed '/^#/d' "$here/packages")

# A root from debootstrap has the packages; the registry's image gets them here.
if ! dpkg -s $packages >/dev/null 2>&1; then
	export DEBIAN_FRONTEND=noninteractive
	apt-get update
	apt-get install -y --no-install-recommends $packages
fi
apt-get clean
rm -rf /var/lib/apt/lists/*

# go:embed keeps no modes, so they are set here.
cp -r "$here/rootfs/." /
chmod 0755 /usr/local/sbin/lab-init /usr/local/sbin/runc-lab
chmod 0440 /etc/sudoers.d/lab
chmod 0400 /etc/doas.conf

useradd --create-home --shell /bin/bash --uid 1000 ops
useradd --create-home --shell /bin/bash --uid 1001 guarded
# A key may open these accounts; a password only once the lab has set one.
usermod --password '*' root
usermod --password '*' ops
usermod --password '*' guarded

# Keys and identities belong to a host, never to the image.
rm -f /etc/ssh/ssh_host_*
: >/etc/machine-id

# Nothing that wakes up by itself: a test compares a host with its state before.
systemctl mask systemd-logind.service getty.target console-getty.service \
	apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
	e2scrub_all.timer e2scrub_reap.service fstrim.timer systemd-tmpfiles-clean.timer \
	systemd-update-utmp.service systemd-update-utmp-runlevel.service
# systemd runs every generator at each daemon-reload; in a container none of them finds anything.
mkdir /etc/systemd/system-generators
for generator in /usr/lib/systemd/system-generators/*; do
	ln -s /dev/null "/etc/systemd/system-generators/${generator##*/}"
done
systemctl enable ssh.service docker.service containerd.service

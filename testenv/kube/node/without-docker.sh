# A node with containerd has no Docker engine, and none of the rules and links that one leaves behind when it ends. Chains that begin with
# DOCKER_ belong to the lab's network outside: they let the host look up names.
systemctl disable --quiet --now docker.service docker.socket
iptables-save | grep -Ev 'DOCKER([ -]|$)|docker0' | sed 's/^:FORWARD DROP/:FORWARD ACCEPT/' | iptables-restore
if ip link show docker0 >/dev/null 2>&1; then ip link delete docker0; fi

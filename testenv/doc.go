// Package testenv makes throw-away hosts that behave like real ones.
//
// A lab is a set of hosts on a private network of its own. A host is a container with
// systemd as process 1, sshd with host keys made for that host alone, a Docker engine, and
// the users root, ops (sudo and doas without a password) and guarded (sudo and doas with
// one). No image registry is needed: the host image is made from Debian packages where the
// engine cannot get debian:bookworm, and kept under a name that is a hash of what went into
// it. The control groups of the machine are never mounted into a host.
//
// The words of this package:
//
//	engine    the Docker engine that runs the hosts, at DOCKER_HOST or its default socket;
//	          contexts and settings of the docker command are not read
//	lab       hosts, network, keys; found again by the labels on its containers and network
//	folder    where a lab keeps inventory.yml, id_ed25519, known_hosts and lab.json
//	relay     a TCP link to a host's sshd that a test can cut, delay, throttle or freeze
//	snapshot  a picture of a host's files, unit states and sysctls, to compare with another
//
// Rules:
//
//   - Whatever a lab makes carries its label, so Remove finds it after a crash and without
//     the folder.
//   - Test code and the lab command import this package, and nothing else does.
//   - A test that wants hosts calls [ForTest]; it needs neither TestMain nor a clean-up.
package testenv

package tasks

import (
	"bytes"
	"encoding/binary"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Attrs are the attributes that a file, folder or link shall have. What is zero stays as it is; something new gets the
// process's umask and owner, as under Ansible.
type Attrs struct {
	Mode         Mode
	Owner, Group string // names or numbers
	SELinux      SELinux
	Atime, Mtime time.Time
}

// SELinux is a security label; empty parts stay as they are. It is ignored on machines without SELinux, as Ansible does.
type SELinux struct{ User, Role, Type, Level string }

// IsZero tells whether nothing is asked.
func (a Attrs) IsZero() bool { return a == Attrs{} }

const (
	selinuxXattr    = "security.selinux"
	capabilityXattr = "security.capability"
	aclXattr        = "system.posix_acl_access"
)

// want is old with the attributes that a asks for. For something new, old holds the defaults.
func (a Attrs) want(old object) (object, error) {
	o := old
	o.Xattrs = maps.Clone(old.Xattrs)
	var err error
	if o.UID, err = lookupID(a.Owner, "passwd", old.UID); err != nil {
		return o, err
	}
	if o.GID, err = lookupID(a.Group, "group", old.GID); err != nil {
		return o, err
	}
	if o.Type != typeDir && (o.UID != old.UID || o.GID != old.GID) { // the kernel does this on a change of owner
		o.Mode &^= unix.S_ISUID
		if o.Mode&0o010 != 0 {
			o.Mode &^= unix.S_ISGID
		}
		delete(o.Xattrs, capabilityXattr)
	}
	if o.Type != typeLink {
		o.Mode = a.Mode.Apply(o.Mode, o.Type == typeDir, umask())
		if acl, ok := o.Xattrs[aclXattr]; ok {
			o.Xattrs[aclXattr] = aclWithMode(acl, o.Mode)
		}
	}
	a.SELinux.apply(&o)
	o.Atime, o.Mtime = nanos(a.Atime, old.Atime), nanos(a.Mtime, old.Mtime)
	return o, nil
}

func (s SELinux) apply(o *object) {
	if s == (SELinux{}) || !selinuxEnabled() {
		return
	}
	parts := strings.SplitN(strings.TrimRight(string(o.Xattrs[selinuxXattr]), "\x00"), ":", 4)
	for len(parts) < 4 {
		parts = append(parts, "")
	}
	for i, p := range []string{s.User, s.Role, s.Type, s.Level} {
		if p != "" && p != "_default" {
			parts[i] = p
		}
	}
	label := strings.TrimRight(strings.Join(parts, ":"), ":") + "\x00"
	if o.Xattrs == nil {
		o.Xattrs = map[string][]byte{}
	}
	o.Xattrs[selinuxXattr] = []byte(label)
}

var selinuxEnabled = sync.OnceValue(func() bool {
	_, err := os.Stat("/sys/fs/selinux/enforce")
	return err == nil
})

// aclWithMode is an access list (version, then entries of tag, permissions, id) as chmod leaves it.
func aclWithMode(acl []byte, mode uint32) []byte {
	const userObj, groupObj, mask, other = 0x01, 0x04, 0x10, 0x20
	out := bytes.Clone(acl)
	hasMask := false
	for at := 4; at+8 <= len(out); at += 8 {
		hasMask = hasMask || binary.LittleEndian.Uint16(out[at:]) == mask
	}
	for at := 4; at+8 <= len(out); at += 8 {
		perm := out[at+2 : at+4]
		switch tag := binary.LittleEndian.Uint16(out[at:]); {
		case tag == userObj:
			binary.LittleEndian.PutUint16(perm, uint16(mode>>6&7))
		case tag == mask, tag == groupObj && !hasMask:
			binary.LittleEndian.PutUint16(perm, uint16(mode>>3&7))
		case tag == other:
			binary.LittleEndian.PutUint16(perm, uint16(mode&7))
		}
	}
	return out
}

// umask is the process's, read without changing it.
var umask = sync.OnceValue(func() uint32 {
	raw, err := os.ReadFile("/proc/self/status")
	if err == nil {
		for line := range strings.SplitSeq(string(raw), "\n") {
			if v, ok := strings.CutPrefix(line, "Umask:"); ok {
				if n, err := strconv.ParseUint(strings.TrimSpace(v), 8, 32); err == nil {
					return uint32(n)
				}
			}
		}
	}
	return 0o022
})

// lookupID is the number of a user ("passwd") or group ("group"), given by name or number. Names that the files do not know are asked
// of getent, which knows the machine's directory services.
func lookupID(name, database string, old int) (int, error) {
	if name == "" {
		return old, nil
	}
	if n, err := strconv.Atoi(name); err == nil {
		return n, nil
	}
	if database == "passwd" {
		if u, err := user.Lookup(name); err == nil {
			return strconv.Atoi(u.Uid)
		}
	} else if g, err := user.LookupGroup(name); err == nil {
		return strconv.Atoi(g.Gid)
	}
	out, err := exec.Command("getent", "--", database, name).Output()
	if fields := strings.Split(string(out), ":"); err == nil && len(fields) > 2 {
		return strconv.Atoi(fields[2])
	}
	what := map[string]string{"passwd": "user", "group": "group"}[database]
	return 0, &Error{Kind: Failed, Op: "find the " + what + " " + name, Detail: "this machine has no such " + what}
}

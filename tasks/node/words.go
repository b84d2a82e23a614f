package node

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"syscall"
)

// quoteWord makes one word of text for SplitWords and for a shell.
func quoteWord(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'"'"'`) + "'"
}

func ownerOf(st fs.FileInfo) (uid, gid string) {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return "", ""
	}
	return strconv.Itoa(int(sys.Uid)), strconv.Itoa(int(sys.Gid))
}

// modeBits are the twelve permission bits as chmod(2) takes them.
func modeBits(st fs.FileInfo) uint32 {
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return uint32(st.Mode().Perm())
	}
	return sys.Mode & 0o7777
}

// octal is a mode as Ansible writes it: four digits.
func octal(bits uint32) string { return fmt.Sprintf("%04o", bits) }

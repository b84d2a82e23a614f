package expr

import (
	"path/filepath"
	"syscall"
)

// isMount tells whether another file system begins at path.
func isMount(path string) bool {
	var here, above syscall.Stat_t
	if syscall.Lstat(path, &here) != nil || syscall.Lstat(filepath.Join(path, ".."), &above) != nil {
		return false
	}
	return here.Dev != above.Dev || here.Ino == above.Ino
}

package remote

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/calroll/calroll/tasks/journal"
)

// quietLimit is how long the helper waits for a word of its controller, which speaks at least every pingEvery.
const quietLimit = journal.Expiry

// Main is a program that is the helper: args are what follows Command. It serves on the standard input and output, and returns
// the exit status. o needs only Modules and Kinds.
func Main(args []string, o ServeOptions) int {
	switch {
	case len(args) == 1 && args[0] == "--check":
		fmt.Println(checkWord)
		return 0
	case len(args) == 2 && args[0] == "--marker":
		o.Marker = args[1]
	case len(args) == 2 && args[0] == watchFlag:
		if err := watch(args[1], o); err != nil {
			return 1 // nobody is there to be told
		}
		return 0
	default:
		fmt.Fprintln(os.Stderr, "calroll starts this program on its hosts; there is nothing to do with it by hand")
		return 2
	}
	if err := serveStdio(o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func serveStdio(o ServeOptions) error {
	// A signal means what the end of the link means: complete the alteration in hand, then stop. A broken pipe must not kill
	// in the middle of one; it is caught, not ignored, because commands would inherit that.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if term.IsTerminal(int(os.Stdin.Fd())) { // sudo may have put one between
		if _, err := term.MakeRaw(int(os.Stdin.Fd())); err != nil {
			return fmt.Errorf("cannot make the terminal pass bytes unchanged: %w", err)
		}
	}
	out := os.Stdout
	os.Stdout = os.Stderr // a stray print must not get between frames
	if o.QuietLimit == 0 {
		o.QuietLimit = quietLimit
	}
	if o.Scratch == "" {
		o.Scratch = scratch(os.Getuid())
	}
	if exe, err := os.Executable(); err == nil {
		go tidyCache(exe, time.Now())
	}
	return Serve(ctx, struct {
		io.Reader
		io.Writer
	}{os.Stdin, out}, o)
}

// scratch is a place for temporary files that has more room than /tmp, which may be memory; "" if there is none.
func scratch(uid int) string {
	for _, dir := range spoolFolders(uid)[:2] {
		dir = filepath.Join(dir, "tmp")
		if os.MkdirAll(dir, 0o700) == nil && unix.Access(dir, unix.W_OK) == nil {
			return dir
		}
	}
	return ""
}

// cacheAge is how long a helper that is not used is kept on a host.
const cacheAge = 30 * 24 * time.Hour

var hashName = regexp.MustCompile(`^[0-9a-f]{64}$`)

// tidyCache marks the helper's folder as used and removes those of other versions that have not been for long. A clock that is
// wrong costs at most another upload. Errors are none: it is done again at the next start.
func tidyCache(exe string, now time.Time) {
	mine := filepath.Dir(exe)
	if !hashName.MatchString(filepath.Base(mine)) {
		return // started by hand, or from a build folder
	}
	if fi, err := os.Stat(mine); err == nil && now.Sub(fi.ModTime()).Abs() > 24*time.Hour {
		_ = os.Chtimes(mine, now, now)
	}
	others, _ := os.ReadDir(filepath.Dir(mine))
	for _, e := range others {
		fi, err := e.Info()
		if err != nil || !e.IsDir() || !hashName.MatchString(e.Name()) || e.Name() == filepath.Base(mine) {
			continue
		}
		if now.Sub(fi.ModTime()) > cacheAge {
			_ = os.RemoveAll(filepath.Join(filepath.Dir(mine), e.Name()))
		}
	}
}

package conn

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

const putOp = "write a file on"

// errNoSFTP means that the server has no sftp of use, found out before any of the file was read.
var errNoSFTP = errors.New("no sftp")

// Put writes a file by sftp, or where the server has none (or a login shell that prints
// something first) through a shell.
func (c *sshConn) Put(ctx context.Context, file string, mode fs.FileMode, r io.Reader) error {
	if !c.noSFTP.Load() {
		err := c.putSFTP(ctx, file, mode, r)
		if !errors.Is(err, errNoSFTP) {
			return c.putError(file, err)
		}
		c.noSFTP.Store(true)
	}
	return c.putError(file, c.putShell(ctx, file, mode, r))
}

// putError gives every failure of Put the same form.
func (c *sshConn) putError(file string, err error) error {
	var e *Error
	if err == nil || errors.As(err, &e) || interrupted(err) {
		return err
	}
	if c.over() {
		return c.lostError(putOp)
	}
	return &Error{Kind: Failed, Op: putOp, Host: c.t.name(), Detail: file + ": " + err.Error(), Err: err}
}

// transfer is an sftp session.
type transfer struct {
	*sftp.Client
	ch    ssh.Channel
	ended chan struct{} // closed when the server has closed the channel
}

// openTransfer starts sftp; errNoSFTP tells to use something else.
func (c *sshConn) openTransfer(ctx context.Context) (*transfer, error) {
	ch, requests, err := c.begin(ctx, putOp, func(ch ssh.Channel) error {
		ok, err := ch.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{"sftp"}))
		if err == nil && !ok {
			return errNoSFTP
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	t := &transfer{ch: ch, ended: make(chan struct{})}
	go func() { _, _ = io.Copy(io.Discard, ch.Stderr()) }()
	go func() {
		ssh.DiscardRequests(requests)
		close(t.ended)
	}()
	stop := context.AfterFunc(ctx, func() { _ = ch.Close() })
	t.Client, err = sftp.NewClientPipe(ch, ch)
	if !stop() {
		return nil, ctx.Err()
	}
	if err == nil {
		if _, ok := t.HasExtension("posix-rename@openssh.com"); ok {
			return t, nil
		}
	}
	t.close()
	if c.over() {
		return nil, c.lostError(putOp)
	}
	return nil, errNoSFTP // it speaks something else: a shell's greeting, say
}

// close ends the session politely, so that its slot is free (MaxSessions) once close returns.
func (t *transfer) close() {
	_ = t.ch.CloseWrite()
	select {
	case <-t.ended:
	case <-time.After(killTime):
	}
	_ = t.ch.Close()
}

// putSFTP writes the file into a folder of its own, which nobody else may enter: sftp
// cannot create a file with a mode, and between creating and changing it others could open it.
func (c *sshConn) putSFTP(ctx context.Context, file string, mode fs.FileMode, r io.Reader) (err error) {
	t, err := c.openTransfer(ctx)
	if err != nil {
		return err
	}
	defer t.close()
	// A cancelled transfer has this long to clean up behind itself.
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(killTime, func() { _ = t.ch.Close() }) })
	defer stop()
	folder := path.Join(path.Dir(file), temporaryName())
	if err := t.Mkdir(folder); err != nil {
		return t.explain(path.Dir(file), err)
	}
	defer func() {
		if gone := t.RemoveDirectory(folder); err == nil && gone != nil {
			err = fmt.Errorf("the temporary folder %s is left behind: %w", folder, gone)
		}
	}()
	if err := t.Chmod(folder, 0o700); err != nil {
		return err
	}
	temporary := path.Join(folder, "file")
	err = t.write(ctx, temporary, mode, r)
	if err == nil {
		err = t.PosixRename(temporary, file)
	}
	if err != nil {
		err = t.explain(folder, err) // before the next line makes room
		_ = t.Remove(temporary)
	}
	return err
}

// write creates a file with all that r has, on stable storage where the server can do that.
func (t *transfer) write(ctx context.Context, file string, mode fs.FileMode, r io.Reader) error {
	f, err := t.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // again, where it went wrong
	sent, err := f.ReadFromWithConcurrency(&interruptible{ctx, r}, 0)
	if err != nil {
		return err
	}
	if _, ok := t.HasExtension("fsync@openssh.com"); ok {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != sent {
		return fmt.Errorf("%d bytes arrived of %d", info.Size(), sent)
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	return f.Close()
}

// explain finds the reason for an sftp error that is no more than "failure": the protocol
// has no code for a full or a read-only disk.
func (t *transfer) explain(folder string, err error) error {
	var status *sftp.StatusError
	if !errors.As(err, &status) || status.FxCode() != sftp.ErrSSHFxFailure {
		return err
	}
	const readOnly = 1 // ST_RDONLY
	if disk, statErr := t.StatVFS(folder); statErr == nil {
		switch {
		case disk.Flag&readOnly != 0:
			return errors.New("the file system is read-only")
		case disk.Bavail == 0 || disk.Favail == 0 && disk.Files > 0:
			return errors.New("no space left on the device")
		}
	}
	return err
}

// interruptible reads until its context ends.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (i *interruptible) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.r.Read(p)
}

// temporaryName returns a name that no other file has.
func temporaryName() string { return ".calroll-" + randomHex(8) }

// randomHex returns n random bytes as hexadecimal digits.
func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// putShell writes the file through the login shell, in three commands, since the first one
// needs its standard input for the file: send, verify, rename.
func (c *sshConn) putShell(ctx context.Context, file string, mode fs.FileMode, r io.Reader) error {
	temporary := path.Join(path.Dir(file), temporaryName())
	err := c.sendShell(ctx, temporary, r)
	if err == nil {
		_, err = c.runShell(ctx, fmt.Sprintf("chmod %o %s && if [ -d %s ]; then echo is a folder >&2; false; else mv -f -- %s %s; fi",
			unixMode(mode), Quote(temporary), Quote(file), Quote(temporary), Quote(file)), nil)
	}
	if err != nil {
		// Its own time: ctx may be what ended the transfer.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), killTime)
		defer cancel()
		_, _ = c.runShell(clean, "rm -f -- "+Quote(temporary), nil)
	}
	return err
}

// sendShell streams r into a new file that only its owner may read, and verifies it.
func (c *sshConn) sendShell(ctx context.Context, temporary string, r io.Reader) error {
	hash := sha256.New()
	counted := &counter{r: io.TeeReader(&interruptible{ctx, r}, hash)}
	if _, err := c.runShell(ctx, "umask 077; set -C; cat >"+Quote(temporary), counted); err != nil {
		return err
	}
	q := Quote(temporary)
	answer, err := c.runShell(ctx, "wc -c <"+q+" && { sha256sum <"+q+" || shasum -a 256 <"+q+"; } 2>/dev/null; true", nil)
	if err != nil {
		return err
	}
	return verify(answer, counted.n, hex.EncodeToString(hash.Sum(nil)))
}

// counter counts the bytes read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// verify compares what the host says it has got with what was sent. A host without any
// checksum program is believed when the size is right.
func verify(answer string, size int64, sum string) error {
	fields := strings.Fields(answer)
	switch {
	case len(fields) == 0:
		return errors.New("the host does not say whether the file has arrived")
	case fields[0] != strconv.FormatInt(size, 10):
		return fmt.Errorf("%s bytes arrived of %d", fields[0], size)
	case len(fields) > 1 && fields[1] != sum:
		return fmt.Errorf("the file arrived damaged: its sha256 sum is %s instead of %s", fields[1], sum)
	}
	return nil
}

// runShell runs a script, feeds it input and returns what it printed; anything but exit
// status zero is an error with what it printed to standard error.
func (c *sshConn) runShell(ctx context.Context, script string, input io.Reader) (string, error) {
	p, err := c.Start(ctx, script)
	if err != nil {
		return "", err
	}
	var sendErr error
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		if input != nil {
			_, sendErr = io.Copy(p, input)
		}
		_ = p.CloseWrite()
	}()
	output, err := io.ReadAll(io.LimitReader(p, 1<<20))
	if err != nil {
		_ = p.Kill()
		return "", err
	}
	<-sent
	exit, err := p.Wait()
	switch {
	case err != nil:
		return "", err
	case exit != 0:
		return "", errors.New(lastLine(p.Stderr(), fmt.Sprintf("exit status %d", exit)))
	case sendErr != nil:
		return "", sendErr
	}
	return string(output), nil
}

// lastLine returns the last line of s that is not empty, else otherwise.
func lastLine(s, otherwise string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
		return last
	}
	return otherwise
}

// unixMode returns the twelve mode bits that chmod knows.
func unixMode(mode fs.FileMode) uint32 {
	bits := uint32(mode.Perm())
	for _, special := range []struct {
		flag fs.FileMode
		bit  uint32
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if mode&special.flag != 0 {
			bits |= special.bit
		}
	}
	return bits
}

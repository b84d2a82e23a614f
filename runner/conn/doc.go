// Package conn reaches a host: over SSH, or the machine calroll itself runs on.
//
// A [Conn] puts files, starts commands and opens network connections from the
// host. A [Process] is a running command: its standard input and output are one
// duplex stream, its standard error is kept apart. A [Dialer] makes SSH
// connections from [Options]; [Local] is this machine; [Become] starts a command
// as another user through sudo, su or doas, on any Conn.
//
// Words:
//
//	alias    what the user called the host; Host blocks of ~/.ssh/config match it
//	hop      a jump host on the way; hops are shared by all hosts behind them
//	link     the byte stream below SSH, watched for signs of life
//	marker   a random line that separates a login shell's chatter from the answer
//
// Rules:
//
//   - One TCP connection a host. Every command, file transfer and forwarded
//     connection is a channel on it.
//   - A file appears whole or not at all, and nobody else can read it before.
//   - Cancelling the context of a command kills its whole process group.
//   - A dead link is noticed without any traffic, and everything on it then fails
//     with [Unreachable].
//   - Only network errors are tried again. A wrong key, password or host key never is.
//   - Every error is an [*Error] whose Kind says which of the four things went
//     wrong; its text is for the user. Passwords and passphrases are in no error,
//     no argument list and no environment.
//
// To add a connection, write one file with a type that has the methods of Conn, and
// run testConn of contract_test.go on it.
package conn

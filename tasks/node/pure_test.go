package node

import (
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/calroll/calroll/tasks"
)

func TestExpand(t *testing.T) {
	env := map[string]string{"A": "1", "HOME": "/home/ann"}
	for _, c := range []struct{ text, want string }{
		{"$A", "1"}, {"${A}x", "1x"}, {"$A$A", "11"}, {"$nosuchvariable", "$nosuchvariable"}, {"${nosuch}", "${nosuch}"}, {"$", "$"}, {"$$", "$$"}, {"a$", "a$"}, {"$1", "$1"},
		{"~", "/home/ann"}, {"~/x", "/home/ann/x"}, {"a~", "a~"}, {"~nosuchuser/x", "~nosuchuser/x"}, {"~root", "/root"},
	} {
		if got := expandHome(expandVars(c.text, env), env); got != c.want {
			t.Errorf("%q becomes %q, want %q", c.text, got, c.want)
		}
	}
}

// TestShellJoin shows that what is joined is split into the same words.
func TestShellJoin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(rapid.StringMatching(`[a-zA-Z0-9 '"\\$*~./=-]{0,6}`), 1, 5).Draw(t, "words")
		got, err := tasks.SplitWords(shellJoin(words))
		if err != nil || !reflect.DeepEqual(got, words) {
			t.Fatalf("%q becomes %q: %v", words, got, err)
		}
	})
}

func TestSplitLines(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
	}{
		{"", []string{}}, {"a", []string{"a"}}, {"a\n", []string{"a"}}, {"a\n\nb", []string{"a", "", "b"}}, {"a\r\nb\rc\x0bd\x0ce\u2028f", []string{"a", "b", "c", "d", "e", "f"}}, {"\n", []string{""}},
	} {
		if got := splitLines(c.text); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q becomes %q, want %q", c.text, got, c.want)
		}
	}
}

func TestPythonDelta(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0:00:00"}, {time.Second + 504793*time.Microsecond, "0:00:01.504793"}, {time.Hour + 2*time.Minute + 3*time.Second, "1:02:03"}, {24 * time.Hour, "1 day, 0:00:00"}, {49*time.Hour + 5*time.Microsecond, "2 days, 1:00:00.000005"},
	} {
		if got := pythonDelta(c.d); got != c.want {
			t.Errorf("%s is %q, want %q", c.d, got, c.want)
		}
	}
}

func TestNumberGroups(t *testing.T) {
	for _, c := range []struct {
		expr, want string
		names      []string
	}{
		{"a", "a", nil}, {"(a)(?P<x>b)(c)", "(a)(b)(c)", []string{"", "x", ""}}, {`\((?:a)(?P<x>b)(?P=x)`, `\((?:a)(b)(?:\1)`, []string{"x"}}, {`[(](?P<y>.)`, `[(](.)`, []string{"y"}}, {"(?=a)(?!b)(?i)", "(?=a)(?!b)(?i)", nil},
	} {
		got, names := numberGroups(c.expr)
		if got != c.want || !reflect.DeepEqual(names, c.names) {
			t.Errorf("%q becomes %q with %q, want %q with %q", c.expr, got, names, c.want, c.names)
		}
	}
}

// TestSysctlFile shows that writing what was read is stable, keeps comments, and leaves each parameter one line.
func TestSysctlFile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOf(rapid.SampledFrom([]string{"# c", "; d", "", "a.b=1", " a.b = 2 ", "c/d=x y", "-e.f=3", "broken", "net.*.x=1"})).Draw(t, "lines")
		f := parseSysctlFile(strings.Join(lines, "\n"))
		f.put("new.key", "5")
		once := f.text()
		again := parseSysctlFile(once)
		if again.text() != once {
			t.Fatalf("%q is written differently the second time: %q", once, again.text())
		}
		for _, l := range lines {
			if strings.HasPrefix(l, "#") && !strings.Contains(once, l) {
				t.Fatalf("the comment %q is gone from %q", l, once)
			}
		}
		if strings.Count("\n"+once, "\na.b=") > 1 || !strings.HasSuffix(once, "new.key=5\n") {
			t.Fatalf("got %q", once)
		}
	})
}

func TestModprobeLines(t *testing.T) {
	m := &Modprobe{Name: "foo"}
	for line, want := range map[string]bool{"foo\n": true, "\tfoo # x": true, "foo;": true, "#foo": false, "foobar": false, "": false} {
		if m.isLoadLine(line) != want {
			t.Errorf("%q: %v", line, !want)
		}
	}
	for line, want := range map[string]bool{"options foo a=1": true, " options  foo  b": true, "options foo": false, "options bar a=1": false, "#options foo a=1": false} {
		if m.isOptionsLine(line) != want {
			t.Errorf("%q: %v", line, !want)
		}
	}
}

func TestConnections(t *testing.T) {
	c, ok := parseConnection(strings.Fields("0: 0100007F:1F90 0200000A:0016 01 00000000:00000000"))
	if want := (tcpConnection{netip.MustParseAddrPort("127.0.0.1:8080"), netip.MustParseAddrPort("10.0.0.2:22"), "ESTABLISHED"}); !ok || c != want {
		t.Errorf("got %v", c)
	}
	c, ok = parseConnection(strings.Fields("0: 0000000000000000FFFF00000100007F:0050 00000000000000000000000001000000:0050 0A"))
	if want := (tcpConnection{netip.MustParseAddrPort("127.0.0.1:80"), netip.MustParseAddrPort("[::1]:80"), "LISTEN"}); !ok || c != want {
		t.Errorf("got %v", c)
	}
	for _, bad := range []string{"", "0: x y 01", "0: 0100007F:1F90 0100007F:1F90 00", "0: 0100007F:1F90 0100007F:1F90 0C"} {
		if _, ok := parseConnection(strings.Fields(bad)); ok {
			t.Errorf("%q is a connection", bad)
		}
	}
}

func TestShowProperties(t *testing.T) {
	got := showProperties("Id=a.service\nExecStart={ path=/bin/sh ; argv[]=/bin/sh -c one\ntwo ; status=0/0 }\nDescription={ not Exec\nEnvironment=A=b\n")
	if want := map[string]any{"Id": "a.service", "ExecStart": "{ path=/bin/sh ; argv[]=/bin/sh -c one\ntwo ; status=0/0 }", "Description": "{ not Exec", "Environment": "A=b"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}

// TestReadAnswer tells answers about packets of IP protocol 4 from everything else that ICMP says.
func TestReadAnswer(t *testing.T) {
	from, to, other := net.IP{10, 0, 0, 1}, net.IP{10, 0, 0, 2}, net.IP{10, 0, 0, 3}
	about := func(code byte, protocol byte, dest net.IP) []byte {
		m := append([]byte{3, code, 0, 0, 0, 0, 0, 0}, ipPacket(protoIPIP, from, dest, nil)...)
		m[8+9] = protocol
		return m
	}
	echo := func(id byte) []byte { return []byte{0, 0, 0, 0, 0, id, 0, 0} }
	for _, c := range []struct {
		msg  []byte
		by   net.IP
		want probeAnswer
	}{
		{about(2, 4, to), to, unreachable}, {about(3, 4, to), to, unreachable}, {about(13, 4, to), other, prohibited}, {about(10, 4, to), to, prohibited},
		{about(1, 4, to), other, noAnswer}, {about(2, 17, to), to, noAnswer}, {about(2, 4, other), other, noAnswer}, {about(2, 4, to)[:20], to, noAnswer},
		{echo(7), to, echoReply}, {echo(8), to, noAnswer}, {echo(7), other, noAnswer}, {nil, to, noAnswer},
	} {
		if got := readAnswer(c.msg, c.by, to, 7); got != c.want {
			t.Errorf("% x of %s is %q, not %q", c.msg, c.by, got, c.want)
		}
	}
	packet := echoInIPIP(from, to, 7)
	for _, part := range [][]byte{packet[:20], packet[20:40], packet[40:]} {
		if sum := checksum(part); sum != 0 {
			t.Errorf("the checksum of % x is %x", part, sum)
		}
	}
}

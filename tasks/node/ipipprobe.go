package node

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"time"

	"github.com/calroll/calroll/tasks"
)

var _ = register("ipip_probe", func() tasks.Module { return &IPIPProbe{} })

// IPIPProbe finds out whether packets of IP protocol 4 (IP in IP) get to another host. It alters nothing there or here.
//
// It sends an echo request inside such packets. A host without a tunnel answers that it does not know the protocol (RFC 792: destination
// unreachable), one with a tunnel unpacks the request and answers it: either says that packets pass. Nothing at all, or that somebody forbids it, says
// that they do not. It needs the right to open raw sockets.
type IPIPProbe struct {
	To      string  `arg:"to,required" doc:"IPv4 address of the other host"`
	Timeout float64 `arg:"timeout,default=3" doc:"seconds to wait for an answer"`
}

// probeEvery is how often a packet is sent: kernels limit the answers to about one a second.
const probeEvery = 500 * time.Millisecond

const (
	protoICMP = 1
	protoIPIP = 4
)

// Run gives passes, and answer: what came back.
func (m *IPIPProbe) Run(ctx context.Context, _ *tasks.Sys) (tasks.Result, error) {
	var r tasks.Result
	to := net.ParseIP(m.To).To4()
	if to == nil {
		return r, fail("cannot send packets to %q: it is no IPv4 address", m.To)
	}
	answer, err := probe(ctx, to, time.Duration(m.Timeout*float64(time.Second)))
	if err != nil {
		return r, fail("cannot find out whether packets of IP protocol 4 get to %s: %v", m.To, err)
	}
	r.Set("passes", answer.passes())
	r.Set("answer", string(answer))
	return r, nil
}

// probeAnswer is what came back from a host.
type probeAnswer string

const (
	noAnswer    probeAnswer = "none"
	unreachable probeAnswer = "destination unreachable"
	prohibited  probeAnswer = "prohibited"
	echoReply   probeAnswer = "echo reply"
)

func (a probeAnswer) passes() bool { return a == unreachable || a == echoReply }

func probe(ctx context.Context, to net.IP, wait time.Duration) (probeAnswer, error) {
	icmp, err := net.ListenIP("ip4:icmp", nil)
	if err != nil {
		return noAnswer, err
	}
	defer icmp.Close()
	// A socket of protocol 4 would receive the other host's probe, and keep the kernel from answering it. One of 255 (IPPROTO_RAW) only sends.
	out, err := net.DialIP("ip4:255", nil, &net.IPAddr{IP: to})
	if err != nil {
		return noAnswer, err
	}
	defer out.Close()
	ours := uint16(os.Getpid())
	packet := echoInIPIP(out.LocalAddr().(*net.IPAddr).IP.To4(), to, ours)
	for end := time.Now().Add(wait); ctx.Err() == nil && time.Now().Before(end); {
		// A kernel that was told that the protocol is unknown there may say so to the next packet: the answer is read all the same.
		_, _ = out.Write(packet)
		a, err := hear(icmp, to, ours, time.Now().Add(min(probeEvery, time.Until(end))))
		if a != noAnswer || err != nil {
			return a, err
		}
	}
	return noAnswer, context.Cause(ctx)
}

// hear waits for an answer of a host until a time.
func hear(icmp *net.IPConn, from net.IP, ours uint16, until time.Time) (probeAnswer, error) {
	if err := icmp.SetReadDeadline(until); err != nil {
		return noAnswer, err
	}
	buf := make([]byte, 1500)
	for {
		n, by, err := icmp.ReadFromIP(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return noAnswer, nil
		}
		if err != nil {
			return noAnswer, err
		}
		if a := readAnswer(buf[:n], by.IP.To4(), from, ours); a != noAnswer {
			return a, nil
		}
	}
}

// readAnswer is what an ICMP message says about packets of IP protocol 4 to a host; most say nothing.
func readAnswer(msg []byte, by, to net.IP, ours uint16) probeAnswer {
	const about = 8 // where the header of the packet stands that the message is about
	switch {
	case len(msg) < about:
	case msg[0] == 0 && by.Equal(to) && binary.BigEndian.Uint16(msg[4:]) == ours:
		return echoReply
	case msg[0] == 3 && len(msg) >= about+20 && msg[about+9] == protoIPIP && net.IP(msg[about+16:about+20]).Equal(to):
		switch msg[1] {
		case 2, 3: // protocol, or port: a tunnel of Linux that knows no such peer says the latter
			return unreachable
		case 9, 10, 13:
			return prohibited
		}
	}
	return noAnswer
}

// echoInIPIP is an IPv4 packet of protocol 4 with one in it that has an ICMP echo request.
func echoInIPIP(from, to net.IP, id uint16) []byte {
	echo := make([]byte, 8)
	echo[0] = 8
	binary.BigEndian.PutUint16(echo[4:], id)
	binary.BigEndian.PutUint16(echo[2:], checksum(echo))
	return ipPacket(protoIPIP, from, to, ipPacket(protoICMP, from, to, echo))
}

func ipPacket(protocol byte, from, to net.IP, payload []byte) []byte {
	head := make([]byte, 20)
	head[0] = 0x45 // version 4, five words of header
	binary.BigEndian.PutUint16(head[2:], uint16(len(head)+len(payload)))
	head[8], head[9] = 64, protocol
	copy(head[12:], from)
	copy(head[16:], to)
	binary.BigEndian.PutUint16(head[10:], checksum(head))
	return append(head, payload...)
}

// checksum is that of RFC 1071 of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

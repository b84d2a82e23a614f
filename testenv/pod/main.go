// Program pod is what the pods of a lab run: it does nothing, answers HTTP requests, makes one, or keeps making them and counts those that
// were lost.
//
//	pod pause           nothing, until a signal
//	pod serve           answers on port 8080, see below
//	pod get URL         makes a request and prints the answer; exit code 1 if there was none
//	pod cnx-apiserver --secure-port=PORT
//	                    stands in for the CNX API server, which is not to be had: answers for projectcalico.org/v3, with one tier
//	pod cnx-manager     stands in for CNX Manager: serves a page over HTTPS with its certificate
//	pod prometheus URL,URL,...
//	                    stands in for the Prometheus of CNX on port 8080: says of which of the URLs it can read Felix's metrics
//
// What it serves:
//
//	/                   the host's name and the address that the request came from, a line each
//	/get?url=URL        the answer to a request made from here, or status 502 and why there was none
//	/keep?url=URL       begins to make requests to the URL, each over a connection of its own; every=250ms and timeout=1s may follow
//	/report             what became of those requests so far, as JSON: see Report
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

const address = ":8080"

func main() {
	mode, argument := "pause", ""
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	if len(os.Args) > 2 {
		argument = os.Args[2]
	}
	if err := run(mode, argument); err != nil {
		fmt.Fprintln(os.Stderr, "pod:", err)
		os.Exit(1)
	}
}

func run(mode, argument string) error {
	switch mode {
	case "pause":
		pause()
		return nil
	case "serve":
		go pause()
		return serve()
	case "get":
		body, err := get(argument, 3*time.Second)
		fmt.Print(body)
		return err
	case "cnx-apiserver":
		go pause()
		return tiers(argument)
	case "cnx-manager":
		go pause()
		return manager()
	case "prometheus":
		go pause()
		return prometheus(argument)
	}
	return fmt.Errorf("cannot %s: it is pause, serve, get, cnx-apiserver, cnx-manager or prometheus", mode)
}

// pause ends the process at a signal, and meanwhile collects children that others left to process 1.
func pause() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for s := range signals {
		if s != syscall.SIGCHLD {
			os.Exit(0)
		}
		for {
			if pid, _ := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 {
				break
			}
		}
	}
}

// get makes one request over a connection of its own. The kernel of the other side takes a connection by itself; who answers it may have to wait for a
// processor, and gets four times as long.
func get(url string, timeout time.Duration) (string, error) {
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := patience(ctx, timeout)
		defer cancel()
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	ctx, cancel := patience(context.Background(), 5*timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}
	answer, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", answer.Status, body)
	}
	return string(body), err
}

// patience is a context that ends when this process has seen so much time go by. What it slept through, while others had the processors, is a tick or
// two: a busy machine is no broken network.
func patience(parent context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	const tick = 100 * time.Millisecond
	ctx, cancel := context.WithCancelCause(parent)
	go func() {
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		for range max(1, limit/tick) {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
		}
		cancel(fmt.Errorf("nothing for %s", limit))
	}()
	return ctx, func() { cancel(nil) }
}

func serve() error {
	k := &keeper{reports: map[string]*Report{}}
	http.HandleFunc("/", hello)
	http.HandleFunc("/get", pass)
	http.HandleFunc("/keep", k.keep)
	http.HandleFunc("/report", k.report)
	return http.ListenAndServe(address, nil)
}

func hello(w http.ResponseWriter, r *http.Request) {
	name, _ := os.Hostname()
	from, _, _ := net.SplitHostPort(r.RemoteAddr)
	fmt.Fprintf(w, "%s\n%s\n", name, from)
}

func pass(w http.ResponseWriter, r *http.Request) {
	body, err := get(r.FormValue("url"), duration(r, "timeout", 2*time.Second))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	fmt.Fprint(w, body)
}

func duration(r *http.Request, name string, usual time.Duration) time.Duration {
	if d, err := time.ParseDuration(r.FormValue(name)); err == nil {
		return d
	}
	return usual
}

// Report is what became of the requests to one URL.
type Report struct {
	Sent     int       `json:"sent"`
	Lost     int       `json:"lost"`
	Failures []Failure `json:"failures"` // the first thousand
}

// Failure is one request that got no answer.
type Failure struct {
	At  time.Time `json:"at"` // when it was sent
	Why string    `json:"why"`
}

// keeper keeps making requests to several URLs at once.
type keeper struct {
	mu      sync.Mutex // guards what reports hold
	reports map[string]*Report
}

func (k *keeper) keep(_ http.ResponseWriter, r *http.Request) {
	url := r.FormValue("url")
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.reports[url] != nil {
		return
	}
	k.reports[url] = &Report{}
	go k.requests(url, duration(r, "every", 250*time.Millisecond), duration(r, "timeout", time.Second))
}

func (k *keeper) requests(url string, every, timeout time.Duration) {
	for range time.Tick(every) {
		at := time.Now()
		_, err := get(url, timeout)
		k.mu.Lock()
		r := k.reports[url]
		r.Sent++
		if err != nil {
			r.Lost++
			if len(r.Failures) < 1000 {
				r.Failures = append(r.Failures, Failure{at, err.Error()})
			}
		}
		k.mu.Unlock()
	}
}

func (k *keeper) report(w http.ResponseWriter, _ *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	_ = json.NewEncoder(w).Encode(k.reports) // who asked has gone
}

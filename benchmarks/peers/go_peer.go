// The peer in Go: net/http's server and client, standard library only.
//
//	go build -o go_peer benchmarks/peers/go_peer.go
//	GOMAXPROCS=1 ./go_peer -bind 127.0.0.1:8080 -upstream http://127.0.0.1:9000/api/work
//
// Tuned: no limit of upstream connections, all of them kept, no compressed payload asked for, the payload passed on
// as bytes, a client that hangs up cancels its calls. The same rules as fanout: two calls a request, the same check of a payload, the race ends
// 20 ms before the timeout. Not here: ids, receipts, statistics, drain, and any protection from overload, as
// net/http has none.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"strconv"
	"time"
)

const (
	reserve      = 20 * time.Millisecond
	maxTimeoutMs = 30_000
	maxBodyBytes = 64 * 1024
)

var (
	upstream string
	client   = &http.Client{Transport: &http.Transport{
		MaxIdleConns: 0, MaxIdleConnsPerHost: 100_000, DisableCompression: true,
	}}
)

// call makes one upstream call and returns its payload, or nil if it failed.
func call(ctx context.Context) []byte {
	request, err := http.NewRequestWithContext(ctx, "GET", upstream, nil)
	if err != nil {
		return nil
	}
	response, err := client.Do(request)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBodyBytes+1))
	if err != nil || response.StatusCode != 200 || len(body) > maxBodyBytes {
		return nil
	}
	var payload struct {
		Time *uint64 `json:"time"`
	}
	if json.Unmarshal(body, &payload) != nil || payload.Time == nil {
		return nil
	}
	return body
}

// handler parses the timeout, starts two calls, and lets decide turn what they send into the answer.
func handler(decide func(ctx context.Context, results <-chan result) (int, []byte)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ms := 1000
		if text := r.URL.Query().Get("timeout"); text != "" {
			n, err := strconv.ParseUint(text, 10, 32)
			if err != nil || n < 1 || n > maxTimeoutMs {
				write(w, 400, problem(400, "invalid_timeout"))
				return
			}
			ms = int(n)
		}
		ctx, cancel := context.WithTimeout(r.Context(), time.Duration(ms)*time.Millisecond-reserve)
		defer cancel()
		results := make(chan result, 2)
		for i := 0; i < 2; i++ {
			go func(i int) { results <- result{i, call(ctx)} }(i)
		}
		status, body := decide(ctx, results)
		write(w, status, body)
	}
}

type result struct {
	call int
	body []byte
}

func first(ctx context.Context, results <-chan result) (int, []byte) {
	for i := 0; i < 2; i++ {
		select {
		case r := <-results:
			if r.body != nil {
				return 200, r.body
			}
		case <-ctx.Done():
			return 500, problem(500, "deadline")
		}
	}
	return ended(ctx)
}

func every(ctx context.Context, results <-chan result) (int, []byte) {
	var bodies [2][]byte
	for i := 0; i < 2; i++ {
		select {
		case r := <-results:
			bodies[r.call] = r.body
		case <-ctx.Done():
			return 500, problem(500, "deadline")
		}
	}
	var successes [][]byte
	for _, body := range bodies {
		if body != nil {
			successes = append(successes, body)
		}
	}
	if len(successes) == 0 || ctx.Err() != nil {
		return ended(ctx)
	}
	return 200, append(append([]byte("["), bytes.Join(successes, []byte(","))...), ']')
}

// ended says why there is no success: a call that was cut by the deadline looks like one that failed.
func ended(ctx context.Context) (int, []byte) {
	if ctx.Err() != nil {
		return 500, problem(500, "deadline")
	}
	return 500, problem(500, "no_success")
}

func problem(status int, reason string) []byte {
	return []byte(fmt.Sprintf(`{"type":"about:blank","title":"%s","status":%d,"reason":"%s"}`, reason, status, reason))
}

func write(w http.ResponseWriter, status int, body []byte) {
	kind := "application/json"
	if status != 200 {
		kind = "application/problem+json"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(body)
}

func main() {
	bind := flag.String("bind", "127.0.0.1:8080", "where to listen")
	flag.StringVar(&upstream, "upstream", "", "the URL that every request calls twice")
	flag.Parse()
	mux := http.NewServeMux()
	mux.HandleFunc("/api/first", handler(first))
	mux.HandleFunc("/api/all", handler(every))
	log.Fatal((&http.Server{Addr: *bind, Handler: mux}).ListenAndServe())
}

// Command other-servers is a plain Go server that takes its listening socket from
// the process that starts it:
//
//	tideover run --listen 127.0.0.1:8000 -- ./other-servers '{fd}'
//
// It is the small shop that the other examples serve: it answers with what it
// was asked.
package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: other-servers FD")
	}
	fd, err := strconv.Atoi(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.FileListener(os.NewFile(uintptr(fd), "socket"))
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: shop(release()), ReadHeaderTimeout: 10 * time.Second}
	asked, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go server.Serve(listener)
	<-asked.Done()
	if err := server.Shutdown(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// release is the number in the file that a deploy writes.
func release() string {
	text, err := os.ReadFile("release")
	if err != nil {
		return "0"
	}
	for line := range strings.Lines(string(text)) {
		if number, found := strings.CutPrefix(strings.TrimSpace(line), "release="); found {
			return number
		}
	}
	return "0"
}

func shop(release string) http.Handler {
	requests, err := os.OpenFile("requests.log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		log.Fatal(err)
	}
	generation := os.Getenv("TIDEOVER_GENERATION")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		nonce := r.URL.Query().Get("nonce")
		fmt.Fprintf(requests, "begin %s %d %s %s\n", nonce, os.Getpid(), generation, r.Method)
		digest := sha256.New()
		length, err := io.Copy(digest, r.Body)
		if err != nil {
			return
		}
		seconds, _ := strconv.ParseFloat(r.URL.Query().Get("s"), 64)
		select {
		case <-time.After(time.Duration(seconds * float64(time.Second))):
		case <-r.Context().Done():
			return
		}
		fmt.Fprintf(w, "nonce=%s length=%d sha256=%x release=%s pid=%d generation=%s\n",
			nonce, length, digest.Sum(nil), release, os.Getpid(), generation)
	})
}

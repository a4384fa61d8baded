package main

import (
	"fmt"
	"io"
	"net/http"
	"time"
)

// compareBodies is a scenario of large bodies: responses to a GET, or uploads by POST.
func compareBodies(method string) func(*bench) (*table, error) {
	names := []string{"tideover", "nginx-1", "haproxy-1", "caddy"}
	return func(b *bench) (*table, error) {
		turns, times := 4, 3
		if b.before != "" {
			turns, times = 96, 1
		}
		if b.quick {
			times = 1
		}
		return b.sideBySide(turns, names, []column{cost("CPU s/GB", mainPeers), shown("MB/s", higher)}, func(_ *environment, s *server) ([]float64, error) {
			return measureBodies(s, method, times)
		})
	}
}

func measureBodies(s *server, method string, times int) ([]float64, error) {
	client := http.Client{Transport: &http.Transport{WriteBufferSize: 128 << 10, ReadBufferSize: 128 << 10}}
	defer client.CloseIdleConnections()
	buffer := make([]byte, 128<<10)
	pids := s.pids()
	before, begun := cpuTime(pids), time.Now()
	for range times {
		path, body := "/large", io.Reader(nil)
		if method == http.MethodPost {
			path, body = "/up", io.LimitReader(zeros{}, large)
		}
		request, err := http.NewRequest(method, "http://"+s.address+path, body)
		if err != nil {
			return nil, err
		}
		if body != nil {
			request.ContentLength = large
		}
		response, err := client.Do(request)
		if err != nil {
			return nil, err
		}
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, response.Body, buffer)
		response.Body.Close()
		if err != nil || response.StatusCode != 200 || body == nil && n != large {
			return nil, fmt.Errorf("%s after %d bytes, %v", response.Status, n, err)
		}
	}
	gb := float64(times) * large / 1e9
	return []float64{(cpuTime(pids) - before).Seconds() / gb, gb * 1e3 / time.Since(begun).Seconds()}, nil
}

// zeros is an endless body.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

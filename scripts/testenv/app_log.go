package testenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"
)

// AppLog is the file in which the app logs each request that it begins and ends.
type AppLog struct{ path string }

// Text returns the whole log.
func (l *AppLog) Text() (string, error) {
	text, err := os.ReadFile(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(text), err
}

// Wait waits for a line that begins with these words, such as "begin", "n17".
func (l *AppLog) Wait(ctx context.Context, words ...string) error {
	line := "\n" + strings.Join(words, " ") + " "
	return Poll(ctx, 5*time.Millisecond, func() error {
		text, err := os.ReadFile(l.path)
		if err == nil && !bytes.Contains(append([]byte("\n"), text...), []byte(line)) {
			err = fmt.Errorf("the app has not logged %q", strings.TrimSpace(line))
		}
		return err
	})
}

// BeginCounts returns for each nonce how often the app began its request.
func (l *AppLog) BeginCounts() (map[string]int, error) {
	text, err := l.Text()
	counts := map[string]int{}
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "begin" {
			counts[words[1]]++
		}
	}
	return counts, err
}

// Pid returns the process that began a request.
func (l *AppLog) Pid(nonce string) (int, error) {
	text, err := l.Text()
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) > 2 && words[0] == "begin" && words[1] == nonce {
			return strconv.Atoi(words[2])
		}
	}
	return 0, errors.Join(err, fmt.Errorf("the app did not begin %s", nonce))
}

// ReadyWorkers counts the workers of a generation that finished the import.
func (l *AppLog) ReadyWorkers(generation int) (int, error) {
	text, err := l.Text()
	ready := 0
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) > 3 && words[0] == "ready" && words[3] == strconv.Itoa(generation) {
			ready++
		}
	}
	return ready, err
}

// Overlaps returns the log lines of imports during which another main process of
// the app was alive.
func (l *AppLog) Overlaps() ([]string, error) {
	text, err := l.Text()
	var overlaps []string
	for line := range strings.Lines(text) {
		if _, pids, found := strings.Cut(strings.TrimSpace(line), " overlaps="); found && pids != "" {
			overlaps = append(overlaps, strings.TrimSpace(line))
		}
	}
	return overlaps, err
}

// BegunTwice returns the nonces of requests of a method that the app began more
// than once.
func (l *AppLog) BegunTwice(method string) ([]string, error) {
	text, err := l.Text()
	began := map[string]int{}
	var twice []string
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 5 || words[0] != "begin" || words[4] != method {
			continue
		}
		if began[words[1]]++; began[words[1]] == 2 {
			twice = append(twice, words[1])
		}
	}
	return twice, err
}

// Poll calls done at this interval until it returns nil. When ctx ends first, the
// error wraps the last one of done.
func Poll(ctx context.Context, every time.Duration, done func() error) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		err := done()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("timed out: %w", err)
		case <-ticker.C:
		}
	}
}

package rig

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

// Journal is the app's own word on which requests it began and ended.
type Journal struct{ path string }

// Text is the journal until now.
func (j *Journal) Text() (string, error) {
	text, err := os.ReadFile(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(text), err
}

// Wait waits until the app wrote a line with these first words, such as
// "begin", "n17".
func (j *Journal) Wait(ctx context.Context, words ...string) error {
	line := "\n" + strings.Join(words, " ") + " "
	return Poll(ctx, 5*time.Millisecond, func() error {
		text, err := os.ReadFile(j.path)
		if err == nil && !bytes.Contains(append([]byte("\n"), text...), []byte(line)) {
			err = fmt.Errorf("the journal has no line %q", strings.TrimSpace(line))
		}
		return err
	})
}

// Began counts how often each request was begun.
func (j *Journal) Began() (map[string]int, error) {
	text, err := j.Text()
	began := map[string]int{}
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "begin" {
			began[words[1]]++
		}
	}
	return began, err
}

// Pid is the process that began a request.
func (j *Journal) Pid(nonce string) (int, error) {
	text, err := j.Text()
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) > 2 && words[0] == "begin" && words[1] == nonce {
			return strconv.Atoi(words[2])
		}
	}
	return 0, errors.Join(err, fmt.Errorf("the app never began %s", nonce))
}

// Ready counts the workers of a generation that finished the import.
func (j *Journal) Ready(generation int) (int, error) {
	text, err := j.Text()
	ready := 0
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) > 3 && words[0] == "ready" && words[3] == strconv.Itoa(generation) {
			ready++
		}
	}
	return ready, err
}

// Beside lists the imports that found another copy of the app alive.
func (j *Journal) Beside() ([]string, error) {
	text, err := j.Text()
	var beside []string
	for line := range strings.Lines(text) {
		if _, pids, found := strings.Cut(strings.TrimSpace(line), " beside="); found && pids != "" {
			beside = append(beside, strings.TrimSpace(line))
		}
	}
	return beside, err
}

// Twice lists the requests of a method that were begun more than once.
func (j *Journal) Twice(method string) ([]string, error) {
	text, err := j.Text()
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

// Poll asks again and again until done returns nil or ctx ends; then it says
// what done said last.
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
			return fmt.Errorf("waited in vain: %w", err)
		case <-ticker.C:
		}
	}
}

// Package browser drives a headless Chromium by the DevTools protocol over a pair of pipes
// (--remote-debugging-pipe): messages in JSON, each ended by a NUL. It needs no library.
package browser

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Options start a Browser.
type Options struct {
	Dir           string   // of its profile
	Env           []string // in addition to that of this process
	Width, Height int
}

// Browser is a Chromium with one page.
type Browser struct {
	cmd     *exec.Cmd
	to      *os.File
	session string
	exited  chan struct{}

	mu      sync.Mutex // guards the fields below
	last    int
	answers map[int]chan message
	said    []string // what the page has written to its console: errors, and what the policy of its origin forbids
}

type message struct {
	ID     int             `json:"id,omitempty"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
	Session string `json:"sessionId,omitempty"`
}

// Start starts the browser with an empty page.
func Start(ctx context.Context, o Options) (*Browser, error) {
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	args := []string{"--headless=new", "--remote-debugging-pipe", "--user-data-dir=" + o.Dir, "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-default-browser-check", "--password-store=basic", "--disable-extensions",
		fmt.Sprintf("--window-size=%d,%d", o.Width, o.Height), "--hide-scrollbars", "about:blank"}
	if os.Geteuid() == 0 {
		args = append([]string{"--no-sandbox"}, args...)
	}
	b := &Browser{cmd: exec.Command("chromium", args...), to: ourOut, exited: make(chan struct{}), answers: map[int]chan message{}}
	b.cmd.Env = append(os.Environ(), o.Env...)
	b.cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	theirIn.Close()
	theirOut.Close()
	go b.read(ourIn)
	if err := b.attach(ctx); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// Pid is that of the browser's main process, which is the leader of the process group of all.
func (b *Browser) Pid() int { return b.cmd.Process.Pid }

// attach opens a page.
func (b *Browser) attach(ctx context.Context) error {
	var target struct {
		ID string `json:"targetId"`
	}
	if err := b.Call(ctx, "Target.createTarget", map[string]any{"url": "about:blank"}, &target); err != nil {
		return err
	}
	var attached struct {
		Session string `json:"sessionId"`
	}
	if err := b.Call(ctx, "Target.attachToTarget", map[string]any{"targetId": target.ID, "flatten": true}, &attached); err != nil {
		return err
	}
	b.session = attached.Session
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		if err := b.Call(ctx, domain+".enable", nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the browser and waits for its end.
func (b *Browser) Close() {
	b.to.Close()
	syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL)
	b.cmd.Wait()
	<-b.exited
}

// read receives messages until the browser has ended.
func (b *Browser) read(from *os.File) {
	defer close(b.exited)
	defer from.Close()
	in := bufio.NewReader(from)
	for {
		text, err := in.ReadBytes(0)
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal(text[:len(text)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		if m.ID != 0 {
			b.answers[m.ID] <- m
			delete(b.answers, m.ID)
		} else if m.Method == "Runtime.exceptionThrown" || m.Method == "Log.entryAdded" {
			b.said = append(b.said, string(m.Params))
		}
		b.mu.Unlock()
	}
}

// Said is what the page has complained of.
func (b *Browser) Said() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string{}, b.said...)
}

// Call calls a method of the DevTools protocol.
func (b *Browser) Call(ctx context.Context, method string, params, result any) error {
	answer := make(chan message, 1)
	b.mu.Lock()
	b.last++
	m := message{ID: b.last, Method: method, Session: b.session}
	b.answers[m.ID] = answer
	b.mu.Unlock()
	if params != nil {
		text, err := json.Marshal(params)
		if err != nil {
			return err
		}
		m.Params = text
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if _, err := b.to.Write(append(text, 0)); err != nil {
		return err
	}
	select {
	case m = <-answer:
	case <-b.exited:
		return errors.New("the browser has ended")
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
	if m.Error != nil {
		return fmt.Errorf("%s: %s", method, m.Error.Message)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(m.Result, result)
}

// Open goes to an address.
func (b *Browser) Open(ctx context.Context, url string) error {
	var r struct {
		Error string `json:"errorText"`
	}
	if err := b.Call(ctx, "Page.navigate", map[string]any{"url": url}, &r); err != nil {
		return err
	}
	if r.Error != "" {
		return errors.New(r.Error)
	}
	return nil
}

// Eval evaluates an expression in the page, waits for its promise, and decodes its value.
func (b *Browser) Eval(ctx context.Context, expression string, value any) error {
	var r struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception *struct {
			Text      string `json:"text"`
			Exception struct {
				Description string `json:"description"`
			} `json:"exception"`
		} `json:"exceptionDetails"`
	}
	params := map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true, "userGesture": true}
	if err := b.Call(ctx, "Runtime.evaluate", params, &r); err != nil {
		return err
	}
	if r.Exception != nil {
		return fmt.Errorf("%s: %s", r.Exception.Text, r.Exception.Exception.Description)
	}
	if value == nil || r.Result.Value == nil {
		return nil
	}
	return json.Unmarshal(r.Result.Value, value)
}

// WaitFor evaluates an expression until it is true.
func (b *Browser) WaitFor(ctx context.Context, expression string) error {
	for {
		var is bool
		err := b.Eval(ctx, "Boolean("+expression+")", &is)
		if err == nil && is {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w, %v", expression, ctx.Err(), err)
		case <-b.exited:
			return errors.New("the browser has ended")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Accessible returns what a screen reader gets of the page: "ROLE NAME" of each node, in its order.
func (b *Browser) Accessible(ctx context.Context) (nodes []string, err error) {
	var tree struct {
		Nodes []struct {
			Ignored    bool `json:"ignored"`
			Role, Name struct {
				Value any `json:"value"`
			}
		} `json:"nodes"`
	}
	err = b.Call(ctx, "Accessibility.getFullAXTree", nil, &tree)
	for _, n := range tree.Nodes {
		if !n.Ignored {
			nodes = append(nodes, fmt.Sprintf("%v %v", n.Role.Value, n.Name.Value))
		}
	}
	return nodes, err
}

// Tab presses the key, and returns the text or the label of the element that has the focus then.
func (b *Browser) Tab(ctx context.Context) (focused string, err error) {
	for _, kind := range []string{"rawKeyDown", "keyUp"} {
		key := map[string]any{"type": kind, "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}
		if err := b.Call(ctx, "Input.dispatchKeyEvent", key, nil); err != nil {
			return "", err
		}
	}
	err = b.Eval(ctx, "document.activeElement.ariaLabel || document.activeElement.textContent.trim()", &focused)
	return focused, err
}

// Scheme sets what the page gets for prefers-color-scheme: dark or light.
func (b *Browser) Scheme(ctx context.Context, scheme string) error {
	return b.Call(ctx, "Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// Size sets the size of the page, in CSS pixels.
func (b *Browser) Size(ctx context.Context, width, height int, scale float64) error {
	return b.Call(ctx, "Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": scale, "mobile": false}, nil)
}

// Screenshot returns an image of the page: png or webp.
func (b *Browser) Screenshot(ctx context.Context, format string, quality int) ([]byte, error) {
	params := map[string]any{"format": format}
	if format != "png" {
		params["quality"] = quality
	}
	var r struct {
		Data string `json:"data"`
	}
	if err := b.Call(ctx, "Page.captureScreenshot", params, &r); err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(r.Data)
}

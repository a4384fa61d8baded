//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"tideover/scripts/testenv"
)

// checkExpectations compares the apps with what their file wants of them.
func (h *host) checkExpectations() {
	h.Helper()
	for name := range h.apps {
		if !slices.ContainsFunc(h.expectations, func(w expectation) bool { return w.app == name }) {
			h.Errorf("nobody wants %s", name)
		}
	}
	for _, w := range h.expectations {
		app, ok := h.apps[w.app]
		if !ok {
			h.Errorf("there is no app %s", w.app)
			continue
		}
		if err := h.checkExpectation(app, w); err != nil {
			h.Errorf("%s: %s %s: %v", w.app, w.kind, w.value, err)
		}
	}
}

// checkExpectation looks at the process itself, or asks it.
func (h *host) checkExpectation(app hostApp, w expectation) error {
	proc := fmt.Sprintf("/proc/%d/", app.Pid)
	switch w.kind {
	case "running", "state": // run has waited for it
		return nil
	case "get":
		return h.get(w.value, "tcp", "")
	case "unix":
		return h.get("http://shop.test/", "unix", w.value)
	case "env":
		return hasLine(proc+"environ", w.value)
	case "arg":
		return hasLine(proc+"cmdline", w.value)
	case "user", "umask":
		return h.hasStatus(proc+"status", w)
	case "cwd":
		if at, err := os.Readlink(proc + "cwd"); at != w.value {
			return fmt.Errorf("it runs in %s: %v", at, err)
		}
		return nil
	case "log":
		return testenv.Poll(h.timeout(5*time.Second), 50*time.Millisecond, func() error {
			text, err := os.ReadFile(w.value)
			if err == nil && len(text) == 0 {
				err = errors.New("it is empty")
			}
			return err
		})
	case "mode":
		path, mode, _ := strings.Cut(w.value, " ")
		info, err := os.Stat(path)
		if err == nil && fmt.Sprintf("%04o", info.Mode().Perm()) != mode {
			err = fmt.Errorf("it is %04o", info.Mode().Perm())
		}
		return err
	case "instances":
		if fmt.Sprint(app.instances) != w.value {
			return fmt.Errorf("there are %d", app.instances)
		}
		return nil
	case "label":
		labelled, err := h.status(w.value)
		if _, ok := labelled[w.app]; err == nil && !ok {
			err = fmt.Errorf("it selects %v", slices.Sorted(maps.Keys(labelled)))
		}
		return err
	}
	return errors.New("the file wants what no row can see")
}

// get asks a web app for its page.
func (h *host) get(url, network, path string) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, map[bool]string{true: address, false: path}[path == ""])
		}}}
	return testenv.Poll(h.timeout(10*time.Second), 50*time.Millisecond, func() error {
		answer, err := client.Get(url)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err == nil && (answer.StatusCode != 200 || string(body) != "ok\n") {
			err = fmt.Errorf("%s %q", answer.Status, body)
		}
		return err
	})
}

// hasLine looks for one of the texts between the zero bytes of a file of /proc.
func hasLine(path, line string) error {
	text, err := os.ReadFile(path)
	all := strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
	if err == nil && !slices.Contains(all, line) {
		err = fmt.Errorf("it has %q", all)
	}
	return err
}

// hasStatus compares the effective user or the umask.
func (h *host) hasStatus(path string, w expectation) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		words := strings.Fields(lines.Text())
		switch {
		case w.kind == "umask" && words[0] == "Umask:" && words[1] != w.value:
			return fmt.Errorf("it is %s", words[1])
		case w.kind == "user" && words[0] == "Uid:":
			if who, err := user.LookupId(words[2]); err != nil || who.Username != w.value {
				return fmt.Errorf("it is %v: %v", who, err)
			}
		}
	}
	return nil
}

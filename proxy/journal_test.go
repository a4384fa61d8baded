package proxy

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

func TestCountsAreWrittenInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &lockedBuffer{}
		j := newErrorLog(hclog.New(&hclog.LoggerOptions{Output: log, JSONFormat: true}))
		write := func(path string, times int) {
			for range times {
				j.write(errorKey{status: 503, request: path}, "client", "", 0)
			}
		}
		counts := func(want int) {
			t.Helper()
			synctest.Wait()
			if n := strings.Count(log.String(), "answered alike"); n != want {
				t.Errorf("%d counts are written, want %d: %s", n, want, log)
			}
		}
		write("/a", 3)
		time.Sleep(2 * time.Second)
		write("/b", 3)
		counts(0)
		time.Sleep(dedupWindow - 2*time.Second)
		counts(1) // of /a; /b is not old enough
		time.Sleep(dedupWindow)
		counts(2)
		write("/a", 2) // nothing was remembered any more
		time.Sleep(dedupWindow)
		counts(3)
		write("/c", 1)
		time.Sleep(2 * dedupWindow)
		counts(3)
	})
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"GET":                    "GET",
		"a b~":                   "a b~",
		"a\x00\x1f":              `a\x00\x1f`,
		"\x7f\x80\xff":           `\x7f\x80\xff`,
		`"\`:                     `\x22\x5c`,
		strings.Repeat("x", 200): strings.Repeat("x", 200),
		strings.Repeat("x", 201): strings.Repeat("x", 200) + "...",
	} {
		if got := printable([]byte(in)); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

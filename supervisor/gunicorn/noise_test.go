package gunicorn

import (
	"slices"
	"testing"
)

func TestWithoutNoise(t *testing.T) {
	t.Parallel()
	lines := []string{
		"[2026-11-22 15:07:18 +0000] [7] [INFO] Starting gunicorn 20.1.0",
		"[2026-11-22 15:07:18 +0000] [7] [INFO] Listening at: http://127.0.0.6:8000 (7)",
		"[2026-11-22 15:07:19 +0000] [9] [ERROR] Exception in worker process",
		"Traceback (most recent call last):",
		"ImportError: no module named shop",
		"[2026-11-22 15:07:19 +0000] [9] [INFO] Worker exiting (pid: 9)",
		"Traceback (most recent call last):",
		"  File \"arbiter.py\", line 209, in run",
		"gunicorn.errors.HaltServer: <HaltServer 'Worker failed to boot.' 3>",
		"",
		"During handling of the above exception, another exception occurred:",
		"",
		"Traceback (most recent call last):",
		"  File \"arbiter.py\", line 500, in stop",
		"gunicorn.errors.HaltServer: <HaltServer 'Worker failed to boot.' 3>",
	}
	want := []string{lines[2], lines[3], lines[4]}
	if got := WithoutNoise(lines); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if only := lines[:2]; !slices.Equal(WithoutNoise(only), only) {
		t.Error("routine lines alone is better than nothing")
	}
}

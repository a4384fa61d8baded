package main

import "testing"

func TestShutdown(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	tideover(t, dir, "shutdown").want(t, 0, "everything is stopped\n", "")
	if d.notes() != "shutdown" {
		t.Errorf("asked for %q", d.notes())
	}
	d.stop()
}

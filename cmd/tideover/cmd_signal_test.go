package main

import (
	"strings"
	"testing"
)

func TestSignal(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	tideover(t, dir, "signal", "shop", "ttin").want(t, 0, "shop: SIGTTIN sent\n", "")
	tideover(t, dir, "signal", "SIGUSR1").want(t, 0, "shop: SIGUSR1 sent\n", "")
	tideover(t, dir, "signal", "shop", "KILL").want(t, 0, "shop: SIGKILL sent; it is started again, unless its restart key forbids that\n", "")
	tideover(t, dir, "signal", "22").want(t, 0, "shop: SIGTTOU sent\n", "")
	tideover(t, dir, "signal", "shop", "SIGNOPE").want(t, 2, "", "tideover: \"SIGNOPE\" is no signal\nhint: write the signal last: tideover signal shop TTIN\nexit 2 (usage)\n")
	if lines := strings.Split(d.notes(), "\n"); len(lines) != 4 {
		t.Errorf("asked for\n%s", d.notes())
	}
}

func TestSignalSeveral(t *testing.T) {
	t.Parallel()
	d, dir := shopDaemon(t)
	d.status.Apps = append(d.status.Apps, serving("celery:1"), serving("celery:2"))
	tideover(t, dir, "signal", "celery", "TTIN").want(t, 0, "celery:1: SIGTTIN sent\ncelery:2: SIGTTIN sent\n", "")
	tideover(t, dir, "signal", "TTIN", "celery:*", "-q").want(t, 0, "", "")
	if document := oneDocument(t, tideover(t, dir, "signal", "shop", "USR1", "--json").stdout); document["app"] != "shop" || document["exit"] != 0.0 {
		t.Errorf("%v", document)
	}
	if got := tideoverWith(t, dir, []string{"TIDEOVER_APP=shop"}, "signal", "USR1"); got.stdout != "shop: SIGUSR1 sent\n" {
		t.Errorf("$TIDEOVER_APP: %+v", got)
	}
}

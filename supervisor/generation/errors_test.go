package generation

import "testing"

func TestOutputSaysThatSomethingIsInUse(t *testing.T) {
	for line, want := range map[string]bool{
		"OSError: [Errno 98] Address already in use":                                                              true,
		"[ERROR] Connection in use: ('127.0.0.1', 9000)":                                                          true,
		"ERROR: [Errno 98] error while attempting to bind on address ('127.0.0.1', 8000): address already in use": true,
		"Error: listen EADDRINUSE: address already in use 127.0.0.1:3000":                                         true,
		"ERROR: Pidfile (celerybeat.pid) already exists.":                                                         true,
		"Another instance of this program is running":                                                             true,
		"BlockingIOError: [Errno 11] Resource temporarily unavailable":                                            true,
		"sqlite3.OperationalError: database is locked":                                                            true,
		"RuntimeError: could not acquire lock /run/shop.lock":                                                     true,
		"Unable to obtain lock":                                                                                   true,
		"filelock._error.Timeout: The file lock '/tmp/x.lock' could not be acquired.":                             true,
		"worker is already running":                                                                               true,
		"ModuleNotFoundError: No module named 'shop'":                                                             false,
		"PermissionError: [Errno 13] Permission denied: '/srv/locks'":                                             false,
		"OSError: [Errno 99] Cannot assign requested address":                                                     false,
		"OSError: [Errno 113] No route to host":                                                                   false,
		"django.db.utils.OperationalError: no such table: blocks":                                                 false,
		"SyntaxError: invalid syntax":                                                                             false,
		"ImportError: cannot import name 'lock' from 'shop'":                                                      false,
		"ImportError: Pillow is already installed in another version":                                             false,
	} {
		if got := SaysInUse([]string{"before", line, "after"}); got != want {
			t.Errorf("%q: %v, want %v", line, got, want)
		}
	}
}

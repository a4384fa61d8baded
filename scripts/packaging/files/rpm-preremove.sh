[ "$1" != 0 ] || stop_daemon

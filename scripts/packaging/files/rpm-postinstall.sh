make_user
reload_systemd
[ "$1" = 1 ] || replace_daemon

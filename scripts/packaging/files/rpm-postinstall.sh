make_user
add_supervisorctl
reload_systemd
[ "$1" = 1 ] || replace_daemon

if [ "$1" = 0 ]; then
    remove_supervisorctl
    stop_daemon
fi

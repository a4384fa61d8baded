case $1 in
remove)
    remove_supervisorctl
    stop_daemon
    ;;
esac

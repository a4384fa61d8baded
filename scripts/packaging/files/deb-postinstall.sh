case $1 in
configure)
    make_user
    add_supervisorctl
    reload_systemd
    replace_daemon
    ;;
esac

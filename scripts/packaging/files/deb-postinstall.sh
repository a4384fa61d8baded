case $1 in
configure)
    make_user
    reload_systemd
    replace_daemon
    ;;
esac

case $1 in
remove) reload_systemd ;;
purge)
    # the user stays, as with other packages: files may belong to it
    rm -rf /etc/tideover /var/lib/tideover /var/log/tideover /run/tideover
    ;;
esac

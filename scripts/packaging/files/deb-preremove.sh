case $1 in
remove) stop_daemon ;;
esac

#!/bin/sh
set -e

program=/usr/bin/tideover
socket=/run/tideover/control.sock

# daemon_pid prints the pid of the daemon on root's control socket, if it is of this package:
# not one that runs from /usr/local/bin or from a Python environment.
daemon_pid() {
    [ -S "$socket" ] || return 0
    pid=$("$program" --socket "$socket" pid 2>/dev/null) || return 0
    case $(readlink "/proc/$pid/exe" 2>/dev/null) in
    "$program" | "$program "*) echo "$pid" ;;
    esac
}

# replace_daemon puts the new program in the place of the one that runs: same pid, same apps, same
# clients. The one before goes on if that fails.
replace_daemon() {
    [ -n "$(daemon_pid)" ] || return 0
    "$program" --socket "$socket" upgrade "$program" || echo "tideover: installed; to try again: tideover upgrade $program" >&2
}

# stop_daemon ends the daemon of this package, with its apps.
stop_daemon() {
    if [ -d /run/systemd/system ]; then
        systemctl --no-reload disable --now tideover.service >/dev/null 2>&1 || true
    fi
    [ -z "$(daemon_pid)" ] || "$program" --socket "$socket" shutdown >/dev/null || true
}

# make_user makes the user and the group tideover.
make_user() {
    if command -v systemd-sysusers >/dev/null; then
        systemd-sysusers tideover.conf
    else
        getent group tideover >/dev/null || groupadd --system tideover
        getent passwd tideover >/dev/null || useradd --system --gid tideover --home-dir / --no-create-home \
            --shell /usr/sbin/nologin --comment tideover tideover
    fi
}

# supervisorctl_link prints the program that manages alternatives, if /usr/bin/supervisorctl is one
# or can become one: that of another package, or a link of the administrator, stays.
supervisorctl_link() {
    case $(readlink /usr/bin/supervisorctl 2>/dev/null || [ ! -e /usr/bin/supervisorctl ] || echo file) in
    "" | /etc/alternatives/supervisorctl) command -v update-alternatives || command -v alternatives || true ;;
    esac
}

# add_supervisorctl makes this program answer as supervisorctl, which scripts and Ansible call.
add_supervisorctl() {
    alternatives=$(supervisorctl_link)
    [ -z "$alternatives" ] || "$alternatives" --install /usr/bin/supervisorctl supervisorctl "$program" 10 || true
}

remove_supervisorctl() {
    alternatives=$(supervisorctl_link)
    [ -z "$alternatives" ] || "$alternatives" --remove supervisorctl "$program" || true
}

reload_systemd() {
    [ ! -d /run/systemd/system ] || systemctl daemon-reload || true
}


# Prints the settings of gunicorn: reads command line, GUNICORN_CMD_ARGS and
# configuration file as a start would, but does not import the application.
# The output is one line: the marker given as first argument, then JSON.
import json
import sys

marker = sys.argv[1]
sys.argv = ["gunicorn"] + sys.argv[2:]

import gunicorn
from gunicorn.app.wsgiapp import WSGIApplication

cfg = WSGIApplication("%(prog)s [OPTIONS] [APP_MODULE]", prog="gunicorn").cfg
known = cfg.settings


def get(name, default=None):
    return known[name].get() if name in known else default


def text(value):
    return value if value is None or isinstance(value, str) else str(value)


bind = get("bind")
report = {
    "version": gunicorn.__version__,
    "python": sys.executable,
    "bind": [bind] if isinstance(bind, str) else [text(b) for b in bind],
    "workers": get("workers"),
    "threads": get("threads"),
    "worker_class": text(cfg.worker_class_str),
    "worker_connections": get("worker_connections"),
    "graceful_timeout": get("graceful_timeout"),
    "timeout": get("timeout"),
    "keepalive": get("keepalive"),
    "pidfile": text(get("pidfile")),
    "chdir": text(get("chdir")),
    "daemon": bool(get("daemon")),
    "reuse_port": bool(get("reuse_port")),
    "reload": bool(get("reload")),
    "preload": bool(get("preload_app")),
    "tls": bool(get("certfile") or get("keyfile")),
    "proxy_protocol": get("proxy_protocol", False) not in (False, None, "off"),
    "protocol": text(get("protocol", "http")),
}
sys.stdout.write("\n" + marker + json.dumps(report) + "\n")
sys.stdout.flush()

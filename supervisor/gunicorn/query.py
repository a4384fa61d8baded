# gunicorn reads this file as its configuration file, because "-c PATH" of it is the last option of
# its command line. By then gunicorn runs as it would for a start: the same interpreter, sys.path,
# directory, user and environment. The file has the application of gunicorn read its settings once
# more, without that option, prints them and ends the process, before the app is imported and
# before any address is bound.
#
# The output is one line: the marker, then JSON.
import os
import sys

MARKER = "tideover-gunicorn-settings:"

at = len(sys.argv) - 1 - sys.argv[::-1].index(__file__)
del sys.argv[at - 1 : at + 1]

frame = sys._getframe()
while not hasattr(frame.f_locals.get("self"), "load_config_from_file"):
    frame = frame.f_back
app = frame.f_locals["self"]
cfg = type(app)(app.usage, prog=app.prog).cfg  # an invalid setting ends the process with its message

import gunicorn

known = cfg.settings


def get(name, default=None):
    return known[name].get() if name in known else default


def text(value):
    return value if value is None or isinstance(value, str) else str(value)


def words(value):
    return [value] if isinstance(value, str) else [text(v) for v in value or []]


# The worker classes of gunicorn and uvicorn, by which the kind of the app's own class is known: it
# may derive from one of them.
KINDS = {
    "gunicorn.workers.sync.SyncWorker": "sync",
    "gunicorn.workers.gthread.ThreadWorker": "gthread",
    "gunicorn.workers.ggevent.GeventPyWSGIWorker": "",  # a server of gevent's own
    "gunicorn.workers.ggevent.GeventWorker": "gevent",
    "gunicorn.workers.geventlet.EventletWorker": "eventlet",
    "gunicorn.workers.gasgi.ASGIWorker": "asgi",
    "uvicorn.workers.UvicornWorker": "uvicorn",
    "uvicorn_worker._workers.UvicornWorker": "uvicorn",
}


def worker_kind():
    name = cfg.worker_class_str
    if name in ("sync", "gthread", "gevent", "eventlet", "asgi"):
        return name
    from gunicorn.util import load_class

    for base in load_class(name if isinstance(name, str) else cfg.settings["worker_class"].get()).__mro__:
        kind = KINDS.get(base.__module__ + "." + base.__qualname__)
        if kind is not None:
            return kind
    return ""


try:
    kind = worker_kind()
except BaseException:  # what cannot be imported says so at the start
    kind = ""

try:
    from gunicorn.util import close_graceful

    lingers = True
except ImportError:
    lingers = False

report = {
    "version": gunicorn.__version__,
    "python": "%d.%d.%d" % sys.version_info[:3],
    "bind": words(get("bind")),
    "workers": get("workers"),
    "threads": get("threads"),
    "worker_class": text(cfg.worker_class_str),
    "worker_kind": kind,
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
    "limit_request_line": get("limit_request_line"),
    "limit_request_fields": get("limit_request_fields"),
    "limit_request_field_size": get("limit_request_field_size"),
    "forwarded_allow_ips": words(get("forwarded_allow_ips")),
    "proxy_allow_ips": words(get("proxy_allow_ips")),
    "lingers": lingers,
}

# Only now, so that the configuration file imports what it would import; and not the json.py of a
# project, whose directory gunicorn has put into sys.path.
for name in [m for m in sys.modules if m.split(".")[0] == "json"]:
    del sys.modules[name]
library = os.path.dirname(os.__file__)
sys.path[:] = [p for p in sys.path if p.startswith(library)]
import json

sys.stdout.write("\n" + MARKER + json.dumps(report) + "\n")
sys.stdout.flush()
os._exit(0)

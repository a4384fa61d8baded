"""shop: the app under test. WSGI: shop:app, ASGI: shop_asgi:app.

The file `release` in the working directory describes this release. It is read
once, at import, as the code of a real deploy is:

    release=7      its number, which every answer carries
    import=3       how many seconds the import takes
    fault=none     or words joined by +, of raise: the import fails; mute: it
                   starts and never answers; deaf: it ignores SIGTERM; orphan:
                   it leaves a grandchild in a session of its own

Each begin and end of a request is one line in the file `requests.log`.
"""
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from urllib.parse import parse_qs


def read_release():
    with open("release") as file:
        return dict(line.strip().split("=", 1) for line in file if "=" in line)


def note(*words):
    """One write, so that lines of several processes never mix."""
    os.write(LOG, (" ".join(str(word) for word in words) + "\n").encode())


def leave_orphan():
    """Starts a grandchild in a session of its own, whose parent exits."""
    inner = "import time, os; open('orphan', 'w').write(str(os.getpid())); time.sleep(600)"
    outer = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', %r], start_new_session=True)" % inner
    subprocess.run([sys.executable, "-c", outer], start_new_session=True, check=True)


def other_copies():
    """The main processes that imported this app before and are still alive."""
    with open("masters", "a+") as file:
        file.seek(0)
        before = {line.strip() for line in file}
        me = str(os.getppid())
        if me not in before:
            file.write(me + "\n")
    return [pid for pid in before if pid != me and alive(pid)]


def alive(pid):
    try:
        with open("/proc/%s/stat" % pid) as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


RELEASE = read_release()
FAULT = RELEASE.get("fault", "none").split("+")
GENERATION = os.environ.get("TIDEOVER_GENERATION", "-")
LOG = os.open("requests.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

note("import", RELEASE["release"], os.getpid(), GENERATION, "overlaps=" + ",".join(other_copies()))
time.sleep(float(RELEASE.get("import", "0")))
if "orphan" in FAULT:
    leave_orphan()
if "raise" in FAULT:
    raise RuntimeError("release %s is broken: no module named shop_settings" % RELEASE["release"])
if "deaf" in FAULT:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
note("ready", RELEASE["release"], os.getpid(), GENERATION)


def echo(nonce, length, digest):
    return "nonce=%s length=%d sha256=%s release=%s pid=%d generation=%s\n" % (
        nonce, length, digest, RELEASE["release"], os.getpid(), GENERATION)


def facts(environ):
    return {key: value for key, value in sorted(environ.items()) if isinstance(value, str)}


def read_body(environ):
    """Reads to the end of the input, which gunicorn reports also for a chunked body."""
    digest, length, source = hashlib.sha256(), 0, environ["wsgi.input"]
    while True:
        part = source.read(64 << 10)
        if not part:
            return length, digest.hexdigest()
        digest.update(part)
        length += len(part)


def stream(nonce, seconds, line):
    until, number = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        yield (line % number).encode()
        number += 1
        time.sleep(0.1)
    yield echo(nonce, 0, hashlib.sha256().hexdigest()).encode()
    note("end", nonce, os.getpid())


def app(environ, start_response):
    query = {key: values[0] for key, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
    nonce, seconds = query.get("nonce", "-"), float(query.get("s", "0"))
    path = environ["PATH_INFO"]
    if "mute" in FAULT:
        time.sleep(600)
    if nonce != "-":
        note("begin", nonce, os.getpid(), GENERATION, environ["REQUEST_METHOD"])
    if path in ("/stream", "/sse"):
        kind = "text/event-stream" if path == "/sse" else "text/plain"
        start_response("200 OK", [("Content-Type", kind), ("X-Accel-Buffering", "no")])
        return stream(nonce, seconds, "data: %d\n\n" if path == "/sse" else "line %d\n")
    length, digest = read_body(environ)
    time.sleep(seconds)
    text = json.dumps(facts(environ)) if path == "/environ" else echo(nonce, length, digest)
    status = "500 Internal Server Error" if path == "/fail" else "200 OK"
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    if nonce != "-":
        note("end", nonce, os.getpid())
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else text.encode()]

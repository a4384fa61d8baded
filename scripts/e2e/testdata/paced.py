"""GET /STATUS/MILLISECONDS: that status after that time."""
import time


def application(environ, start_response):
    parts = environ["PATH_INFO"].strip("/").split("/")
    status, wait = (parts + ["200", "0"])[:2] if len(parts) == 2 else ("200", "0")
    time.sleep(int(wait) / 1000)
    start_response(status + " x", [("Content-Length", "3")])
    return [b"ok\n"]

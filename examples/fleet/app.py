"""The app of the example."""

import os


def app(environ, start_response):
    body = ("revision %s\n" % os.environ.get("TIDEOVER_REVISION", "none")).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]

"""A small app that takes three seconds to import, as large ones do."""
import os
import time

time.sleep(3)


def app(environ, start_response):
    generation = os.environ.get("TIDEOVER_GENERATION", "none: started without tideover")
    body = ("shop answers; generation %s\n" % generation).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]

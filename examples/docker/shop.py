import os


def app(environ, start_response):
    body = b"shop, generation %s\n" % os.environ.get("TIDEOVER_GENERATION", "-").encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

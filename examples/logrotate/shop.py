import sys
import uuid


def app(environ, start_response):
    order = uuid.uuid4().hex
    sys.stdout.write(f"order {order}\n")  # in one piece: print() may write a line in several
    sys.stdout.flush()
    body = b"order %s\n" % order.encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

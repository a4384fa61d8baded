"""Reads requests as gunicorn does: one after the other from standard input, each
with its length in four octets before it. For each it writes one line of JSON:
what gunicorn's own parser made of it, and what it left over.
"""
import json
import struct
import sys

from gunicorn.config import Config
from gunicorn.http.parser import RequestParser


def read(cfg, octets):
    parser = RequestParser(cfg, [octets], ("127.0.0.1", 1))
    try:
        message = next(parser)
        body = message.body.read()
        lengths = [value for name, value in message.headers if name == "CONTENT-LENGTH"]
        if lengths and int(lengths[0]) > len(body):
            return {"error": "Incomplete"}  # gunicorn leaves it to the app to miss the rest
        left = b"".join(iter(parser.unreader.read, b""))
    except Exception as e:
        return {"error": type(e).__name__}
    return {
        "method": message.method,
        "target": message.uri,
        "version": "%d.%d" % message.version,
        "fields": [[name, value] for name, value in message.headers],
        "body": body.decode("latin-1"),
        "left": len(left),
    }


def main():
    cfg = Config()
    cfg.set("limit_request_line", 8190)
    octets = sys.stdin.buffer
    while length := octets.read(4):
        (n,) = struct.unpack(">I", length)
        print(json.dumps(read(cfg, octets.read(n))), flush=True)


main()

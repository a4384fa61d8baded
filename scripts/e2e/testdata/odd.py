"""The shop with a few more paths, and seen, which tells what gunicorn told it.

    /die?s=T     kills its own process after T seconds, before an answer
    /watch       works until its connection is closed, and notes when that was

odd:app is for WSGI, odd:asgi for ASGI.
"""
import asyncio
import hashlib
import json
import os
import select
import signal
import time
from urllib.parse import parse_qs

import shop
import shop_asgi


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path not in ("/die", "/watch"):
        return shop.app(environ, start_response)
    query = {key: values[0] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
    shop.read_body(environ)
    shop.note("begin", query["nonce"], os.getpid(), shop.GENERATION, environ["REQUEST_METHOD"])
    if path == "/die":
        time.sleep(float(query.get("s", "0")))
        os.kill(os.getpid(), signal.SIGKILL)
    watch(environ["gunicorn.socket"], query["nonce"])
    start_response("200 OK", [("Content-Length", "0")])
    return [b""]


def watch(connection, nonce):
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
    shop.note("closed" if poll.poll(20000) else "open", nonce, time.time_ns())


async def asgi(scope, receive, send):
    if scope["type"] != "http" or scope["path"] not in ("/die", "/watch"):
        await shop_asgi.app(scope, receive, send)
        return
    query = {key: values[0] for key, values in parse_qs(scope["query_string"].decode()).items()}
    await shop_asgi.read_body(receive)
    shop.note("begin", query["nonce"], os.getpid(), shop.GENERATION, scope["method"])
    if scope["path"] == "/die":
        await asyncio.sleep(float(query.get("s", "0")))
        os.kill(os.getpid(), signal.SIGKILL)
    message = await receive()
    shop.note("closed" if message["type"] == "http.disconnect" else "open", query["nonce"], time.time_ns())


HOP = {"HTTP_" + name for name in ("CONNECTION", "KEEP_ALIVE", "PROXY_CONNECTION", "TE", "TRAILER", "UPGRADE", "HTTP2_SETTINGS",
                                   "EXPECT", "TRANSFER_ENCODING", "X_REQUEST_START")}
OURS = {"CONTENT_LENGTH", "REMOTE_PORT", "SERVER_NAME", "SERVER_PORT", "SERVER_PROTOCOL",
        "PROXY_ADDR", "PROXY_PORT", "PROXY_PROTOCOL"}


def seen(environ, start_response):
    """Answers as raw.py does, with the environ instead of the head."""
    body = environ["wsgi.input"].read()
    told = {key: value for key, value in environ.items() if isinstance(value, str) and key not in HOP | OURS}
    text = json.dumps(told, indent=0, sort_keys=True).encode()
    saw = "%s %d %s %s" % (environ["REQUEST_METHOD"], len(body), hashlib.sha256(body).hexdigest(), hashlib.sha256(text).hexdigest())
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(text))), ("Saw", saw)])
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else text]

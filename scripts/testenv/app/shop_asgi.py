"""The same app for ASGI servers, with a websocket at /ws that echoes."""
import asyncio
import hashlib
import os
from urllib.parse import parse_qs

from shop import FAULT, GENERATION, RELEASE, echo, note


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await websocket(receive, send)
    else:
        await http(scope, receive, send)


async def lifespan(receive, send):
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def websocket(receive, send):
    while True:
        message = await receive()
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        elif message["type"] == "websocket.receive":
            text = "release=%s pid=%d echo=%s" % (RELEASE["release"], os.getpid(), message.get("text"))
            await send({"type": "websocket.send", "text": text})
        else:
            return


async def read_body(receive):
    digest, length, more = hashlib.sha256(), 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        part = message.get("body", b"")
        digest.update(part)
        length += len(part)
        more = message.get("more_body", False)
    return length, digest.hexdigest()


async def http(scope, receive, send):
    query = {key: values[0] for key, values in parse_qs(scope["query_string"].decode()).items()}
    nonce, seconds = query.get("nonce", "-"), float(query.get("s", "0"))
    if "mute" in FAULT:
        await asyncio.sleep(600)
    if nonce != "-":
        note("begin", nonce, os.getpid(), GENERATION, scope["method"])
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
    if scope["path"] in ("/stream", "/sse"):
        await stream(scope["path"], nonce, seconds, start, send)
    else:
        length, digest = await read_body(receive)
        await asyncio.sleep(seconds)
        text = echo(nonce, length, digest).encode()
        start["headers"].append((b"content-length", str(len(text)).encode()))
        await send(start)
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else text})
    if nonce != "-":
        note("end", nonce, os.getpid())


async def stream(path, nonce, seconds, start, send):
    if path == "/sse":
        start["headers"] = [(b"content-type", b"text/event-stream")]
    await send(start)
    line = "data: %d\n\n" if path == "/sse" else "line %d\n"
    loop = asyncio.get_running_loop()
    until, number = loop.time() + seconds, 0
    while loop.time() < until:
        await send({"type": "http.response.body", "body": (line % number).encode(), "more_body": True})
        number += 1
        await asyncio.sleep(0.1)
    last = echo(nonce, 0, hashlib.sha256().hexdigest()).encode()
    await send({"type": "http.response.body", "body": last})

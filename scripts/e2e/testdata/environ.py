"""Shows what a server told the app about a request: app for WSGI, scope for ASGI.

Of app's response, the query may set status=700+Custom, and lengths=2 repeats Content-Length.
"""
import json
from urllib.parse import parse_qs


def plain(value):
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return "a " + type(value).__name__


def text(facts):
    return json.dumps({key: plain(value) for key, value in facts.items()}, indent=0, sort_keys=True).encode()


def app(environ, start_response):
    while environ["wsgi.input"].read(1 << 16):
        pass
    shown = text(environ)
    query = parse_qs(environ["QUERY_STRING"], encoding="latin-1")
    length = [("Content-Length", str(len(shown)))] * int(query.get("lengths", ["1"])[0])
    start_response(query.get("status", ["200 OK"])[0], [("Content-Type", "application/json")] + length)
    return [shown]


async def scope(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    headers = {}
    for name, value in scope["headers"]:
        headers.setdefault("header " + plain(name), []).append(plain(value))
    shown = text({**scope, **headers, "headers": None})
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(shown)).encode())]})
    await send({"type": "http.response.body", "body": shown})

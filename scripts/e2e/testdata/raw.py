"""A server that tells, byte for byte, what reached it.

    raw.py fd N | raw.py port N

It reads HTTP/1.1 by hand and refuses nothing. The response's body is the request's method, target
and fields without those that a proxy may change. Saw is the method, the length and digest of the
request's body, and the digest of the response's body. X-Seen is the head as it came, where it is
short.
"""
import base64
import hashlib
import socket
import sys
import threading

# Fields that belong to one hop, or frame the body, or are made by tideover.
DIFFER = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade", b"http2-settings",
          b"proxy-authorization", b"proxy", b"content-length", b"transfer-encoding", b"expect", b"x-request-start"}


class Request:
    def __init__(self, connection, stream):
        lines = [next_line(stream)]
        while lines[0] == b"":  # RFC 9112 section 2.2
            lines = [next_line(stream)]
        while lines[-1]:
            lines.append(next_line(stream))
        self.head = b"\r\n".join(lines[:-1])
        self.method, _, rest = lines[0].partition(b" ")
        self.target, _, version = rest.partition(b" ")
        self.fields = []
        named = {}
        for line in lines[1:-1]:
            name, _, value = line.partition(b":")
            value = value.strip(b" \t")
            self.fields.append((name, value))
            named.setdefault(name.lower(), []).append(value.lower())
        self.old = version == b"HTTP/1.0"
        wish = b",".join(named.get(b"connection", []))
        self.closes = b"close" in wish or self.old and b"keep-alive" not in wish
        if b"expect" in named:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if b"transfer-encoding" in named:
            self.body = b"".join(chunks(stream))
        else:
            self.body = exactly(stream, int(named.get(b"content-length", [0])[-1]))

    def seen(self):
        """The head without what differs: the target in origin-form, and no name with an underscore,
        which could be taken for another one."""
        authority, target = self.split_target()
        lines = [self.method + b" " + target]
        if authority:
            lines.append(b"Host: " + authority)
        for name, value in self.fields:
            if b"_" not in name and name.lower() not in DIFFER and not (authority and name.lower() == b"host"):
                lines.append(name + b": " + value)
        return b"\n".join(lines) + b"\n"

    def split_target(self):
        """The authority of an absolute target, which counts instead of Host, and the target without
        it (RFC 9112 section 3.2)."""
        scheme, separator, rest = self.target.partition(b"://")
        if not separator or scheme.startswith(b"/"):
            return b"", self.target
        end = min(i for i in (rest.find(b"/"), rest.find(b"?"), len(rest)) if i >= 0)
        origin = rest[end:]
        if not origin:
            origin = b"*" if self.method == b"OPTIONS" else b"/"
        return rest[:end], origin if origin.startswith((b"/", b"*")) else b"/" + origin

    def response(self):
        seen = self.seen()
        fields = [b"HTTP/1.1 200 OK", b"Content-Type: text/plain", b"Content-Length: %d" % len(seen),
                  b"Saw: %s %d %s %s" % (self.method, len(self.body), digest(self.body), digest(seen))]
        if len(self.head) <= 2048:  # a front-end takes 4 KiB of head from it
            fields.append(b"X-Seen: " + base64.b64encode(self.head))
        if self.closes:
            fields.append(b"Connection: close")
        elif self.old:
            fields.append(b"Connection: keep-alive")
        return b"\r\n".join(fields) + b"\r\n\r\n" + (b"" if self.method == b"HEAD" else seen)


def next_line(stream):
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    return line.rstrip(b"\r\n")


def exactly(stream, length):
    body = stream.read(length)
    if len(body) < length:
        raise EOFError
    return body


def chunks(stream):
    while size := int(next_line(stream).partition(b";")[0], 16):
        yield exactly(stream, size)
        next_line(stream)
    while next_line(stream):  # trailers
        pass


def digest(data):
    return hashlib.sha256(data).hexdigest().encode()


def serve(connection):
    with connection, connection.makefile("rb") as stream:
        try:
            closes = False
            while not closes:
                request = Request(connection, stream)
                connection.sendall(request.response())
                closes = request.closes
            connection.shutdown(socket.SHUT_WR)
        except (EOFError, OSError):
            pass  # the client left, or only looked whether there is a server


def main():
    kind, number = sys.argv[1], int(sys.argv[2])
    if kind == "fd":
        listener = socket.socket(fileno=number)
        listener.setblocking(True)
    else:
        listener = socket.create_server(("127.0.0.1", number), backlog=128)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


main()

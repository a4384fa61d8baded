"""A server that shows, byte for byte, which request head reached it.

    raw.py fd N | raw.py port N
"""
import base64
import socket
import sys


def read_request(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            return data
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(body) < length:
        body += connection.recv(65536)
    return head


def main():
    kind, number = sys.argv[1], int(sys.argv[2])
    if kind == "fd":
        listener = socket.socket(fileno=number)
        listener.setblocking(True)
    else:
        listener = socket.create_server(("127.0.0.1", number))
    while True:
        connection, _ = listener.accept()
        with connection:
            try:
                answer(connection)
            except OSError:
                pass  # the front-end left, or only looked whether we are here


def answer(connection):
    head = read_request(connection)
    body = b"" if head.startswith(b"HEAD ") else b"seen\n"
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"
                       b"X-Seen: %s\r\nConnection: close\r\n\r\n%s" % (base64.b64encode(head), body))
    connection.shutdown(socket.SHUT_WR)


main()

"""The smallest web app: answers every request on the socket it was given."""
import signal
import socket
import sys

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
door = socket.socket(fileno=int(sys.argv[1]))
door.setblocking(True)
while True:
    client, _ = door.accept()
    with client:
        if client.recv(65536):
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")

"""A small web app that keeps its connections: an answer of one piece for each request without a body."""
import asyncio
import socket
import sys

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"


class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.begun = transport, b""

    def data_received(self, data):
        *whole, self.begun = (self.begun + data).split(b"\r\n\r\n")
        for _ in whole:
            self.transport.write(ANSWER)


async def main():
    server = await asyncio.get_running_loop().create_server(Connection, sock=socket.socket(fileno=int(sys.argv[1])))
    await server.serve_forever()


asyncio.run(main())

#!/usr/bin/env python3
"""Stands in for the programs that people run beside gunicorn. What it does
depends on the name it is called by:

    daphne, nginx, node   answers HTTP on the port of -p or of PORT
    once CODE             says a word and exits
    chatter               writes to both outputs, for ever
    deaf                  does not mind being told to end
    anything else         works until it is told to end, as celery does
"""
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

name, words = os.path.basename(sys.argv[0]), sys.argv[1:]
told = threading.Event()


class Hello(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ok\n")

    def log_message(self, *_):
        pass


def leave(number, _):
    print(name, "was told to end by", signal.Signals(number).name, flush=True)
    told.set()


def serve():
    port = words[words.index("-p") + 1] if "-p" in words else os.environ["PORT"]
    threading.Thread(target=HTTPServer(("127.0.0.1", int(port)), Hello).serve_forever, daemon=True).start()


print(name, "begins", *words, flush=True)
if name == "once":
    sys.exit(int(words[0]))
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1):
    signal.signal(number, signal.SIG_IGN if name == "deaf" else leave)
if name in ("daphne", "nginx", "node"):
    serve()
while not told.wait(0.2):
    if name == "chatter":
        print("a line", flush=True)
        print("a fault", file=sys.stderr, flush=True)

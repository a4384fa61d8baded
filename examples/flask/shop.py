import os

from flask import Flask

app = Flask(__name__)


@app.get("/")
def index():
    return f"shop, generation {os.environ.get('TIDEOVER_GENERATION')}\n"


@app.get("/healthz")
def healthz():
    """A new generation gets requests as soon as this answers: what the app cannot work without, such
    as its database, is asked here."""
    return "ok\n"

import os
import time

from celery import Celery

app = Celery("tasks", broker=os.environ.get("BROKER", "redis://127.0.0.1:6379/0"))
app.conf.update(
    worker_prefetch_multiplier=1,  # a worker that stops has at most one task for each of its processes
    broker_connection_retry_on_startup=True,
    beat_schedule={"each second": {"task": "tasks.tick", "schedule": 1.0}},
)


@app.task
def tick():
    pass


@app.task
def bill(order, journal, seconds=0.2):
    """Appends the order to the journal when it begins and when it ends."""
    note(journal, f"begin {order}")
    time.sleep(seconds)
    note(journal, f"end {order}")


def note(journal, line):
    with open(journal, "a") as f:
        f.write(line + "\n")

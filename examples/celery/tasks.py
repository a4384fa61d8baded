import os
import signal
import time

from celery import Celery
from celery.signals import worker_ready
from celery.worker import state

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


@worker_ready.connect
def end_when_idle(sender, **_):
    """On TERM a worker takes no further task, and ends when those that it has taken are done.

    celery's own warm shutdown puts a task back into the queue that begins in the moment of the
    signal, before it is acknowledged: it is done twice (celery issue 3796).
    """
    warm_shutdown, asked = signal.getsignal(signal.SIGTERM), []

    def on_term(*args):
        if asked or not (sender.connection and sender.connection.connected):
            return warm_shutdown(*args)
        asked.append("TERM")

    def look():
        if asked == ["TERM"]:
            asked.append("cancelled")
            for queue in list(app.amqp.queues.consume_from):
                sender.cancel_task_queue(queue)
        elif asked and not state.reserved_requests:
            state.should_stop = 0  # the exit code

    signal.signal(signal.SIGTERM, on_term)
    sender.timer.call_repeatedly(0.1, look)

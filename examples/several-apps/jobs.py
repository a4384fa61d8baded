"""Does a job, and ends after it on TERM."""
import os
import signal
import time

ending = []
signal.signal(signal.SIGTERM, lambda *_: ending.append(True))

while not ending:
    print("a job of instance", os.environ["TIDEOVER_INSTANCE"], flush=True)
    time.sleep(0.5)

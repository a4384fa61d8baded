"""Runs supervisorctl, unmodified, for each line of standard input: arguments in JSON. Answers with a line
of JSON: what it has printed, and its exit code. One process for all, because the start of Python takes
longer than most commands."""

import io
import json
import sys

from supervisor import supervisorctl

answers = sys.stdout
for line in sys.stdin:
    printed = io.StringIO()
    sys.stdout = sys.stderr = printed
    code = 0
    try:
        supervisorctl.main(args=json.loads(line))
    except SystemExit as e:
        code = e.code or 0
    answers.write(json.dumps([printed.getvalue(), code]) + "\n")
    answers.flush()

"""Calls functions of Salt's execution module supervisord, unmodified, as a minion does: of Salt there are
here only the functions that the module calls. Arguments: the module's file, supervisorctl, and
supervisord.conf. Prints a line of JSON for each call: the function, its arguments, what it returns."""

import importlib.util
import json
import shutil
import subprocess
import sys
import types

path, supervisorctl, conf = sys.argv[1:]


class CommandExecutionError(Exception):
    pass


class CommandNotFoundError(CommandExecutionError):
    pass


def to_num(text):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def run_all(argv, runas=None, python_shell=False):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return {"retcode": done.returncode, "stdout": done.stdout.rstrip("\n"), "stderr": done.stderr.rstrip("\n")}


stubs = {name: types.ModuleType(name) for name in ("salt", "salt.utils", "salt.utils.stringutils", "salt.exceptions")}
stubs["salt"].utils = stubs["salt.utils"]
stubs["salt.utils"].stringutils = stubs["salt.utils.stringutils"]
stubs["salt.utils.stringutils"].to_num = to_num
stubs["salt.exceptions"].CommandExecutionError = CommandExecutionError
stubs["salt.exceptions"].CommandNotFoundError = CommandNotFoundError
sys.modules.update(stubs)

spec = importlib.util.spec_from_file_location("supervisord", path)
module = importlib.util.module_from_spec(spec)
module.__salt__ = {"cmd.run_all": run_all, "cmd.which_bin": lambda names: shutil.which(names[0])}
spec.loader.exec_module(module)


def plain(value):
    """A text of several lines, in which the order of the processes of a group is chance."""
    if isinstance(value, str):
        return sorted(value.splitlines())
    return value


for name, *params in (
    ("status",), ("status", "web"), ("status", "jobs:*"), ("status", "nope"),
    ("status_bool", "web"), ("status_bool", "web", "RUNNING"), ("status_bool", "man", "RUNNING"), ("status_bool", "nope"),
    ("start", "man"), ("start", "man"), ("restart", "man"), ("stop", "man"), ("stop", "man"), ("start", "nope"),
    ("restart", "web"), ("stop", "jobs:*"), ("start", "jobs:*"), ("restart", "jobs:worker_01"),
    ("reread",), ("update",), ("remove", "man:"), ("status_raw", "man"), ("add", "man:*"), ("remove", "web"), ("add", "web"),
    ("custom", "signal HUP web"), ("custom", "pid nope"), ("custom", "nonsense"), ("status_raw",),
):
    try:
        value = plain(getattr(module, name)(*params, conf_file=conf, bin_env=supervisorctl))
    except CommandExecutionError as e:
        value = repr(e)
    print(json.dumps([name, params, value], sort_keys=True))
print(json.dumps(sorted(module.options("web", conf_file=conf))))

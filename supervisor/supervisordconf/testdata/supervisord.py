"""Answers as supervisord would: JSON questions on standard input, answers on standard output."""
import io
import json
import sys

from supervisor import datatypes, options


def parse(texts):
    parser = options.UnhosedConfigParser()
    try:
        for text in texts:
            parser.read_file(io.StringIO(text, newline=None))
    except Exception:
        return None
    everything = [("DEFAULT", parser._defaults)] + list(parser._sections.items())
    return [[name, [[option, value] for option, value in section.items()]] for name, section in everything]


def attempt(function, *arguments):
    try:
        return function(*arguments)
    except Exception:
        return None


def pairs(text):
    return [list(item) for item in datatypes.dict_of_key_value_pairs(text).items()]


def shared(text):
    """The environment that supervisord has from [supervisord] environment."""
    server = options.ServerOptions()
    server.here = "/etc/sv"
    config = io.StringIO("[supervisord]\nenvironment=" + text + "\n[program:a]\ncommand=/bin/cat\n")
    config.name = "/etc/sv/supervisord.conf"
    server.read_config(config)
    return [list(item) for item in server.configroot.supervisord.environment.items()]


questions = json.load(sys.stdin)
values = {"here": "/etc/sv", "program_name": "shop", "process_num": 7, "ENV_HOME": "/root"}
json.dump({
    "files": [parse(texts) for texts in questions["files"]],
    "environments": [attempt(pairs, text) for text in questions["environments"]],
    "shared": [attempt(shared, text) for text in questions["shared"]],
    "percents": [attempt(options.expand, text, values, "x") for text in questions["percents"]],
    "sizes": [attempt(datatypes.byte_size, text) for text in questions["sizes"]],
}, sys.stdout)

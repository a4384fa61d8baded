"""Sends the requests of what reads supervisord by XML-RPC to the server at a URL and prints the answers
as JSON, without what differs between two runs. Some are made here; the others are those that these
programs have sent, byte by byte, out of a file (see the test)."""

import http.client
import json
import re
import socket
import sys
import xmlrpc.client

from supervisor.xmlrpc import SupervisorTransport

url = sys.argv[1]
rpc = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=SupervisorTransport("", "", url))
answers = []


def same(value):
    """A value without times, pids and paths."""
    if isinstance(value, dict):
        plain = {}
        if value.get("statename") == "STOPPED":
            del value["exitstatus"]  # whether the signal has found a handler is chance
        for key, v in value.items():
            if key in ("start", "stop", "now", "pid"):
                v = [type(v).__name__, v > 0]
            elif "logfile" in key or key in ("directory", "command", "killasgroup", "startretries", "uid", "group_prio", "process_prio"):
                v = type(v).__name__ if key not in ("uid", "stdout_logfile_maxbytes") else None
            elif key in ("startsecs", "stopwaitsecs"):
                v = type(v).__name__
            elif key == "description":
                v = re.sub(r"pid \d+, uptime [\d:]+|[A-Z][a-z]{2} \d\d \d\d:\d\d [AP]M", "...", v)
            plain[key] = same(v)
        return plain
    if isinstance(value, list):
        return [same(v) for v in value]
    return value


def ask(who, method, *params):
    try:
        value = same(getattr(rpc, method)(*params))
        if method.startswith("supervisor.stop") and isinstance(value, list):
            value.sort(key=lambda v: v["name"])  # supervisord's is the order in which they have ended
    except xmlrpc.client.Fault as e:
        value = {"fault": e.faultCode, "text": e.faultString}
    answers.append([who, method, params, value])


def replay(who, request):
    """Sends a request as it is, on a connection of its own."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(60)
    sock.connect(url.removeprefix("unix://"))
    sock.sendall(request.encode())
    response = http.client.HTTPResponse(sock)
    response.begin()
    answer = [response.status, response.getheader("Content-Type")]
    try:
        answer.append(same(xmlrpc.client.loads(response.read())[0][0]))
    except xmlrpc.client.Fault as e:
        answer.append({"fault": e.faultCode, "text": e.faultString})
    sock.close()
    answers.append([who, request, answer])


# node_exporter, netdata, supervisord_exporter, mackerel
ask("node_exporter", "supervisor.getAllProcessInfo")
# Datadog
ask("datadog", "supervisor.getSupervisorVersion")
# Telegraf
ask("telegraf", "supervisor.getState")
ask("telegraf", "supervisor.getIdentification")
# cesi, supervisord-monitor
for name in ("web", "jobs:worker_00"):
    ask("cesi", "supervisor.getProcessInfo", name)
    ask("cesi", "supervisor.stopProcess", name)
    ask("cesi", "supervisor.getProcessInfo", name)
    ask("cesi", "supervisor.startProcess", name)
    ask("cesi", "supervisor.startProcess", name)
ask("cesi", "supervisor.tailProcessStdoutLog", "jobs:worker_00", 0, 4)
ask("cesi", "supervisor.tailProcessStderrLog", "jobs:worker_00", 0, 500)
ask("monitor", "supervisor.readProcessStderrLog", "jobs:worker_00", -1000, 0)
ask("monitor", "supervisor.readProcessStderrLog", "web", -1000, 0)
ask("monitor", "supervisor.clearProcessLogs", "jobs:worker_00")
ask("monitor", "supervisor.readProcessStderrLog", "jobs:worker_00", -1000, 0)
ask("monitor", "supervisor.tailProcessStdoutLog", "jobs:worker_00", 0, 500)
# others
ask("others", "supervisor.getAPIVersion")
ask("others", "supervisor.getVersion")
ask("others", "supervisor.stopProcessGroup", "jobs")
ask("others", "supervisor.startProcessGroup", "jobs")
ask("others", "supervisor.signalProcess", "jobs:worker_00", "CONT")
ask("others", "supervisor.signalProcessGroup", "jobs", "18")
ask("others", "supervisor.reloadConfig")
ask("others", "supervisor.getAllConfigInfo")
ask("others", "system.multicall", [{"methodName": "supervisor.getAPIVersion", "params": []}, {"methodName": "none"}, {"methodName": "supervisor.stopProcess", "params": ["none"]}])
ask("others", "system.listMethods")
for method in rpc.system.listMethods():
    ask("others", "system.methodSignature", method)
# recorded
with open(sys.argv[2]) as file:
    for who, request in json.load(file):
        replay(who, request)
# faults
for method, *params in (
    ("supervisor.none",), ("none.none",), ("supervisor.getState", 1), ("supervisor.getProcessInfo",), ("supervisor.getProcessInfo", "none"), ("supervisor.getProcessInfo", "jobs:*"),
    ("supervisor.startProcess", "jobs:none"), ("supervisor.startProcess", "web"), ("supervisor.stopProcess", "man"), ("supervisor.stopProcess", "none:*"), ("supervisor.stopProcessGroup", "none"),
    ("supervisor.startProcess", "bad"), ("supervisor.signalProcess", "web", "FOO"), ("supervisor.signalProcess", "man", "HUP"), ("supervisor.readProcessStdoutLog", "web", -1, 1),
    ("supervisor.readProcessStdoutLog", "none", 0, 0), ("supervisor.addProcessGroup", "web"), ("supervisor.addProcessGroup", "none"), ("supervisor.removeProcessGroup", "web"),
    ("supervisor.removeProcessGroup", "none"), ("supervisor.sendProcessStdin", "none", "x"), ("system.methodHelp", "none"), ("system.methodSignature", "none"),
):
    ask("faults", method, *params)
json.dump(answers, sys.stdout, sort_keys=True)

"""fab -H deploy@shop.example.com deploy"""
import shlex
import tempfile
import time

from fabric import task
from invoke.exceptions import Exit

ROOT = "/srv/shop"


@task
def deploy(c, revision="HEAD"):
    """Puts a revision of this repository into service."""
    commit = c.local(f"git rev-parse --short {shlex.quote(revision)}", hide=True).stdout.strip()
    release = f"{ROOT}/releases/{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{commit}"
    with tempfile.NamedTemporaryFile(suffix=".tar") as archive:
        c.local(f"git archive --output {archive.name} {commit}")
        c.run(f"mkdir -p {release}")
        c.put(archive.name, f"{release}.tar")
    c.run(f"tar -xf {release}.tar -C {release} && rm {release}.tar")
    # Here: virtualenv, static files, migration.
    result = c.run(f"{ROOT}/activate {release}", warn=True)
    if result.failed:  # its output is shown already
        raise Exit(f"{release} is not in service: exit code {result.exited}", code=result.exited)

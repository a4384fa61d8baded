#!/bin/sh
# Deploys the code in this directory. A step that fails ends the deploy with its exit code.
set -eu
cd "$(dirname "$0")"

python manage.py collectstatic --noinput
if python manage.py migrate --check >/dev/null 2>&1; then
    exec tideover reload bookshop
fi
# Requests in flight finish with the old code, and new ones wait until the new code answers.
exec tideover hold bookshop -- sh -c 'python manage.py migrate --noinput && tideover reload bookshop'

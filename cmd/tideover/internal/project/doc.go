// Package project looks at the files of a web project and finds out how its app is
// run today: from a systemd unit, a Procfile, a Dockerfile, the configuration of
// gunicorn, a Django project or the modules of a Python app. It runs nothing and
// changes nothing. `tideover init` writes what it finds as a configuration.
package project

// Package testenv starts the servers that the end-to-end tests, the demo and the
// bench need: tideover, gunicorn, supervisord, and front-ends with their
// configuration.
//
// An Env has a folder, ports and processes of its own, so that several can run in
// parallel. Close ends all its processes and removes the folder, also after a
// failed start.
package testenv

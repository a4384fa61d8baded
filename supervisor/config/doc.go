// Package config loads, validates and compares configurations. Load reads a TOML
// file, and FromCommand the command line behind "tideover run --". Both return Apps
// in which every default is filled in and every value is parsed.
//
// Every key is listed once, in keys_app.go or keys_daemon.go, with its type, default
// and meaning. Loading, the check for unknown keys, the differences that apply shows
// and the reference of keys are derived from these tables.
//
// Load reports all problems at once, each with file, line and column. It validates
// text: it starts, binds and resolves nothing, and it reads only the files that the
// configuration names (includes and env files). Inspect compares a loaded
// configuration with the machine.
//
// The public address of an app is usually the bind of its gunicorn, so this package
// imports package gunicorn. Package supervisordconf imports this one.
package config

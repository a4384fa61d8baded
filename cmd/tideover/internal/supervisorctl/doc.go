// Package supervisorctl is tideover called as supervisorctl: its arguments, lines and exit codes are
// those of supervisorctl 4.3.0, and it speaks XML-RPC, so that it works with a supervisord, too.
//
// options.go reads the command line and the [supervisorctl] section; client.go calls methods; shell.go
// runs one command, or those of its prompt; verbs.go has the commands, and help.go their help. complete.go
// answers the completion scripts of tideover.
package supervisorctl

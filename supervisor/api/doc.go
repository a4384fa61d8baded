// Package api has the requests, results and exit codes that the supervisor, the
// control socket and the command line share. Its JSON is what users see: keys
// may be added and never changed.
package api

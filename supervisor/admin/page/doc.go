// Package page is the page of the admin address: the apps in a browser, live.
//
// It runs in the admin process, which is confined and a client of the control protocol with the role
// of a viewer. The page shows facts, as /metrics does. It carries out actions, and shows what the apps
// have written, only with the token of daemon.admin_auth: action.go and output.go hand it on to the
// supervisor, which compares it (decision 0028).
//
// hub.go asks the supervisor, at intervals and whenever something has happened, keeps the last hour
// (supervisor/trend) and has the viewers; row.go and entry.go are what the browser gets of an app and
// of a record of the history; stream.go sends it as server-sent events; handler.go has the paths and
// guard.go the rules for a request. static has what the browser runs; index.html is filled by
// html/template and needs no script to be read.
package page

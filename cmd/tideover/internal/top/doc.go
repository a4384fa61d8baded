// Package top is the live screen of `tideover top`: the apps of all daemons that were found, the
// operation that runs in one of them with its old and new generation, and what the app writes.
//
// top.go is what the command calls; model.go asks the daemons and keeps what they answer, keys.go
// reacts to keys. view.go lays the screen out, apps.go is the table, detail.go the chosen app; draw.go
// has panels, curves and text of a fixed width.
package top

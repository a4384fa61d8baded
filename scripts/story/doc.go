// Story is the program behind scripts/demo: one app, carried through an
// eventful minute of its life.
//
// main.go reads from top to bottom what is shown; stage.go puts gunicorn,
// Apache and the load on the stage, acts.go lists what happens to them, meter.go
// counts and shows it meanwhile, table.go sums up.
package main

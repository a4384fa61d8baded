// Mutants deletes each check of a package once and asks whether a test fails.
//
// All mutants are planted into one copy of the package, each behind a switch that the environment turns, so that the package
// is compiled once. A first run of every test by itself tells which mutants it meets, so that a mutant is tried on those tests
// only, the quickest first. plant.go knows what a check is, garden.go makes the copy, trial.go runs the tests.
package main

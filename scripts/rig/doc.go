// Package rig starts what the rows and the demo need around an app, and takes
// all of it away again: front-ends with configurations of their own, tideover,
// supervisord for comparison, the app itself.
//
// A Room is one such set, with a folder, ports and processes that no other room
// has, so that any number of them stand side by side. Nothing of a room is left
// after Close, whatever happened in between.
package rig

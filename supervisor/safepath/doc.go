// Package safepath opens files on paths that others can change.
//
// Root must not open, create or rename a file on a path that another user can change: a
// symlink there leads to any file of the machine, a FIFO blocks the open, and a rename
// moves a file of somebody else. Therefore a daemon that runs as root first walks along
// the path, one descriptor after the other (openat, O_PATH, O_NOFOLLOW). If every
// component can only be changed by root, root opens the file. Otherwise a helper process
// that has the app's user and groups opens it, so that the kernel decides what the app
// may open, and hands the descriptor back. The helper follows symlinks. It is killed if
// it does not answer in time.
//
// A daemon that does not run as root opens every file itself: it may do no more than the
// app.
//
// main must call Helper before it reads its arguments.
package safepath

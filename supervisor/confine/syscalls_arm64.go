package confine

// allowedHere are system calls that amd64 does not have.
var allowedHere []string

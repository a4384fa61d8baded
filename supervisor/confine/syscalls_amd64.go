package confine

// allowedHere are system calls that arm64 does not have.
var allowedHere = []string{"arch_prctl", "epoll_wait", "poll"}

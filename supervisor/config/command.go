package config

import "time"

// CommandOptions is what stands on the command line of `tideover run [flags]
// -- COMMAND`. Zero values mean that the flag was not given.
type CommandOptions struct {
	Command   []string
	Directory string   // absolute; where the command is run
	Environ   []string // inherited whole

	Name         string
	Listen       []string
	Ready        string
	Reload       string
	ReadyTimeout time.Duration
	HoldTimeout  time.Duration
	HoldLimit    int
	StopTimeout  time.Duration
	EnvFile      []string
}

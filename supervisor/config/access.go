package config

import (
	"fmt"

	"tideover/proxy/accesslog"
)

// checkAccessFormat checks log.access_format.
func checkAccessFormat(s string) error {
	if _, err := accesslog.Parse(s); err != nil {
		return &hintedError{fmt.Sprintf("%q is not a format of the access log: %v", s, err), `write "combined", "json", or a line such as "%(h)s %(r)s %(s)s %(L)s"`}
	}
	return nil
}

package logs

import (
	"fmt"
	"time"
)

// rotate renames the file to PATH.1, and older ones to the next number, and opens a new
// one. Old files are compressed in the background.
func (f *file) rotate() error {
	f.cleaning.Wait() // files must not be renamed while the last rotation compresses them
	fresh, err := f.Opener.RotateLog(f.Path, f.rotation())
	if err != nil {
		return fmt.Errorf("cannot rotate a log file: %w", err)
	}
	if err := f.use(fresh); err != nil {
		return err
	}
	f.created = time.Now()
	if o := f.FileOptions; o.Compress {
		f.cleaning.Go(func() { o.Opener.CleanUpLog(o.Path, o.rotation()) }) // after an error the next rotation tries again
	}
	return nil
}

func (f *file) needsRotation(more int) bool {
	if f.size == 0 || !f.regular {
		return false
	}
	if f.MaxSize > 0 && f.size+int64(more) > f.MaxSize {
		return true
	}
	return f.Every > 0 && time.Since(f.created) >= f.Every
}

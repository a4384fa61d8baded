package logs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a line costs from the pipe to the file, in wall time and in processor time of the whole process, the writer included: text in
// blocks of 64 KiB, and lines by themselves, with a pause behind each, so that each is read and written by itself.
func BenchmarkLines(b *testing.B) {
	line := bytes.Repeat([]byte("x"), 100)
	line[99] = '\n'
	for _, spools := range []bool{false, true} {
		for _, paced := range []bool{false, true} {
			b.Run(fmt.Sprintf("spools=%v,paced=%v", spools, paced), func(b *testing.B) {
				l := New(Options{App: "shop", Spools: spools, File: FileOptions{Path: filepath.Join(b.TempDir(), "log")}})
				w, err := l.Pipe(1, Stdout)
				if err != nil {
					b.Fatal(err)
				}
				many := bytes.Repeat(line, 655)
				before := processorTime()
				b.ResetTimer()
				for n := b.N; n > 0; {
					part := line
					if !paced {
						part = many[:min(len(many), n*len(line))]
					}
					if _, err := w.Write(part); err != nil {
						b.Fatal(err)
					}
					if n -= len(part) / len(line); paced {
						unix.Nanosleep(&unix.Timespec{Nsec: 50_000}, nil)
					}
				}
				w.Close()
				l.Settle(b.Context(), 1)
				if err := l.Close(); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				b.ReportMetric(float64(processorTime()-before)/float64(b.N), "cpu-ns/line")
				if l.Dropped() > 0 {
					b.Fatal(l.Dropped(), "lines dropped")
				}
				b.SetBytes(int64(len(line)))
			})
		}
	}
}

func processorTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(os.NewSyscallError("getrusage", err))
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

package logs

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// killedReader is the environment variable of a test program that reads pipes until it is killed. It is the
// directory of the files.
const killedReader = "TESTPROGRAM_READER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killedReader); dir != "" {
		readForEver(dir)
	}
	os.Exit(m.Run())
}

// readForEver writes what comes from the pipes 3, 4 ... to files until standard input ends, and then what the pipes have.
func readForEver(dir string) {
	var all []*Log
	for i := range killedApps {
		l := New(Options{App: "shop", File: FileOptions{Path: filepath.Join(dir, strconv.Itoa(i)), MaxSize: 256 << 10, Backups: 100}})
		p := Pipe{Generation: 1, File: os.NewFile(uintptr(3+2*i), "pipe")}
		var err error
		if p.Spool, err = OpenSpool(os.NewFile(uintptr(4+2*i), "spool")); err != nil {
			panic(err)
		}
		if err := l.Attach(p); err != nil {
			panic(err)
		}
		all = append(all, l)
	}
	fmt.Println("up")
	io.Copy(io.Discard, os.Stdin)
	for _, l := range all {
		l.copiers.Wait()
		if err := l.Close(); err != nil {
			panic(err)
		}
	}
	os.Exit(0)
}

const killedApps = 2

// A process that reads pipes is killed, again and again, and another one goes on: no line is missing, there twice, torn or out of order.
func TestNoLineIsLostByAKill(t *testing.T) {
	dir := t.TempDir()
	var ends []*os.File
	stop := make(chan struct{})
	var written [killedApps]int
	var writers sync.WaitGroup
	for i := range killedApps {
		r, w, err := openPipe("test")
		if err != nil {
			t.Fatal(err)
		}
		s, err := NewSpool("test")
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, r, s.file)
		writers.Go(func() {
			defer w.Close()
			for n := 0; ; {
				for range 1 + rand.IntN(5) {
					n++
					line := fmt.Sprintf("%d %s end\n", n, strings.Repeat("x", n%200))
					cut := rand.IntN(2 * len(line)) // some lines come in two pieces
					io.WriteString(w, line[:min(cut, len(line))])
					io.WriteString(w, line[min(cut, len(line)):])
				}
				select {
				case <-stop:
					written[i] = n
					return
				case <-time.After(500 * time.Microsecond):
				}
			}
		})
	}
	kills := 30
	for n := range kills + 1 {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), killedReader+"="+dir)
		cmd.ExtraFiles, cmd.Stderr = ends, os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, 3)); err != nil {
			t.Fatal(err)
		}
		if n < kills {
			<-time.After(20*time.Millisecond + rand.N(20*time.Millisecond))
			cmd.Process.Kill()
			cmd.Wait()
			continue
		}
		close(stop)
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	writers.Wait()
	total, missing, doubled, torn := 0, 0, 0, 0
	for i := range killedApps {
		want := written[i]
		total += want
		seen := map[int]int{}
		for b := 100; b >= 0; b-- {
			path := filepath.Join(dir, strconv.Itoa(i))
			if b > 0 {
				path += "." + strconv.Itoa(b)
			}
			text, err := os.ReadFile(path)
			if err != nil {
				continue
			}
			for line := range strings.Lines(string(text)) {
				_, said, _ := strings.Cut(line, " | ")
				number, rest, _ := strings.Cut(said, " ")
				at, err := strconv.Atoi(number)
				if err != nil || rest != strings.Repeat("x", at%200)+" end\n" {
					torn++
					continue
				}
				seen[at]++
			}
		}
		for at := 1; at <= want; at++ {
			switch n := seen[at]; {
			case n == 0:
				missing++
			case n > 1:
				doubled += n - 1
			}
		}
	}
	t.Logf("%d kills, %d lines: %d missing, %d doubled, %d torn", kills, total, missing, doubled, torn)
	if missing+doubled+torn > 0 {
		t.Fail()
	}
}

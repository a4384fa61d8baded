// Command screenshot makes the pictures of the page in the README: Chromium looks at a daemon with three
// apps of gunicorn under load, while one of them is reloaded. See scripts/screenshots.
package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"tideover/scripts/browser"
	"tideover/scripts/loadgen"
	"tideover/scripts/testenv"
)

const (
	width, height = 1240, 1000 // of the browser, in CSS pixels
	scale         = 1.5
	// imports is how long the import of a release takes, in seconds.
	imports = 2.5
	// curve is how long the load lasts before the pictures.
	curve = 96 * time.Second
)

// site is an app of the configuration, with its load.
type site struct {
	name    string
	workers int
	rate    float64 // requests a second
	mix     []string
	app     *testenv.App
	client  *loadgen.Client
}

// scene is the daemon with its apps, and the browser.
type scene struct {
	env     *testenv.Env
	daemon  *testenv.Tideover
	sites   []*site
	browser *browser.Browser
	folder  string // of the pictures
}

func main() {
	folder := flag.String("o", "scripts", "the folder of the pictures")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if err := run(ctx, *folder); err != nil {
		fmt.Fprintln(os.Stderr, "screenshots:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, folder string) error {
	root, err := testenv.Repository()
	if err != nil {
		return err
	}
	if err := testenv.Build(ctx, root); err != nil {
		return err
	}
	env, err := testenv.New("page")
	if err != nil {
		return err
	}
	defer env.Close(false)
	s := &scene{env: env, folder: folder, sites: []*site{
		{name: "shop", workers: 4, rate: 24, mix: []string{"s=0.02", "s=0.05", "s=0.03", "s=0.12", "s=0.04"}},
		{name: "api", workers: 3, rate: 34, mix: []string{"s=0.004", "s=0.01", "s=0.006"}},
		{name: "accounts", workers: 2, rate: 7, mix: []string{"s=0.03", "s=0.08"}},
	}}
	address, err := s.start()
	if err != nil {
		return err
	}
	s.browser, err = browser.Start(ctx, browser.Options{Dir: env.Path("chromium"), Width: width, Height: height})
	if err != nil {
		return err
	}
	defer s.browser.Close()
	return s.take(ctx, "http://"+address+"/")
}

// start starts the daemon and returns the address of its page.
func (s *scene) start() (address string, err error) {
	first, err := testenv.Ports(len(s.sites) + 1)
	if err != nil {
		return "", err
	}
	address = fmt.Sprintf("127.0.0.1:%d", first)
	var config strings.Builder
	fmt.Fprintf(&config, "[daemon]\nadmin = %q\n", address)
	for i, site := range s.sites {
		if site.app, err = s.env.NewApp(site.name, testenv.Release{Number: 41, Import: imports}); err != nil {
			return "", err
		}
		listen := fmt.Sprintf("127.0.0.1:%d", first+1+i)
		site.client = &loadgen.Client{Address: listen, Prefix: site.name}
		command := strings.Join(testenv.Gunicorn{Workers: site.workers}.Argv(s.env), " ")
		fmt.Fprintf(&config, "[app.%s]\ncommand = %q\ndirectory = %q\nlisten = %q\nrevision = \"sed -n s/release=/v1./p release\"\n", site.name, command, site.app.Dir, listen)
	}
	file, err := s.env.Write("tideover.toml", config.String())
	if err != nil {
		return "", err
	}
	s.daemon, err = s.env.Tideover(s.sites[0].app, testenv.RunOptions{Flags: []string{"-c", file}})
	return address, err
}

// send sends the requests of a site, more and fewer of them as time goes on, until ctx ends.
func (s *site) send(ctx context.Context) {
	load := loadgen.Start(loadgen.Plan{Client: s.client, Rate: 1, Mix: []loadgen.Kind{{Query: s.mix[0]}}})
	defer load.Stop()
	const step = 50 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	due := 0.0
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		x := float64(n) * step.Seconds()
		due += s.rate * step.Seconds() * (1 + 0.3*math.Sin(x/9+s.rate) + 0.15*math.Sin(x/2.3) + 0.1*math.Sin(x*1.9))
		for ; due >= 1; due-- {
			load.Send(loadgen.Kind{Query: s.mix[n%len(s.mix)], Keep: true})
		}
	}
}

// take lets happen what happens to apps, and takes the pictures during the last reload.
func (s *scene) take(ctx context.Context, url string) error {
	ctx, cancel := context.WithCancel(ctx)
	var senders sync.WaitGroup
	defer func() {
		cancel()
		senders.Wait()
	}()
	steps := []func() error{
		func() error { return s.browser.Size(ctx, width, height, scale) },
		func() error { return s.look(ctx, "light", url) },
		func() error {
			for _, site := range s.sites {
				if err := s.verb(ctx, "wait", site.name, "--until", "ready"); err != nil {
					return err
				}
				senders.Go(func() { site.send(ctx) })
			}
			return nil
		},
		pause(ctx, curve/4),
		func() error { return s.deploy(ctx, s.sites[0], "") },
		pause(ctx, curve/4),
		func() error { return s.verb(ctx, "hold", "shop", "--", "sleep", "2") },
		pause(ctx, curve/8),
		func() error { return s.deploy(ctx, s.sites[1], "") },
		pause(ctx, curve/8),
		func() error { return s.deploy(ctx, s.sites[2], "raise") },
		pause(ctx, curve/4),
		func() error { return s.pictures(ctx, url) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) func() error {
	return func() error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// verb runs a verb of the command line, which must succeed.
func (s *scene) verb(ctx context.Context, args ...string) error {
	o, err := s.daemon.Call(ctx, args...)
	if err == nil && o.Exit != 0 {
		err = fmt.Errorf("%s: %v\n%s", strings.Join(args, " "), o, s.daemon.Tail(20))
	}
	return err
}

// deploy reloads an app with its next release. One with a fault is not taken.
func (s *scene) deploy(ctx context.Context, on *site, fault string) error {
	if fault != "" {
		if err := on.app.DeployBroken(fault); err != nil {
			return err
		}
		_, err := s.daemon.Call(ctx, "reload", on.name)
		return err
	}
	if _, err := on.app.DeployNext(); err != nil {
		return err
	}
	return s.verb(ctx, "reload", on.name)
}

// look opens the page, with the name of no machine.
func (s *scene) look(ctx context.Context, scheme, url string) error {
	if err := s.browser.Scheme(ctx, scheme); err != nil {
		return err
	}
	if err := s.browser.Open(ctx, url); err != nil {
		return err
	}
	if err := s.browser.WaitFor(ctx, "document.querySelector('#link').dataset.is == 'on' && apps.size > 0"); err != nil {
		return err
	}
	return s.browser.Eval(ctx, "host = 'web-1'; draw()", nil)
}

// pictures takes the picture of all apps while shop starts its new generation, and that of shop while the
// old one finishes its requests.
func (s *scene) pictures(ctx context.Context, url string) error {
	shop := s.sites[0]
	long := make(chan loadgen.Answer, 2)
	reloaded := make(chan error, 1)
	if err := s.browser.Eval(ctx, "loadSparks()", nil); err != nil {
		return err
	}
	go func() { reloaded <- s.deploy(ctx, shop, "") }()
	if err := s.browser.WaitFor(ctx, "(o => o.running && o.phase === 'ready' && now() - o.since > 1500)(apps.get('shop').operation)"); err != nil {
		return err
	}
	for range cap(long) {
		go func() { long <- shop.client.Do(ctx, loadgen.Kind{Query: "s=10"}) }()
	}
	if err := s.shoot(ctx, "page-overview.png", "#entries tbody tr:nth-child(5)", 0); err != nil {
		return err
	}
	if err := s.browser.Scheme(ctx, "dark"); err != nil {
		return err
	}
	if err := s.browser.Eval(ctx, "location.hash = '#/app/shop'", nil); err != nil {
		return err
	}
	if err := s.browser.WaitFor(ctx, "apps.get('shop').procs && series && series.rps.length > 60 && (o => o.running && o.phase === 'drain' && now() - o.since > 1200)(apps.get('shop').operation)"); err != nil {
		return err
	}
	if err := s.shoot(ctx, "page-app.png", ".pair", 26); err != nil {
		return err
	}
	for range cap(long) {
		if a := <-long; a.Loss != "" {
			return fmt.Errorf("a request was lost: %v", a)
		}
	}
	return <-reloaded
}

// shoot writes a picture of the page, down to an element and a margin below it.
func (s *scene) shoot(ctx context.Context, name, last string, margin float64) error {
	var bottom float64
	if err := s.browser.Eval(ctx, fmt.Sprintf("document.querySelector(%q).getBoundingClientRect().bottom", last), &bottom); err != nil {
		return err
	}
	if err := s.browser.Size(ctx, width, int(bottom+margin), scale); err != nil {
		return err
	}
	image, err := s.browser.Screenshot(ctx, "png", 0)
	if err != nil {
		return err
	}
	if image, err = reduce(image); err != nil {
		return err
	}
	path := filepath.Join(s.folder, name)
	fmt.Printf("%s: %d KB\n", path, len(image)>>10)
	return os.WriteFile(path, image, 0o644)
}

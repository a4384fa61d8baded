package generation

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"tideover/proxy/awake"
	"tideover/supervisor/api"
	"tideover/supervisor/config"
	"tideover/supervisor/lazyregexp"
	"tideover/supervisor/logs"
	"tideover/supervisor/process"
	"tideover/supervisor/safepath"
)

// revisionTimeout bounds the command of the key revision: the start waits for it.
const revisionTimeout = 10 * time.Second

// errRevisionTimeout is the cause of the end of a command that takes longer.
var errRevisionTimeout = fmt.Errorf("it took longer than %s", api.FormatDuration(revisionTimeout))

// learnRevision returns the word for what is deployed in the directory of p; empty: none is known. An
// error is a reason for a warning: no start fails because of it.
func (l *Launcher) learnRevision(ctx context.Context, log *logs.Log, p LaunchSpec) (revision string, err error) {
	files := revisionFiles{open: safepath.Opener{User: p.User}, dir: p.Dir}
	key := p.App.Revision
	switch {
	case p.App.RevisionIs(config.RevisionAuto):
		return files.automatic(p.Dir != filepath.Clean(p.App.Directory)), nil
	case p.App.RevisionIs(config.RevisionGit):
		revision, err = files.commit(true)
	case p.App.RevisionIs(config.RevisionDir):
		revision = filepath.Base(p.Dir)
	default:
		revision, err = l.askRevision(ctx, log, p)
	}
	if err == nil {
		err = api.CheckRevision(revision)
	}
	if err != nil {
		return "", fmt.Errorf("revision = %q: %w", strings.Join(key, " "), err)
	}
	return revision, nil
}

// askRevision runs the command of the key revision, as the app's user. The first line of its standard
// output is the revision; its standard error goes into the app's log.
func (l *Launcher) askRevision(ctx context.Context, log *logs.Log, p LaunchSpec) (revision string, err error) {
	ctx, cancel := awake.WithTimeoutCause(ctx, revisionTimeout, errRevisionTimeout)
	defer cancel()
	spec, err := p.processSpec(p.App.Revision, fmt.Sprintf("%s.%d.revision", p.App.Name, p.Number))
	if err != nil {
		return "", err
	}
	l.recordHook(spec)
	defer l.removeHook(spec)
	lines := 0
	out, err := process.RunSplit(ctx, spec, func(line string) {
		if lines++; lines == 1 {
			revision = strings.TrimSpace(line)
		}
	}, func(line string) { log.Note(p.Number, "revision: %s", line) })
	switch {
	case err != nil:
		return "", err
	case out.Code != 0 || out.Signal != 0:
		return "", fmt.Errorf("it ended with %s", out)
	case lines == 0:
		return "", errors.New("it printed nothing")
	}
	return revision, nil
}

// revisionFiles finds the revision in files of the app. They are read with the rights of the app's
// user, and no program is executed: the configuration of a git repository can name commands.
type revisionFiles struct {
	open safepath.Opener
	dir  string
}

// automatic is the revision by the best evidence: the file REVISION, which Capistrano writes; the
// commit of a git work tree that dir is; the name of a directory to which a symlink leads; or the
// commit of a work tree above it. Empty: there is none.
func (f revisionFiles) automatic(linked bool) string {
	if file, err := f.open.ReadFile(filepath.Join(f.dir, "REVISION")); err == nil {
		line, _, _ := strings.Cut(string(file.Text), "\n")
		if word := abbreviated(strings.TrimSpace(line)); api.CheckRevision(word) == nil {
			return word
		}
	}
	if commit, err := f.commit(!linked); err == nil {
		return commit
	}
	if name := filepath.Base(f.dir); linked && api.CheckRevision(name) == nil {
		return name
	}
	return ""
}

// errNoRepository says that no directory is a git work tree.
var errNoRepository = errors.New("no git repository is there, or the app's user cannot read it")

// commit is the commit that is checked out in the work tree that dir is or, with above, is in.
func (f revisionFiles) commit(above bool) (string, error) {
	work, repository, err := f.repository(above)
	if err != nil {
		return "", err
	}
	texts, _ := f.read(filepath.Join(repository, "HEAD"), filepath.Join(repository, "commondir"))
	common := repository
	if texts[1] != "" { // of a linked work tree
		common = absolute(texts[1], repository)
	}
	if isCommit(texts[0]) {
		return abbreviated(texts[0]), nil
	}
	ref, isRef := strings.CutPrefix(texts[0], "ref: ")
	if !isRef || !strings.HasPrefix(ref, "refs/") || !filepath.IsLocal(ref) {
		return "", fmt.Errorf("%s/.git names no branch and no commit", work)
	}
	refs, errs := f.read(filepath.Join(repository, ref), filepath.Join(common, ref), filepath.Join(common, "packed-refs"))
	for _, text := range refs[:2] {
		if isCommit(text) {
			return abbreviated(text), nil
		}
	}
	for line := range strings.Lines(refs[2]) {
		if commit, name, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name == ref && isCommit(commit) {
			return abbreviated(commit), nil
		}
	}
	if err := errs[2]; err != nil && !isMissing(err) {
		return "", err
	}
	return "", fmt.Errorf("%s has no commit yet, or keeps it where only git finds it: use a command, such as \"git rev-parse --short HEAD\"", ref)
}

// repository returns the work tree that dir is or, with above, is in, and its repository.
func (f revisionFiles) repository(above bool) (work, repository string, err error) {
	works := []string{f.dir}
	for above && works[len(works)-1] != "/" {
		works = append(works, filepath.Dir(works[len(works)-1]))
	}
	var paths []string
	for _, work := range works {
		paths = append(paths, filepath.Join(work, ".git", "HEAD"), filepath.Join(work, ".git"))
	}
	texts, _ := f.read(paths...)
	for i, work := range works {
		if texts[2*i] != "" {
			return work, filepath.Join(work, ".git"), nil
		}
		if to, isFile := strings.CutPrefix(texts[2*i+1], "gitdir: "); isFile {
			return work, absolute(to, work), nil
		}
	}
	return "", "", errNoRepository
}

// read returns the texts of files, without the space around them; empty: it cannot be read.
func (f revisionFiles) read(paths ...string) (texts []string, errs []error) {
	for _, r := range f.open.ReadFiles(paths) {
		texts, errs = append(texts, strings.TrimSpace(string(r.Text))), append(errs, r.Err)
	}
	return texts, errs
}

func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// absolute is a path of a file in dir.
func absolute(path, dir string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

var commitPattern = lazyregexp.New(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

func isCommit(text string) bool { return commitPattern.MatchString(text) }

// abbreviated cuts the name of a commit to 12 digits; other words stay as they are.
func abbreviated(word string) string {
	if isCommit(word) {
		return word[:12]
	}
	return word
}

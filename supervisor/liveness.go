package supervisor

import (
	"time"

	"tideover/supervisor/api"
	"tideover/supervisor/generation"
)

// watchCurrent begins to watch the generation that serves, with the present settings.
func (a *App) watchCurrent() {
	a.endWatches()
	if a.current == nil {
		return
	}
	a.liveness, a.memory = a.current.WatchLiveness(a.settings.Live), a.current.WatchMemory(a.settings.Memory)
}

// endWatches must be called before the generation that serves is stopped.
func (a *App) endWatches() {
	a.liveness.Stop()
	a.memory.Stop()
	a.liveness, a.memory = nil, nil
}

// onDead is called when the generation that serves has died although its main process lives. It is
// treated as crashed: requests are held, and the next one is started at once.
func (a *App) onDead(death *generation.Death) {
	g := a.detachCurrent()
	timeouts := g.StopTimeouts()
	if !death.MayFinish {
		timeouts.Drain = 0 // SIGKILL at once: no request in it can get an answer
	}
	a.stopGeneration(g, generation.StopCrashed, timeouts)
	a.logger.Error("generation dead", "app", a.name, "generation", g.Number, "pid", g.Process.Pid(), "cause", death.Cause,
		"uptime_s", time.Since(g.Ready).Round(time.Millisecond).Seconds(), "hint", "requests are held; its processes are killed and the next generation is started")
	a.onCrash(g, generation.OnDeath(g.App), "it answered nothing: "+death.Cause)
}

// onCrash decides what follows a generation that served and has ended by itself. It must have been
// detached, and must be being stopped.
func (a *App) onCrash(g *generation.Generation, action generation.ExitAction, why string) {
	a.restart.crashes++
	a.restart.crashed = true
	a.recordCrash(g, why)
	a.lastCrash = &api.Crash{Generation: g.Number, Cause: why, At: time.Now()}
	if action == generation.ExitFail && a.starting == nil {
		a.setFinished(g.Number, why+`; restart = "never"`, true)
		a.hooks.OnFailure(a.settings, generation.Failure{Number: g.Number, Revision: g.Revision, Reason: generation.ReasonCrash, Text: why})
		return
	}
	a.log.Note(g.Number, "%s", why)
	if a.starting == nil { // else the next generation is on its way already
		a.scheduleRetry(a.restart.exited(time.Now()), why)
	}
}

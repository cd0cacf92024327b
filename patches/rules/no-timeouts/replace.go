// site: start-timer
Never($receiver.StartTimeout)

// site: start-wait
defer $receiver.logWhileWaiting("become healthy")()

// site: stop-timer
Never($receiver.StopTimeout)

// site: stop-wait
defer $receiver.logWhileWaiting("exit")()

// site: teardown-wait
<-$awaited // However long it takes: the timer below starts when this is over.

// site: await-all
process.AwaitAll()

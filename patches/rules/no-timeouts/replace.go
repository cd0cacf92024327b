// site: start-wait
defer $receiver.logWhileWaiting("become healthy")()

// site: stop-wait
defer $receiver.logWhileWaiting("exit")()

// site: await-all
process.AwaitAll()

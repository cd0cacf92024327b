// site: cancel
$receiver.Cmd.Cancel = $receiver.terminate

// site: teardown-cancel
process.CancelRun()

// site: run-cancel
process.CancelRunWith($cancel)

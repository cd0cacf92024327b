; One SIGTERM to the process group. P1 signals in Stop, P2 in the Unix form of stopProcess.
((call_expression) @replace.terminate
 (#set! like "*.Cmd.Process.Signal(syscall.SIGTERM)")
 (#set! site "terminate") (#set! file "process.go process_unix.go") (#set! in "State.Stop stopProcess")
 (#set! looked-for "`PS.Cmd.Process.Signal(syscall.SIGTERM)`") (#set! near "ignal("))

; After the patch nothing may signal the child alone.
((selector_expression) @found
 (#set! like "*.Process.Signal")
 (#set! forbid "signal to the child alone") (#set! file "process.go") (#set! in "State.Start State.Stop"))

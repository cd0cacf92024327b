; The end of the context sends the same SIGTERM, in place of os/exec's SIGKILL.
((assignment_statement) @after.cancel
 (#set! like "*.Cmd = exec.CommandContext(*")
 (#set! site "cancel") (#set! file "process.go") (#set! in "State.Start")
 (#set! looked-for "`PS.Cmd = exec.CommandContext(…)`") (#set! near "exec.Command"))

; Teardown takes the lock that Run holds while a controller becomes healthy. With no timer to end
; that wait, Ctrl-C would wait for ever: the run is cancelled before the lock is asked for.
((expression_statement) @before.teardown-cancel
 (#set! like "*.Lock()")
 (#set! site "teardown-cancel") (#set! file "system.go") (#set! in "System.Teardown") (#set! times "0-1")
 (#set! imports "github.com/openshift/installer/pkg/clusterapi/internal/process")
 (#set! looked-for "`C.Lock()` at most once") (#set! near "Lock("))

((assignment_statement right: (_) @cancel) @after.run-cancel
 (#set! like "*.cancel = *")
 (#set! site "run-cancel") (#set! file "system.go") (#set! in "System.Run") (#set! with "teardown-cancel")
 (#set! imports "github.com/openshift/installer/pkg/clusterapi/internal/process")
 (#set! looked-for "`C.cancel = CANCEL`") (#set! near "cancel"))

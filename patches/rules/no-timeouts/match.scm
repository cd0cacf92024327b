; No timer ends a process, or the wait for one.

; Start: the timer becomes one that never fires, so its case is dead.
((short_var_declaration left: (_) @never right: (_) @replace.start-timer) @after.start-wait
 (#set! like "* := time.After(*.StartTimeout)")
 (#set! site "start-wait") (#set! file "process.go") (#set! in "State.Start")
 (#set! looked-for "`T := time.After(PS.StartTimeout)`, used only in `case <-T:`") (#set! near "imeout"))

; Stop: the same.
((short_var_declaration left: (_) @never right: (_) @replace.stop-timer) @after.stop-wait
 (#set! like "* := time.After(*.StopTimeout)")
 (#set! site "stop-wait") (#set! file "process.go") (#set! in "State.Stop")
 (#set! looked-for "`T := time.After(PS.StopTimeout)`, used only in `case <-T:`") (#set! near "imeout"))

; Teardown gives up after a minute: by then all has been waited for.
((communication_case) @outwait.teardown-wait
 (#set! like "case <-time.After(*")
 (#set! site "teardown-wait") (#set! file "system.go") (#set! in "System.Teardown")
 (#set! looked-for "`select { case <-CH: … case <-time.After(…): … }` and `close(CH)`") (#set! near "time."))

; A controller whose start failed is in nobody's list: Teardown waits for those too.
((expression_statement) @before.await-all
 (#set! like "*.wg.Wait()")
 (#set! site "await-all") (#set! file "system.go") (#set! in "System.Teardown")
 (#set! imports "github.com/openshift/installer/pkg/clusterapi/internal/process")
 (#set! looked-for "`C.wg.Wait()`") (#set! near "Wait("))

; After the patch nothing in these functions may end a process, or the wait for one, by itself.
((selector_expression) @found
 (#set! like "time.After | time.AfterFunc | time.NewTimer | time.NewTicker | time.Tick | context.WithTimeout* | context.WithDeadline* | *.SIGKILL | *.WaitDelay | *.Process.Kill")
 (#set! forbid "timer and no SIGKILL") (#set! file "process.go system.go") (#set! in "State.Start State.Stop System.Teardown"))

((call_expression) @found
 (#set! like "killProcess(*")
 (#set! forbid "SIGKILL") (#set! file "process.go") (#set! in "State.Start State.Stop"))

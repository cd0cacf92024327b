; Every exit is logged once, where Wait returns.
((short_var_declaration) @after.exit
 (#set! like "* := *.Cmd.Wait()")
 (#set! site "exit") (#set! file "process.go") (#set! in "State.Start")
 (#set! imports "github.com/sirupsen/logrus")
 (#set! looked-for "`ERR := PS.Cmd.Wait()`") (#set! near "Wait("))

; Stop logged a failed exit if it came later: it would be said twice, and as "context canceled".
((short_var_declaration left: (expression_list (_) . (_) @never) right: (_) @replace.logged) @declaration
 (#set! like "*, * := *.Exited()")
 (#set! site "stop-log") (#set! file "process.go") (#set! in "State.Stop")
 (#set! looked-for "`if DONE, ERR := PS.Exited(); DONE {`, with ERR used only in `if ERR != nil {…}` that does nothing but log") (#set! near "Exited("))

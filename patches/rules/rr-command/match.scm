; The chosen controllers are started by the recorder.
((if_statement) @before.supervise
 (#set! like "if * := *.Cmd.Start(); *")
 (#set! site "supervise") (#set! file "process.go") (#set! in "State.Start")
 (#set! looked-for "`if ERR := PS.Cmd.Start(); ERR != nil {`") (#set! near "Start("))

((short_var_declaration left: (_) @pr) @after.record
 (#set! like "* := &process.State{*")
 (#set! site "record") (#set! file "system.go") (#set! in "System.runController")
 (#set! imports "fmt github.com/openshift/installer/pkg/clusterapi/internal/process")
 (#set! looked-for "a parameter `CT *controller` and `PR := &process.State{…}`") (#set! near "process.State"))

// site: supervise
$receiver.supervise()

// site: record
// The recorder takes the controller's place on the command line, if the controller was chosen.
if err := $pr.Record($controller.Name, $controller.Provider != nil); err != nil {
	return fmt.Errorf("failed to record controller %q: %w", $controller.Name, err)
}

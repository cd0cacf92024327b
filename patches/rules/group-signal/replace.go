// site: terminate
$receiver.terminate()

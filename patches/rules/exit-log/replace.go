// site: exit
logrus.StandardLogger().Log($receiver.exitReport())

// site: blank
_

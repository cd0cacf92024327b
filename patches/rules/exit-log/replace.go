// site: exit
logrus.StandardLogger().Log($receiver.exitReport())

// site: logged
$receiver.exitedAsLogged()

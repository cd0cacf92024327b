//! GoLand's shared run configurations: one XML file each in `.run`, written completely by rr-patch.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{LaunchMode, refusal};

/// GoLand accepts any file name with this ending.
pub fn path(folder: &Path, controller: &str) -> PathBuf {
    folder.join(".run").join(format!("rr-patch {controller}.run.xml"))
}

/// The file of a configuration that connects to a Delve. It does not stop Delve when it disconnects.
pub fn file(path: &Path, before: Option<&[u8]>, name: &str, way: &LaunchMode) -> Result<Vec<u8>> {
    let LaunchMode::Attach { host, port } = way else {
        return Err(refusal(path, "", "a Delve to connect to", "a trace: GoLand opens one by Run | Debug Saved Trace"));
    };
    let name = escaped(name);
    // A file with this name but another type was made by the user.
    let ours = |text: &str| text.contains("type=\"GoRemoteDebugConfigurationType\"") && text.contains(&name);
    if let Some(text) = before.map(String::from_utf8_lossy)
        && !ours(&text)
    {
        return Err(refusal(path, "", &format!("a Go Remote configuration named `{name}`"), "another file"));
    }
    // GoLand uses loopback if the attribute is missing.
    let host = match host.as_str() {
        "127.0.0.1" | "localhost" => String::new(),
        other => format!(" host=\"{}\"", escaped(other)),
    };
    Ok(format!(
        "<component name=\"ProjectRunConfigurationManager\">
  <configuration default=\"false\" name=\"{name}\" type=\"GoRemoteDebugConfigurationType\" factoryName=\"Go Remote\"{host} port=\"{port}\">
    <option name=\"disconnectOption\" value=\"LEAVE\" />
    <disconnect value=\"LEAVE\" />
    <method v=\"2\" />
  </configuration>
</component>
"
    )
    .into_bytes())
}

fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_names_the_port_and_a_host_that_is_not_this_one() {
        let written = |host: &str| {
            let way = LaunchMode::Attach { host: host.into(), port: 2345 };
            String::from_utf8(file(Path::new("x"), None, "a & \"b\"", &way).unwrap()).unwrap()
        };
        assert!(written("127.0.0.1").contains("name=\"a &amp; &quot;b&quot;\" type=\"GoRemoteDebugConfigurationType\" factoryName=\"Go Remote\" port=\"2345\">"));
        assert!(written("10.0.0.1").contains("factoryName=\"Go Remote\" host=\"10.0.0.1\" port=\"2345\">"));
    }

    #[test]
    fn a_file_of_another_configuration_is_refused() {
        let way = LaunchMode::Attach { host: "127.0.0.1".into(), port: 1 };
        let other = b"<component><configuration name=\"x\" type=\"GoTestRunConfiguration\"/></component>";
        assert!(file(Path::new("x"), Some(other), "x", &way).is_err());
        let own = file(Path::new("x"), None, "x", &way).unwrap();
        assert_eq!(file(Path::new("x"), Some(&own), "x", &way).unwrap(), own);
    }
}

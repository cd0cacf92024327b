//! The address at which a debugger listens. Anyone who can connect to it can run programs as us, so the user must
//! request any address other than loopback explicitly.

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};

use anyhow::Result;

use crate::error::Error;

/// An address to listen at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(SocketAddr);

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Listen {
    /// The loopback address with this port.
    pub fn loopback(port: u16) -> Self {
        Self((IpAddr::from([127, 0, 0, 1]), port).into())
    }

    /// Parses `HOST:PORT`. Without a host it means all interfaces, as in Go.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || format!("expected HOST:PORT, like 127.0.0.1:2345 or [::1]:2345, and not `{text}`");
        let whole = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
        let mut addresses = whole.to_socket_addrs().map_err(|_| expected())?;
        addresses.next().map(Self).ok_or_else(expected)
    }

    pub fn is_loopback(&self) -> bool {
        self.0.ip().is_loopback()
    }

    pub fn port(&self) -> u16 {
        self.0.port()
    }

    /// Checks whether the address is free.
    ///
    /// # Errors
    /// A port in use, with the process that uses it if visible; an address that this host does not have.
    pub fn check(&self) -> Result<()> {
        let Err(error) = TcpListener::bind(self.0) else { return Ok(()) };
        let said = Error::failed(match error.kind() {
            io::ErrorKind::AddrInUse => format!("port {} is taken", self.port()),
            _ => format!("cannot listen at {self}: {error}"),
        });
        if error.kind() != io::ErrorKind::AddrInUse {
            return Err(said
                .hint("`--port N` listens at another port, `--listen HOST:PORT` at another address")
                .into());
        }
        let said = match holder(self.port()) {
            Some(holder) => said.detail(format!("by: {holder}")),
            None => said.detail("by: a process that we may not inspect"),
        };
        Err(said.hint("`--port 0` chooses a free port, `--port N` another one").into())
    }
}

/// The process that listens at a port, if it is visible to us.
fn holder(port: u16) -> Option<String> {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().skip(1).filter_map(|line| listening(line, port)).collect::<Vec<_>>())
        .collect();
    let processes = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    let processes = processes.filter(|process| {
        let name = process.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    });
    let mut holders = processes.filter(|process| {
        let Ok(files) = fs::read_dir(process.join("fd")) else { return false };
        let mut links = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
        links.any(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str()))
    });
    holders.find_map(|process| {
        let name = fs::read_to_string(process.join("comm")).ok()?;
        Some(format!("{} (pid {})", name.trim_end(), process.file_name()?.to_str()?))
    })
}

/// If this line of `/proc/net/tcp` is a socket that listens (state 0A) at the port: the link target that `/proc/N/fd`
/// has for it.
fn listening(line: &str, port: u16) -> Option<String> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (_, local) = fields.get(1)?.rsplit_once(':')?;
    let ours = u16::from_str_radix(local, 16).ok()? == port && *fields.get(3)? == "0A";
    ours.then(|| fields.get(9).map(|inode| format!("socket:[{inode}]"))).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_takes_what_go_takes_and_knows_loopback() {
        let loopback = |text: &str| Listen::parse(text).map(|listen| (listen.to_string(), listen.is_loopback()));
        assert_eq!(loopback("127.0.0.1:2345").unwrap(), ("127.0.0.1:2345".into(), true));
        assert_eq!(loopback("[::1]:1").unwrap(), ("[::1]:1".into(), true));
        assert_eq!(loopback(":2345").unwrap(), ("0.0.0.0:2345".into(), false));
        assert!(loopback("2345").is_err() && loopback("127.0.0.1").is_err() && loopback("a b:1").is_err());
    }

    #[test]
    fn a_port_that_is_taken_is_said_with_who_has_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = Listen::loopback(listener.local_addr().unwrap().port());
        let error = listen.check().unwrap_err();
        let known = error.downcast_ref::<Error>().unwrap();
        assert_eq!(known.to_string(), format!("port {} is taken", listen.port()));
        assert!(known.details()[0].ends_with(&format!("(pid {})", std::process::id())), "{:?}", known.details());
        drop(listener);
        listen.check().unwrap();
    }
}

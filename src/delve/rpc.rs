//! The part of Delve's JSON-RPC (`service/rpccommon`) that detects when a trace is open: a request without side
//! effects is sent as soon as Delve listens, and Delve responds when the trace is open.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::error::Error;

/// How long one check for a response waits.
const LOOK: Duration = Duration::from_millis(50);

/// A request that was sent.
pub struct Request {
    pub address: String,
    stream: BufReader<TcpStream>,
    line: Vec<u8>,
}

impl Request {
    /// Sends the request to the Delve at an address in the form that Delve printed.
    pub fn ask(address: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect(reachable(address)?.as_slice())?;
        stream.set_read_timeout(Some(LOOK))?;
        let question = json!({ "method": "RPCServer.GetVersion", "params": [{}], "id": 0 });
        stream.write_all(format!("{question}\n").as_bytes())?;
        Ok(Self { address: address.into(), stream: BufReader::new(stream), line: Vec::new() })
    }

    /// The version of the Delve that responded, if the response has arrived. `None` also if the connection broke:
    /// Delve is then about to end and prints the reason.
    ///
    /// # Errors
    /// Another program listens at the address.
    pub fn answer(&mut self) -> Result<Option<String>> {
        // A partial line stays in the buffer.
        let _ = self.stream.read_until(b'\n', &mut self.line);
        if !self.line.ends_with(b"\n") {
            return Ok(None);
        }
        let answer: Value = serde_json::from_slice(&self.line).unwrap_or_default();
        let version = answer["result"]["DelveVersion"].as_str().ok_or_else(|| {
            Error::failed(format!("the program that listens at {} does not behave like Delve", self.address))
                .detail(format!("found: {}", String::from_utf8_lossy(&self.line).trim_end()))
        })?;
        // Delve sends `Version: 1.27.1`, and its build on the next line.
        let version = version.lines().next().unwrap_or_default();
        Ok(Some(version.trim_start_matches("Version: ").to_owned()))
    }
}

/// Replaces the address of all interfaces by that of this host.
pub(super) fn reachable(address: &str) -> io::Result<Vec<std::net::SocketAddr>> {
    let addresses = address.to_socket_addrs()?;
    let here = |mut address: std::net::SocketAddr| {
        if address.ip().is_unspecified() {
            let loopback: std::net::IpAddr = if address.is_ipv4() {
                std::net::Ipv4Addr::LOCALHOST.into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            };
            address.set_ip(loopback);
        }
        address
    };
    Ok(addresses.map(here).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_question_is_answered_when_the_server_answers_and_not_when_it_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut question = Request::ask(&listener.local_addr().unwrap().to_string()).unwrap();
        assert_eq!(question.answer().unwrap(), None, "it only listens");
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"{\"id\":0,\"result\":{\"DelveVersion\"").unwrap();
        assert_eq!(question.answer().unwrap(), None, "half a line");
        server.write_all(b":\"Version: 1.27.1\\nBuild: x\"}}\n").unwrap();
        assert_eq!((0..20).find_map(|_| question.answer().unwrap()).as_deref(), Some("1.27.1"));
    }

    #[test]
    fn a_question_to_a_server_that_goes_away_is_not_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut question = Request::ask(&listener.local_addr().unwrap().to_string()).unwrap();
        drop(listener);
        assert_eq!(question.answer().unwrap(), None);
    }

    #[test]
    fn another_server_is_not_taken_for_delve() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut question = Request::ask(&listener.local_addr().unwrap().to_string()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"HTTP/1.1 400 Bad Request\r\n").unwrap();
        assert!((0..20).find_map(|_| question.answer().err()).is_some());
    }
}

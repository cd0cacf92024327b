//! Where the demo shows what it does, step by step.

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::document::Format;
use crate::sys::process::Interrupt;
use crate::words::seconds;

/// How often is said that something goes on that prints nothing.
const NOTICE: Duration = Duration::from_secs(5);

/// Where the demo shows what it does.
pub struct Stage {
    out: Box<dyn Write>,
    /// Whether that is stderr.
    json: bool,
    step: usize,
    pub interrupt: Interrupt,
}

impl Stage {
    pub fn new(format: Format) -> Result<Self> {
        let json = format == Format::Json;
        let out: Box<dyn Write> = if json { Box::new(std::io::stderr()) } else { Box::new(std::io::stdout()) };
        Ok(Self { out, json, step: 0, interrupt: Interrupt::hold()? })
    }

    pub fn step(&mut self, what: &str) -> Result<()> {
        self.interrupt.check("between two steps")?;
        self.step += 1;
        writeln!(self.out, "\n[{}/7] {what}", self.step)?;
        Ok(self.out.flush()?)
    }

    pub fn show(&mut self, text: impl AsRef<[u8]>) -> Result<()> {
        for line in String::from_utf8_lossy(text.as_ref()).lines() {
            writeln!(self.out, "    {line}")?;
        }
        Ok(self.out.flush()?)
    }
}

/// Says now and then, for as long as it lives, that the work goes on.
pub struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub fn start(stage: &Stage, what: &'static str) -> Self {
        let (stop, stopped) = channel::<()>();
        let (json, began) = (stage.json, Instant::now());
        let thread = thread::spawn(move || {
            while stopped.recv_timeout(NOTICE) == Err(RecvTimeoutError::Timeout) {
                let line = format!("    {what} for {}\n", seconds(began.elapsed()));
                // That nobody reads it is no failure.
                let _ = if json {
                    std::io::stderr().write_all(line.as_bytes())
                } else {
                    std::io::stdout().write_all(line.as_bytes())
                };
            }
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Shows of a build only the programs that do its work.
pub struct Steps<'a> {
    pub stage: &'a mut Stage,
    pub line: Vec<u8>,
}

impl Write for Steps<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        for &byte in bytes {
            self.line.push(byte);
            if byte == b'\n' {
                if ["make", "zip", "go generate", "go build"]
                    .iter()
                    .any(|work| self.line.starts_with(format!("+ {work} ").as_bytes()))
                {
                    self.stage.out.write_all(b"    ")?;
                    self.stage.out.write_all(&self.line)?;
                }
                self.line.clear();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stage.out.flush()
    }
}

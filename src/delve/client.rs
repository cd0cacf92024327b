//! Questions to a Delve that has a trace open: its JSON-RPC (`service/rpc2`), one answer after the other.
//!
//! A Delve that goes back does so by rr: `rewind` runs backwards to a breakpoint or a watchpoint, and `Restart` with a
//! position begins a new replay that stands at that event.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::rpc::reachable;
use crate::error::Error;

/// Somebody who waits for an answer looks this often whether they are to give up.
const LOOK: Duration = Duration::from_millis(100);

/// How much of a value is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub depth: u32,
    pub text: u32,
    pub elements: u32,
}

impl Load {
    /// Addresses and plain values.
    pub const LITTLE: Self = Self { depth: 1, text: 64, elements: 8 };
    /// What is shown to people.
    pub const SHOWN: Self = Self { depth: 1, text: 200, elements: 16 };

    fn config(self) -> Value {
        json!({
            "FollowPointers": true, "MaxVariableRecurse": self.depth, "MaxStringLen": self.text,
            "MaxArrayValues": self.elements, "MaxStructFields": -1,
        })
    }
}

/// A value of the program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variable {
    pub name: String,
    pub kind: u64,
    pub of: String,
    pub address: u64,
    pub value: String,
    pub length: i64,
    pub unreadable: String,
    /// Whether it is what a function returns.
    pub result: bool,
    pub children: Vec<Variable>,
}

/// Delve's `VariableReturnArgument`.
const RESULT: u64 = 16;

/// What is shown for a value that is not there.
pub const UNREADABLE: &str = "(unreadable)";

/// Go's `reflect.Kind`, as Delve numbers it.
pub mod kind {
    pub const CHAN: u64 = 18;
    pub const INTERFACE: u64 = 20;
    pub const MAP: u64 = 21;
    pub const POINTER: u64 = 22;
    pub const SLICE: u64 = 23;
    pub const STRING: u64 = 24;
    pub const STRUCT: u64 = 25;
}

impl Variable {
    fn of(value: &Value) -> Self {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        Self {
            name: text("name"),
            kind: value["kind"].as_u64().unwrap_or_default(),
            of: text("type"),
            address: value["addr"].as_u64().unwrap_or_default(),
            value: text("value"),
            length: value["len"].as_i64().unwrap_or_default(),
            unreadable: text("unreadable"),
            result: value["flags"].as_u64().unwrap_or_default() & RESULT != 0,
            children: list(&value["children"]).iter().map(Self::of).collect(),
        }
    }

    /// Where a pointer or a channel leads.
    pub fn target(&self) -> u64 {
        self.children.first().map_or(0, |child| child.address)
    }

    /// The bytes of a plain value, where it has at most 8.
    pub fn size(&self) -> Option<u64> {
        match self.kind {
            1 | 3 | 8 => Some(1),
            4 | 9 => Some(2),
            5 | 10 | 13 => Some(4),
            2 | 6 | 7 | 11 | 12 | 14 | kind::POINTER | kind::CHAN | kind::MAP | 26 | 19 => Some(8),
            _ => None,
        }
    }

    /// Where the memory of the value itself ends.
    fn end(&self) -> u64 {
        let own = match self.kind {
            kind::STRING | kind::INTERFACE => 16,
            kind::SLICE => 24,
            _ => self.size().unwrap_or_default(),
        };
        let parts = if [kind::STRUCT, 17].contains(&self.kind) { self.children.as_slice() } else { &[] };
        parts.iter().map(Self::end).max().unwrap_or_default().max(self.address + own)
    }

    /// Whether an address is in the memory of the value itself.
    pub fn covers(&self, address: u64) -> bool {
        (self.address..self.end()).contains(&address)
    }

    /// As Go would write it, in a line.
    pub fn shown(&self) -> String {
        if !self.unreadable.is_empty() {
            return UNREADABLE.into();
        }
        match self.kind {
            kind::STRING => format!("{:?}", self.value),
            kind::POINTER => match self.children.first() {
                Some(child) if child.address != 0 && child.of != "void" => format!("&{}", child.shown()),
                _ => "nil".into(),
            },
            kind::INTERFACE => match self.children.first() {
                Some(child) if child.of != "void" => child.shown(),
                _ => "nil".into(),
            },
            kind::STRUCT => {
                let fields = self.children.iter().map(|field| format!("{}: {}", field.name, field.shown()));
                format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
            }
            kind::MAP => {
                let pairs = self.children.chunks(2).map(|pair| match pair {
                    [key, value] => format!("{}: {}", key.shown(), value.shown()),
                    _ => "…".into(),
                });
                format!("map[{}]", pairs.collect::<Vec<_>>().join(", "))
            }
            kind::SLICE | 17 => {
                let elements: Vec<String> = self.children.iter().map(Self::shown).collect();
                let more =
                    if i64::try_from(elements.len()).is_ok_and(|shown| shown < self.length) { ", …" } else { "" };
                format!("[{}{more}]", elements.join(", "))
            }
            kind::CHAN => format!("chan of {} queued", self.length),
            _ if self.value.is_empty() => format!("({})", self.of),
            _ => self.value.clone(),
        }
    }
}

/// A frame of a stack.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frame {
    pub function: String,
    pub file: String,
    pub line: u64,
    pub arguments: Vec<Variable>,
    pub locals: Vec<Variable>,
    /// The frame's address in its stack, from the stack's beginning: the same for as long as the call lasts.
    pub offset: i64,
}

impl Frame {
    fn of(value: &Value) -> Self {
        let variables = |name: &str| list(&value[name]).iter().map(Variable::of).collect();
        Self {
            function: value["function"]["name"].as_str().unwrap_or_default().to_owned(),
            file: value["file"].as_str().unwrap_or_default().to_owned(),
            line: value["line"].as_u64().unwrap_or_default(),
            arguments: variables("Arguments"),
            locals: variables("Locals"),
            offset: value["FrameOffset"].as_i64().unwrap_or_default(),
        }
    }
}

/// A goroutine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Goroutine {
    pub id: i64,
    /// As the runtime numbers it: 1 runnable, 2 running, 3 in a system call, 4 waiting.
    pub status: u64,
    pub thread: i64,
    /// Where the `go` statement stands.
    pub created: Frame,
    /// The function that it began with.
    pub start: Frame,
}

/// Where the program stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stop {
    pub exited: bool,
    /// The event that is completed.
    pub event: u64,
    pub goroutine: i64,
    pub function: String,
    pub file: String,
    pub line: u64,
    /// The name of the breakpoint that it stands at.
    pub breakpoint: Option<String>,
    /// The number of that breakpoint or watchpoint.
    pub number: Option<i64>,
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A connection to a Delve.
pub struct Client {
    stream: BufReader<TcpStream>,
    number: u64,
    give_up: Option<(Instant, Duration)>,
}

impl Client {
    pub fn connect(address: &str) -> Result<Self> {
        let failed = || format!("cannot reach Delve at {address}");
        let addresses = reachable(address).with_context(failed)?;
        let stream = TcpStream::connect(addresses.as_slice()).with_context(failed)?;
        stream.set_read_timeout(Some(LOOK)).with_context(failed)?;
        Ok(Self { stream: BufReader::new(stream), number: 0, give_up: None })
    }

    /// No answer is waited for once so much time has passed.
    pub fn allow(&mut self, time: Duration) {
        self.give_up = Some((Instant::now() + time, time));
    }

    /// How long is left, if there is a limit.
    pub fn left(&self) -> Duration {
        self.give_up.map_or(Duration::MAX, |(moment, _)| moment.saturating_duration_since(Instant::now()))
    }

    /// How much of the time is left that was allowed, from 1 down to 0.
    pub fn share_left(&self) -> f64 {
        self.give_up.map_or(1.0, |(_, allowed)| self.left().as_secs_f64() / allowed.as_secs_f64().max(1e-3))
    }

    /// Asks one thing.
    ///
    /// # Errors
    /// What Delve says; a connection that is lost; the time that was set.
    pub fn call(&mut self, method: &str, parameters: Value) -> Result<Value> {
        self.number += 1;
        let question = json!({ "method": format!("RPCServer.{method}"), "params": [parameters], "id": self.number });
        let lost = || format!("Delve did not answer `{method}`");
        self.stream.get_mut().write_all(format!("{question}\n").as_bytes()).with_context(lost)?;
        let mut line = Vec::new();
        loop {
            match self.stream.read_until(b'\n', &mut line) {
                Ok(0) => return Err(Error::failed(format!("Delve ended before it had answered `{method}`")).into()),
                Ok(_) if line.ends_with(b"\n") => break,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                }
                Err(error) => return Err(error).with_context(lost),
            }
            if self.left().is_zero() {
                return Err(Error::failed(format!("there was no time left for Delve's answer to `{method}`")).into());
            }
        }
        let mut answer: Value = serde_json::from_slice(&line).with_context(lost)?;
        match answer["error"].take() {
            Value::Null => Ok(answer["result"].take()),
            Value::String(said) => Err(Error::failed(said).detail(format!("asked Delve: {method}")).into()),
            other => Err(Error::failed(other.to_string()).detail(format!("asked Delve: {method}")).into()),
        }
    }

    /// Begins a replay that stands at an event.
    pub fn restart(&mut self, event: u64) -> Result<()> {
        self.call("Restart", json!({ "Position": event.to_string() })).map(|_| ())
    }

    /// Marks where the program stands, so that [`Client::again`] can come back.
    pub fn mark(&mut self) -> Result<i64> {
        self.call("Checkpoint", json!({ "Where": "" }))?["ID"].as_i64().context("Delve made no checkpoint")
    }

    /// Goes back to where a mark was made.
    pub fn again(&mut self, mark: i64) -> Result<()> {
        self.call("Restart", json!({ "Position": format!("c{mark}") })).map(|_| ())
    }

    pub fn unmark(&mut self, mark: i64) {
        // Delve forgets all of them when it ends.
        let _ = self.call("ClearCheckpoint", json!({ "ID": mark }));
    }

    fn stop(state: &Value) -> Stop {
        let (thread, goroutine) = (&state["currentThread"], &state["currentGoroutine"]);
        let event = state["When"].as_str().and_then(|when| when.rsplit(' ').next()?.parse().ok());
        let id = goroutine["id"].as_i64().filter(|id| *id != 0).or_else(|| thread["goroutineID"].as_i64());
        Stop {
            exited: state["exited"].as_bool().unwrap_or_default(),
            event: event.unwrap_or_default(),
            goroutine: id.unwrap_or_default(),
            function: thread["function"]["name"].as_str().unwrap_or_default().to_owned(),
            file: thread["file"].as_str().unwrap_or_default().to_owned(),
            line: thread["line"].as_u64().unwrap_or_default(),
            breakpoint: thread["breakPoint"]["name"].as_str().map(str::to_owned),
            number: thread["breakPoint"]["id"].as_i64(),
        }
    }

    pub fn state(&mut self) -> Result<Stop> {
        Ok(Self::stop(&self.call("State", json!({ "NonBlocking": false }))?["State"]))
    }

    fn command(&mut self, name: &str) -> Result<Stop> {
        let answer = self.call("Command", json!({ "name": name }))?;
        let stop = Self::stop(&answer["State"]);
        Ok(stop)
    }

    pub fn forward(&mut self) -> Result<Stop> {
        self.command("continue")
    }

    pub fn back(&mut self) -> Result<Stop> {
        self.command("rewind")
    }

    /// One instruction back.
    pub fn instruction_back(&mut self) -> Result<Stop> {
        self.command("reverseStepInstruction")
    }

    /// Makes a breakpoint at the entry of a function; nothing where the program has no such function.
    pub fn break_at(&mut self, function: &str, condition: Option<&str>) -> Option<i64> {
        self.number += 1;
        let name = format!("b{}", self.number);
        let breakpoint = json!({ "functionName": function, "name": name, "Cond": condition.unwrap_or_default() });
        let made = self.call("CreateBreakpoint", json!({ "Breakpoint": breakpoint })).ok()?;
        made["Breakpoint"]["id"].as_i64()
    }

    /// Makes breakpoints where a function returns; their names begin with `r`.
    pub fn break_at_returns(&mut self, function: &str) -> Vec<i64> {
        let Ok(answer) = self.call("FunctionReturnLocations", json!({ "FnName": function })) else { return Vec::new() };
        let addresses: Vec<u64> = list(&answer["Addrs"]).iter().filter_map(Value::as_u64).collect();
        let mut made = Vec::new();
        for address in addresses {
            self.number += 1;
            let breakpoint = json!({ "addr": address, "name": format!("r{}", self.number) });
            let answer = self.call("CreateBreakpoint", json!({ "Breakpoint": breakpoint }));
            made.extend(answer.ok().and_then(|answer| answer["Breakpoint"]["id"].as_i64()));
        }
        made
    }

    /// Makes a breakpoint in a line; nothing where the program has no code there.
    pub fn break_in(&mut self, file: &str, line: u64) -> Option<i64> {
        self.number += 1;
        let breakpoint = json!({ "file": file, "line": line, "name": format!("b{}", self.number) });
        let made = self.call("CreateBreakpoint", json!({ "Breakpoint": breakpoint })).ok()?;
        made["Breakpoint"]["id"].as_i64()
    }

    /// Makes a watchpoint on what is written to an address, of 1, 2, 4 or 8 bytes.
    pub fn watch(&mut self, address: u64, size: u64) -> Result<i64> {
        let expression = format!("*(*uint{})({address:#x})", size * 8);
        // Of the goroutine that is looked at, Delve would watch only for as long as the frame lasts, where the address is
        // in its stack. Goroutine 2 is one of the runtime's own, in every program.
        let scope = json!({ "GoroutineID": 2, "Frame": 0 });
        let made = self.call("CreateWatchpoint", json!({ "Scope": scope, "Expr": expression, "Type": 2 }))?;
        made["id"].as_i64().or_else(|| made["Breakpoint"]["id"].as_i64()).context("Delve made no watchpoint")
    }

    pub fn clear(&mut self, breakpoint: i64) {
        // One that went out of scope is gone already.
        let _ = self.call("ClearBreakpoint", json!({ "Id": breakpoint }));
    }

    pub fn goroutines(&mut self) -> Result<Vec<Goroutine>> {
        let answer = self.call("ListGoroutines", json!({ "Start": 0, "Count": 0 }))?;
        let goroutine = |value: &Value| Goroutine {
            id: value["id"].as_i64().unwrap_or_default(),
            status: value["status"].as_u64().unwrap_or_default(),
            thread: value["threadID"].as_i64().unwrap_or_default(),
            created: Frame::of(&value["goStatementLoc"]),
            start: Frame::of(&value["startLoc"]),
        };
        Ok(list(&answer["Goroutines"]).iter().map(goroutine).collect())
    }

    /// The frames of a goroutine, the innermost first; of the current thread for 0. Without debug information there are
    /// no variables in them, whatever is to be loaded.
    pub fn stack(&mut self, goroutine: i64, load: Option<Load>) -> Result<Vec<Frame>> {
        let id = if goroutine == 0 { -1 } else { goroutine };
        let plain = json!({ "Id": id, "Depth": 60, "Full": false });
        let mut question = plain.clone();
        if let Some(load) = load {
            (question["Full"], question["Cfg"]) = (true.into(), load.config());
        }
        let answer = match self.call("Stacktrace", question) {
            Err(error) if load.is_some() && error.to_string().contains("no debug information") => {
                self.call("Stacktrace", plain)?
            }
            answer => answer?,
        };
        Ok(list(&answer["Locations"]).iter().map(Frame::of).collect())
    }

    pub fn eval(&mut self, goroutine: i64, frame: usize, expression: &str, load: Load) -> Result<Variable> {
        let scope = json!({ "GoroutineID": goroutine, "Frame": frame });
        let question = json!({ "Scope": scope, "Expr": expression, "Cfg": load.config() });
        Ok(Variable::of(&self.call("Eval", question)?["Variable"]))
    }

    fn stack_pointer(&mut self, goroutine: i64, frame: usize) -> Option<u64> {
        let scope = json!({ "GoroutineID": goroutine, "Frame": frame });
        let answer = self.call("ListRegisters", json!({ "Scope": scope, "IncludeFp": false })).ok()?;
        let register = list(&answer["Regs"]).iter().find(|register| {
            let name = register["Name"].as_str().unwrap_or_default();
            ["rsp", "sp"].iter().any(|known| name.eq_ignore_ascii_case(known))
        })?;
        u64::from_str_radix(register["Value"].as_str()?.strip_prefix("0x")?, 16).ok()
    }

    /// The used part of a goroutine's stack: offsets of frames are counted from its end. Nothing where Delve does not
    /// know the registers of its frames.
    pub fn stack_range(&mut self, goroutine: i64, stack: &[Frame]) -> Option<Range<u64>> {
        let low = self.stack_pointer(goroutine, 0)?;
        // Where the second frame's stack ends, the first frame begins.
        let high = self.stack_pointer(goroutine, 1)?.checked_add_signed(-stack.first()?.offset)?;
        Some(low..high)
    }

    /// The number in 1, 2, 4 or 8 bytes of memory.
    pub fn word(&mut self, address: u64, size: u64) -> Option<u64> {
        let expression = format!("*(*uint{})({address:#x})", size * 8);
        self.eval(-1, 0, &expression, Load::LITTLE).ok()?.value.parse().ok()
    }

    /// Ends Delve, and its rr.
    pub fn end(&mut self) {
        let _ = self.call("Detach", json!({ "Kill": true }));
    }
}

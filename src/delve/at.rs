//! Standing where a line was written: in the goroutine and the frame that wrote it.
//!
//! At a write's event the program is in rr's own page for system calls, where no stack can be unwound. A breakpoint at
//! the entry of Go's writing functions, and a run backwards, stand in front of the same write with everything whole.

use anyhow::Result;

use super::client::{Client, Stop};

/// What Go's programs write through: package os, and the runtime's own messages.
const WRITERS: [&str; 4] = ["syscall.write", "runtime.gwrite", "syscall.writev", "internal/poll.writev"];

/// What a program ends in: panics, fatal errors, exits.
pub const ENDS: [&str; 5] =
    ["runtime.fatalpanic", "runtime.fatalthrow", "runtime.fatal", "os.Exit", "runtime.dieFromSignal"];

/// How many writes before that one are looked at: other threads may come between.
const TRIES: usize = 6;

/// Goes to the write of an event. `thread` is the one that wrote, where that is known.
pub fn go_to_write(client: &mut Client, event: u64) -> Result<Stop> {
    client.restart(event)?;
    let here = client.state()?;
    let breakpoints: Vec<i64> = WRITERS.iter().filter_map(|writer| client.break_at(writer, None)).collect();
    let mut stop = client.back();
    for _ in 0..TRIES {
        match &stop {
            // Another goroutine was about to write when this one was.
            Ok(found) if here.goroutine != 0 && found.goroutine != here.goroutine && !found.exited => {
                stop = client.back();
            }
            _ => break,
        }
    }
    breakpoints.into_iter().for_each(|breakpoint| client.clear(breakpoint));
    stop
}

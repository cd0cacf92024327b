//! When things happened in a trace: the frames of the stream `events`, read once from its beginning to its end.
//!
//! rr counts frames from 1; that number is the event of `[rr PID EVENT]` and of `rr replay -g EVENT`.

use std::collections::{BTreeSet, VecDeque};
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result};

use super::content::{open, unreadable};
use super::stream::{Blocks, Fields, read};

/// The frames that matter to us, by rr's schema.
const SCHED: u16 = 4;
const SIGNAL_DELIVERY: u16 = 7;
const SIGNAL_HANDLER: u16 = 8;
const EXIT: u16 = 9;
const SYSCALL: u16 = 11;

/// A signal from outside of the program, or from itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    pub event: u64,
    pub number: i32,
    /// The process that sent it; 0 where the kernel did, for a terminal say.
    pub sender: i32,
    /// Whether a process or the kernel sent it for something other than a fault of the program.
    pub asynchronous: bool,
    /// The last event that lies a moment before it: what waits there waits since before the signal.
    pub before: u64,
}

/// When what was written, and which signals came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// The number of the last frame.
    pub last: u64,
    /// The clock of the first frame, in seconds since an unknown moment.
    start: f64,
    /// The clock of the last one.
    end: f64,
    /// Each write to a file descriptor: its event, and its time in seconds since the first frame.
    writes: Vec<(u64, f64)>,
    pub signals: Vec<Delivered>,
    /// The frames in which threads ended.
    exits: Vec<u64>,
    /// The last frame in which a process asked for its own end.
    exit_group: Option<u64>,
    /// Where a thread was interrupted, and when.
    interrupted: Vec<(u64, f64)>,
    /// The recorded threads.
    tids: BTreeSet<i32>,
    /// The time of every 256th frame, for frames that are no writes.
    coarse: Vec<f64>,
    /// The latest frames and their clocks, back to one that lies a moment before.
    recent: VecDeque<(u64, f64)>,
}

/// How long somebody waits at least who is stuck, in seconds.
const MOMENT: f64 = 0.3;

/// The system calls that write to a file descriptor.
fn writes(number: i32) -> bool {
    // write, pwrite64, writev, pwritev; and the same on aarch64.
    match std::env::consts::ARCH {
        "aarch64" => [64, 66, 68, 70].contains(&number),
        _ => [1, 18, 20, 296].contains(&number),
    }
}

/// So many events lie at most between the ends of two threads that end with their program.
const TOGETHER: u64 = 64;

const COARSE: u64 = 256;

const EXIT_GROUP: i32 = if cfg!(target_arch = "aarch64") { 94 } else { 231 };

impl Timeline {
    pub(super) fn read(trace: &Path) -> Result<Self> {
        let mut from = Blocks::new(BufReader::new(open(trace, "events")?));
        let mut timeline = Self::default();
        while let Some(message) = read(&mut from).with_context(|| unreadable(trace, "events"))? {
            timeline.add(&message.fields()?)?;
        }
        timeline.recent = VecDeque::new();
        Ok(timeline)
    }

    fn add(&mut self, frame: &Fields) -> Result<()> {
        let clock = f64::from_bits(frame.u64(2));
        if self.last == 0 {
            self.start = clock;
        }
        if self.last.is_multiple_of(COARSE) {
            self.coarse.push(clock - self.start);
        }
        self.last += 1;
        self.end = clock;
        self.recent.push_back((self.last, clock));
        while self.recent.get(1).is_some_and(|(_, second)| *second <= clock - MOMENT) {
            self.recent.pop_front();
        }
        self.tids.insert(frame.i32(0));
        match frame.u16(3) {
            SYSCALL if frame.i32(7) == EXIT_GROUP => self.exit_group = Some(self.last),
            SYSCALL if writes(frame.i32(7)) => self.writes.push((self.last, clock - self.start)),
            SCHED => self.interrupted.push((self.last, clock - self.start)),
            EXIT => self.exits.push(self.last),
            SIGNAL_DELIVERY | SIGNAL_HANDLER => {
                let information = frame.fields(3)?.bytes(0)?;
                let number = |place: usize| {
                    let bytes = information.get(place..place + 4).and_then(|bytes| bytes.try_into().ok());
                    bytes.map_or(0, i32::from_ne_bytes)
                };
                // SI_USER and SI_TKILL name a sender; SI_KERNEL is a terminal's, but also that of some faults.
                let (code, faults) = (number(8), [4, 5, 7, 8, 11].contains(&number(0)));
                let asynchronous = code <= 0 || (code == 0x80 && !faults);
                let sender = if code <= 0 { number(16) } else { 0 };
                let before = self.recent.front().map_or(1, |(event, _)| *event);
                self.signals.push(Delivered { event: self.last, number: number(0), sender, asynchronous, before });
            }
            _ => {}
        }
        Ok(())
    }

    /// So many events before one in which a thread was interrupted, of the second half of the time, in ascending order.
    pub fn samples(&self, count: usize, before: u64) -> Vec<u64> {
        let early: Vec<(u64, f64)> = self.interrupted.iter().filter(|(event, _)| *event < before).copied().collect();
        let from = early.last().map_or(0.0, |(_, last)| last / 2.0);
        let late: Vec<u64> = early.into_iter().filter(|(_, time)| *time >= from).map(|(event, _)| event).collect();
        let step = (late.len() / count.max(1)).max(1);
        late.into_iter().step_by(step).take(count).collect()
    }

    /// Whether a thread of that number is one of the recorded ones.
    pub fn is_own(&self, tid: i32) -> bool {
        self.tids.contains(&tid)
    }

    /// Whether something was written to a file descriptor in that event.
    pub fn is_write(&self, event: u64) -> bool {
        self.writes.binary_search_by_key(&event, |(event, _)| *event).is_ok()
    }

    /// Seconds since the start of the recording: exact for writes, to within 256 frames for others.
    pub fn seconds(&self, event: u64) -> f64 {
        match self.writes.binary_search_by_key(&event, |(event, _)| *event) {
            Ok(place) => self.writes[place].1,
            Err(_) => {
                let place = usize::try_from(event / COARSE).unwrap_or(usize::MAX);
                self.coarse.get(place).copied().unwrap_or(self.end - self.start)
            }
        }
    }

    /// The last event in which the whole program was there: before it ended itself, or before its first thread went.
    pub fn end(&self) -> u64 {
        let gone = self.exits.iter().rev().scan(self.last, |next, &exit| {
            // The threads that go with the program go soon one after the other.
            let with = *next - exit <= TOGETHER;
            *next = exit;
            with.then_some(exit)
        });
        let gone = gone.last().unwrap_or(self.last);
        self.exit_group.filter(|exit| *exit < gone && gone - exit <= TOGETHER).unwrap_or(gone).saturating_sub(1).max(1)
    }

    /// How long the recording took.
    pub fn length(&self) -> f64 {
        self.end - self.start
    }
}

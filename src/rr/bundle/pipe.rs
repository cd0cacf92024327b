//! Background threads for compression: one reads and hashes ahead, one writes behind, and one syncs the written data
//! to disk.
//!
//! Either compression or the disk is the bottleneck. In a single thread, their times would add up.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use anyhow::Result;

use super::{Hashing, Sum};

/// The size of a chunk, and how many chunks may wait in a queue.
const PIECE: usize = 1 << 17;
const WAITING: usize = 16;

/// A sync is started after this many bytes. Otherwise the kernel delays writing for seconds, and the final sync would
/// write everything at the end.
const SYNC_EVERY: usize = 32 << 20;

/// An item from the reading thread: bytes of an entry, or at its end the checksum or an error.
pub(super) enum Chunk {
    Bytes(Vec<u8>),
    End(Result<Sum>),
}

/// The channel from the reading thread.
pub(super) fn ahead() -> (SyncSender<Chunk>, Receiver<Chunk>) {
    sync_channel(WAITING)
}

/// Reads an entry to its end. Returns false if the receiver is gone.
pub(super) fn read(from: Result<impl Read>, path: &str, to: &SyncSender<Chunk>) -> bool {
    let sum = from.and_then(|from| {
        let mut nothing = |_| Ok(());
        let mut hashing = Hashing::new(from, &mut nothing);
        loop {
            let mut piece = vec![0; PIECE];
            let read = hashing.read(&mut piece)?;
            piece.truncate(read);
            if read == 0 || to.send(Chunk::Bytes(piece)).is_err() {
                return Ok(hashing.sum(path));
            }
        }
    });
    to.send(Chunk::End(sum)).is_ok()
}

/// Reads the bytes of one entry from the reading thread.
pub(super) struct ChunkReader<'a> {
    pub from: &'a Receiver<Chunk>,
    /// Called with the number of bytes that arrived. An error stops the reading.
    pub see: &'a mut dyn FnMut(u64) -> io::Result<()>,
    piece: Vec<u8>,
    at: usize,
    sum: Option<Result<Sum>>,
}

impl<'a> ChunkReader<'a> {
    pub fn new(from: &'a Receiver<Chunk>, see: &'a mut dyn FnMut(u64) -> io::Result<()>) -> Self {
        Self { from, see, piece: Vec::new(), at: 0, sum: None }
    }

    /// The checksum, after everything was read.
    pub fn sum(self) -> Option<Result<Sum>> {
        self.sum
    }
}

impl Read for ChunkReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() && self.sum.is_none() {
            match self.from.recv().map_err(io::Error::other)? {
                Chunk::Bytes(piece) => (self.piece, self.at) = (piece, 0),
                Chunk::End(sum) => self.sum = Some(sum),
            }
        }
        let there = &self.piece[self.at..];
        let read = there.len().min(buffer.len());
        buffer[..read].copy_from_slice(&there[..read]);
        self.at += read;
        (self.see)(read as u64)?;
        Ok(read)
    }
}

/// A writer that writes to a file in another thread.
pub(super) struct BackgroundWriter {
    piece: Vec<u8>,
    to: Option<SyncSender<Vec<u8>>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl BackgroundWriter {
    pub fn new(mut file: File) -> io::Result<Self> {
        let (to, from) = sync_channel::<Vec<u8>>(WAITING);
        let (begin, told) = sync_channel::<()>(1);
        let synced = file.try_clone()?;
        // The thread ends when the sender is dropped. Sync errors are ignored here, because the final sync reports
        // them.
        thread::spawn(move || told.iter().for_each(|()| drop(synced.sync_data())));
        let thread = thread::spawn(move || {
            let mut written = 0;
            for piece in from {
                file.write_all(&piece)?;
                written += piece.len();
                if written >= SYNC_EVERY && begin.try_send(()).is_ok() {
                    written = 0;
                }
            }
            Ok(())
        });
        Ok(Self { piece: Vec::with_capacity(PIECE), to: Some(to), thread: Some(thread) })
    }

    /// Waits until everything is written.
    pub fn finish(mut self) -> io::Result<()> {
        self.send()?;
        self.end()
    }

    fn send(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        match &self.to {
            Some(to) if to.send(piece).is_ok() => Ok(()),
            // The thread has failed; `end` returns its error.
            _ => self.end().and(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        self.to = None;
        self.thread.take().map_or(Ok(()), |thread| thread.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())))
    }
}

impl Write for BackgroundWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = (PIECE - self.piece.len()).min(bytes.len());
        self.piece.extend_from_slice(&bytes[..room]);
        if self.piece.len() == PIECE {
            self.send()?;
        }
        Ok(room)
    }

    /// [`BackgroundWriter::finish`] writes the remaining bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_writes_everything_in_order_and_tells_what_went_wrong() {
        let file = tempfile::tempfile().unwrap();
        let mut behind = BackgroundWriter::new(file.try_clone().unwrap()).unwrap();
        let bytes: Vec<u8> = (0..3 * PIECE + 17).map(|n| u8::try_from(n % 251).unwrap()).collect();
        bytes.chunks(1000).for_each(|chunk| behind.write_all(chunk).unwrap());
        behind.finish().unwrap();
        let mut read = vec![0; bytes.len()];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut read, 0).unwrap();
        assert!(read == bytes && file.metadata().unwrap().len() == bytes.len() as u64);

        // /dev/full always reports a full disk.
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut behind = BackgroundWriter::new(full).unwrap();
        let written = (0..1000).try_for_each(|_| behind.write_all(&bytes)).and_then(|()| behind.finish());
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}

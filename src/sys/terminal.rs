//! How wide a terminal is.

use std::os::fd::AsFd;

use rustix::termios::tcgetwinsize;

/// The columns of the terminal that a stream goes to. `None` where it is no terminal, or one that does not know.
pub fn columns(stream: impl AsFd) -> Option<usize> {
    tcgetwinsize(stream).ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

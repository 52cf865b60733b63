//! What is typed, and that nobody can type any more.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The terminal that is typed on: standard input, or the process's own where that is something else.
pub(super) struct Keys {
    own: Option<File>,
}

impl Keys {
    pub(super) fn open() -> io::Result<Self> {
        let own = match io::stdin().is_terminal() {
            true => None,
            false => Some(File::open("/dev/tty")?),
        };
        Ok(Self { own })
    }

    /// True when one that ends it was pressed before `until`; `redraw` is called when the window has another size.
    pub(super) fn wait(
        &self,
        until: Instant,
        mut redraw: impl FnMut() -> io::Result<()>,
    ) -> io::Result<bool> {
        let stdin = io::stdin();
        let place = self.own.as_ref().map_or_else(|| stdin.as_fd(), File::as_fd);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            listen(place, left)?;
            while event::poll(Duration::ZERO)? {
                match event::read()? {
                    Event::Key(key) if key.kind == KeyEventKind::Press => {
                        let interrupt = key.code == KeyCode::Char('c')
                            && key.modifiers == KeyModifiers::CONTROL;
                        if interrupt || matches!(key.code, KeyCode::Esc | KeyCode::Char('q' | 'Q'))
                        {
                            return Ok(true);
                        }
                    }
                    Event::Resize(..) => redraw()?,
                    _ => {}
                }
            }
            if left.is_zero() {
                return Ok(false);
            }
        }
    }
}

/// Waits until there is something to read, or a signal came. A terminal that is gone is an error: crossterm would read
/// its end for ever.
fn listen(place: BorrowedFd<'_>, left: Duration) -> io::Result<()> {
    let left = Timespec::try_from(left).map_err(io::Error::other)?;
    let mut heard = [PollFd::from_borrowed_fd(place, PollFlags::IN)];
    match poll(&mut heard, Some(&left)) {
        // The window has another size: crossterm knows of it.
        Err(rustix::io::Errno::INTR) => return Ok(()),
        other => other?,
    };
    let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    match heard[0].revents().intersects(gone) {
        true => Err(io::ErrorKind::BrokenPipe.into()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_that_is_gone_is_an_error_and_a_silent_one_is_none() {
        let (ours, theirs) = io::pipe().expect("a pipe");
        let moment = Duration::from_millis(1);
        listen(ours.as_fd(), moment).expect("nobody has typed");
        drop(theirs);
        let error = listen(ours.as_fd(), moment).expect_err("nobody can type");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}

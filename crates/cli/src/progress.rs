//! A line that shows how far a transfer is, on a terminal and nowhere else.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

use countersign_registry::Descriptor;
use countersign_registry::copy::Progress;

use crate::out::Terminal;

/// How wide the bar is, in characters.
const WIDTH: u64 = 24;

/// The line.
#[derive(Debug)]
pub(crate) struct Bar {
    shown: bool,
    total: AtomicU64,
    moved: AtomicU64,
    /// The last percentage that was drawn, so that a terminal is not flooded.
    drawn: AtomicU64,
}

impl Bar {
    pub(crate) fn new(terminal: &Terminal) -> Self {
        let shown = !terminal.quiet && std::io::stderr().is_terminal();
        Self { shown, total: AtomicU64::new(0), moved: AtomicU64::new(0), drawn: AtomicU64::new(u64::MAX) }
    }

    fn draw(&self) {
        let (total, moved) = (self.total.load(Ordering::Relaxed), self.moved.load(Ordering::Relaxed));
        let percent = line(total, moved).0;
        if self.shown && self.drawn.swap(percent, Ordering::Relaxed) != percent {
            let _ = write!(std::io::stderr(), "\r{}", line(total, moved).1);
        }
    }

    /// Ends the line, so that what comes next begins a new one.
    pub(crate) fn end(&self) {
        if self.shown && self.drawn.load(Ordering::Relaxed) != u64::MAX {
            let _ = writeln!(std::io::stderr());
        }
    }
}

/// The percentage, and how it looks.
fn line(total: u64, moved: u64) -> (u64, String) {
    let percent = moved.min(total).saturating_mul(100).checked_div(total).unwrap_or(100);
    let full = usize::try_from(percent * WIDTH / 100).unwrap_or(0);
    let rest = usize::try_from(WIDTH).unwrap_or(0).saturating_sub(full);
    let megabytes = |bytes: u64| bytes / (1 << 20);
    let bar = format!("[{}{}]", "=".repeat(full), " ".repeat(rest));
    (percent, format!("{bar} {percent:>3} %  {} of {} MiB", megabytes(moved), megabytes(total)))
}

impl Progress for Bar {
    fn begins(&self, bytes: u64) {
        self.total.fetch_add(bytes, Ordering::Relaxed);
        self.draw();
    }

    fn advanced(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
        self.draw();
    }

    fn done(&self, blob: &Descriptor, copied: bool) {
        if !copied {
            self.moved.fetch_add(blob.size, Ordering::Relaxed);
        }
        self.draw();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_never_runs_over_its_end() {
        assert_eq!(line(100, 0).0, 0);
        assert_eq!(line(100, 50).1, format!("[{}{}]  50 %  0 of 0 MiB", "=".repeat(12), " ".repeat(12)));
        assert_eq!(line(100, 500).0, 100);
        assert_eq!(line(0, 0).0, 100);
        assert_eq!(line(u64::MAX, u64::MAX).0, 1, "the product is cut off rather than wrong");
    }
}

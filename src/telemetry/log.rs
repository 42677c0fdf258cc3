//! The log of calls, and the file of decisions: lines are put together in memory and written by a thread of their own,
//! many at a time, so that a slow terminal or a full disk never holds up a call.

use std::fmt;
use std::io::{self, Write};
use std::mem;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::rotated::Rotated;

/// Lines wait this long at most. Short enough to follow by eye, long enough that a busy router writes hundreds at once.
const FLUSH_EVERY: Duration = Duration::from_millis(100);

/// Beyond this, lines are dropped and counted: some ten thousand calls that nobody takes off our hands.
const PENDING_MAX: usize = 8 << 20;

/// Where lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSink {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Nowhere.
    Off,
    /// They stay here, for [`LogWriter::take`]: tests.
    Memory,
}

/// A handle on the log. Cheap to clone.
#[derive(Clone)]
pub struct LogWriter(Arc<Inner>);

struct Inner {
    off: bool,
    pending: Mutex<Vec<u8>>,
    /// Held while writing, so that two flushes cannot mix their lines.
    out: Mutex<Out>,
    dropped: AtomicU64,
}

enum Out {
    To(LogSink),
    File(Rotated),
}

impl fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogWriter").field("off", &self.0.off).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LogWriter {
    /// A log to `sink`. The thread that writes it ends with the last handle.
    pub fn new(sink: LogSink) -> io::Result<Self> {
        let log = Self::to(Out::To(sink), sink == LogSink::Off);
        if matches!(sink, LogSink::Stdout | LogSink::Stderr) {
            log.write_from("call-log")?;
        }
        Ok(log)
    }

    /// A log that is added to the file at `path`. When it would grow past `max` bytes it is renamed to `<path>.1`, in place
    /// of the one before, and begun anew.
    pub fn file(path: &Path, max: u64) -> io::Result<Self> {
        let log = Self::to(Out::File(Rotated::open(path, max)?), false);
        log.write_from("decision-log")?;
        Ok(log)
    }

    /// A log that keeps its lines for [`Self::take`].
    pub fn memory() -> Self {
        Self::to(Out::To(LogSink::Memory), false)
    }

    fn to(out: Out, off: bool) -> Self {
        Self(Arc::new(Inner {
            off,
            pending: Mutex::new(Vec::new()),
            out: Mutex::new(out),
            dropped: AtomicU64::new(0),
        }))
    }

    /// Flushes now and then, on a thread of that name.
    fn write_from(&self, thread: &str) -> io::Result<()> {
        let weak = Arc::downgrade(&self.0);
        std::thread::Builder::new().name(thread.into()).spawn(move || {
            while let Some(inner) = weak.upgrade() {
                Self(inner).flush();
                std::thread::park_timeout(FLUSH_EVERY);
            }
        })?;
        Ok(())
    }

    /// Appends what `write` writes, and a line end.
    pub(super) fn line(&self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.0.off {
            return;
        }
        let mut pending = lock(&self.0.pending);
        if pending.len() >= PENDING_MAX {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        write(&mut pending);
        pending.push(b'\n');
    }

    /// Writes out what is pending. What cannot be written to a terminal or pipe (it was closed) is gone: there is nobody
    /// to tell. What cannot be written to a file is counted.
    pub fn flush(&self) {
        let mut out = lock(&self.0.out);
        if matches!(*out, Out::To(LogSink::Memory)) {
            return;
        }
        let bytes = mem::take(&mut *lock(&self.0.pending));
        if bytes.is_empty() {
            return;
        }
        match &mut *out {
            Out::To(sink) => {
                let _unwritable = match sink {
                    LogSink::Stdout => {
                        io::stdout().lock().write_all(&bytes).and_then(|()| io::stdout().flush())
                    }
                    LogSink::Stderr => io::stderr().lock().write_all(&bytes),
                    LogSink::Off | LogSink::Memory => Ok(()),
                };
            }
            Out::File(file) => {
                let lost = file.write(&bytes);
                self.0.dropped.fetch_add(lost, Ordering::Relaxed);
            }
        }
    }

    /// Lines dropped because nobody took them.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// What a [`LogSink::Memory`] log holds; it is empty afterwards.
    pub fn take(&self) -> String {
        String::from_utf8_lossy(&mem::take(&mut *lock(&self.0.pending))).into_owned()
    }
}

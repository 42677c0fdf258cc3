//! The log of calls: lines are put together in memory and written by a thread of their own, many at a time, so that a
//! slow terminal or a full disk never holds up a call.

use std::fmt;
use std::io::{self, Write};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
    sink: LogSink,
    pending: Mutex<Vec<u8>>,
    /// Held while writing, so that two flushes cannot mix their lines.
    writing: Mutex<()>,
    dropped: AtomicU64,
}

impl fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogWriter").field(&self.0.sink).finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LogWriter {
    /// A log to `sink`. The thread that writes it ends with the last handle.
    pub fn new(sink: LogSink) -> io::Result<Self> {
        let inner = Arc::new(Inner {
            sink,
            pending: Mutex::new(Vec::new()),
            writing: Mutex::new(()),
            dropped: AtomicU64::new(0),
        });
        if matches!(sink, LogSink::Stdout | LogSink::Stderr) {
            let weak = Arc::downgrade(&inner);
            std::thread::Builder::new().name("call-log".into()).spawn(move || {
                while let Some(inner) = weak.upgrade() {
                    LogWriter(inner).flush();
                    std::thread::park_timeout(FLUSH_EVERY);
                }
            })?;
        }
        Ok(Self(inner))
    }

    /// A log that keeps its lines for [`Self::take`].
    pub fn memory() -> Self {
        Self(Arc::new(Inner {
            sink: LogSink::Memory,
            pending: Mutex::new(Vec::new()),
            writing: Mutex::new(()),
            dropped: AtomicU64::new(0),
        }))
    }

    /// Appends what `write` writes, and a line end.
    pub(super) fn line(&self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.0.sink == LogSink::Off {
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

    /// Writes out what is pending. What cannot be written (a closed pipe) is gone: there is nobody to tell.
    pub fn flush(&self) {
        let _writing = lock(&self.0.writing);
        if self.0.sink == LogSink::Memory {
            return;
        }
        let bytes = mem::take(&mut *lock(&self.0.pending));
        if bytes.is_empty() {
            return;
        }
        let _unwritable = match self.0.sink {
            LogSink::Stdout => io::stdout().lock().write_all(&bytes).and_then(|()| io::stdout().flush()),
            LogSink::Stderr => io::stderr().lock().write_all(&bytes),
            LogSink::Off | LogSink::Memory => Ok(()),
        };
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

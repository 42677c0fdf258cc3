//! A file of lines that never grows past its limit: when it would, it is renamed once, and the one before is gone. Whole
//! lines or none: a full disk leaves no half of one.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// See the module.
#[derive(Debug)]
pub(super) struct Rotated {
    path: PathBuf,
    file: File,
    len: u64,
    max: u64,
    /// The last write failed: said once, not ten times a second.
    failing: bool,
}

impl Rotated {
    /// Goes on with the file at `path`, or makes it. A single line longer than `max` bytes passes alone.
    pub(super) fn open(path: &Path, max: u64) -> io::Result<Self> {
        let mut file = appended(path)?;
        let mut len = file.metadata()?.len();
        if len > 0 {
            // A line that a crash cut off stays a line of its own.
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                len += 1;
            }
        }
        Ok(Self { path: path.to_owned(), file, len, max, failing: false })
    }

    /// Adds whole lines. Returns how many could not be written.
    pub(super) fn write(&mut self, lines: &[u8]) -> u64 {
        let mut left = lines;
        while !left.is_empty() {
            let room = self.max.saturating_sub(self.len);
            let mut fits = whole_lines(left, room);
            if fits == 0 && self.len > 0 {
                if let Err(error) = self.rotate() {
                    return self.lost(left, &error);
                }
                continue;
            }
            if fits == 0 {
                fits = memchr::memchr(b'\n', left).map_or(left.len(), |at| at + 1);
            }
            let (now, later) = left.split_at(fits);
            if let Err(error) = self.file.write_all(now) {
                // What was written of it is taken back, so that no line is half there.
                let _as_it_was = self.file.set_len(self.len);
                return self.lost(left, &error);
            }
            self.len += fits as u64;
            left = later;
        }
        self.failing = false;
        0
    }

    fn rotate(&mut self) -> io::Result<()> {
        let mut old = OsString::from(&self.path);
        old.push(".1");
        std::fs::rename(&self.path, old)?;
        self.file = appended(&self.path)?;
        self.len = self.file.metadata()?.len();
        Ok(())
    }

    fn lost(&mut self, lines: &[u8], error: &io::Error) -> u64 {
        if !self.failing {
            tracing::warn!(file = %self.path.display(), %error, "cannot write; lines are dropped and counted");
        }
        self.failing = true;
        memchr::memchr_iter(b'\n', lines).count() as u64
    }
}

fn appended(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).open(path)
}

/// How many of the bytes are whole lines that fit.
fn whole_lines(bytes: &[u8], room: u64) -> usize {
    let room = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
    memchr::memrchr(b'\n', &bytes[..room]).map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("gridtie-rotated-{name}-{}", std::process::id()));
        let _left_over = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_file_that_would_grow_past_its_limit_is_renamed_and_begun_anew() {
        let folder = folder("turn");
        let path = folder.join("r.jsonl");
        let mut file = Rotated::open(&path, 10).unwrap();
        assert_eq!(file.write(b"1234\n1234\n1234\n"), 0);
        assert_eq!(std::fs::read(folder.join("r.jsonl.1")).unwrap(), b"1234\n1234\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"1234\n");
        assert_eq!(file.write(b"a line of more than ten bytes\n5\n"), 0);
        assert_eq!(std::fs::read(folder.join("r.jsonl.1")).unwrap(), b"a line of more than ten bytes\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"5\n");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_line_that_a_crash_cut_off_does_not_swallow_the_next() {
        let folder = folder("torn");
        let path = folder.join("r.jsonl");
        std::fs::write(&path, "whole\nhal").unwrap();
        Rotated::open(&path, 1 << 20).unwrap().write(b"next\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "whole\nhal\nnext\n");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let folder = folder("gone");
        let path = folder.join("r.jsonl");
        let mut file = Rotated::open(&path, 10).unwrap();
        assert_eq!(file.write(b"1234\n1234\n"), 0);
        std::fs::remove_dir_all(folder).unwrap();
        assert_eq!(file.write(b"1\n2\n3\n"), 3, "there is nothing left to rename");
    }
}

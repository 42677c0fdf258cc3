//! What is in the files of a config, by content: a symbolic link that is turned to another file (as Kubernetes does with
//! ConfigMaps and Secrets) counts, a touch does not, and a file that is being written is left alone until it is still.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config;

/// The digests of files; none of one that cannot be read.
pub(super) type Sight = BTreeMap<PathBuf, Option<String>>;

/// Looks at the files.
pub(super) async fn look(paths: Vec<PathBuf>) -> Sight {
    let read = move || paths.into_iter().map(|path| (config::digest_of(&path), path)).collect::<Vec<_>>();
    let seen = tokio::task::spawn_blocking(read).await.unwrap_or_default();
    seen.into_iter().map(|(digest, path)| (path, digest)).collect()
}

/// Decides when what is seen is worth reading.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    /// What the config was last read from.
    read: Sight,
    last: Sight,
}

impl Watcher {
    /// The config was read, taken or not, and this was in these files then.
    pub(super) fn was_read(&mut self, from: Sight) {
        self.read.extend(from);
    }

    /// True if there is something else than was read, and it was the same when last looked at: nobody is writing it.
    pub(super) fn sees(&mut self, now: Sight) -> bool {
        let still = now == self.last;
        let news = now.iter().any(|(path, digest)| self.read.get(path) != Some(digest));
        self.last = now;
        if still && news {
            self.read = self.last.clone();
        }
        still && news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(of: &[(&str, Option<&str>)]) -> Sight {
        of.iter().map(|(path, digest)| ((*path).into(), digest.map(str::to_owned))).collect()
    }

    #[test]
    fn c06_a_file_that_is_being_written_is_left_alone_until_it_is_still() {
        let mut watcher = Watcher::default();
        watcher.was_read(sight(&[("c", Some("old"))]));
        assert!(!watcher.sees(sight(&[("c", Some("old"))])));
        assert!(!watcher.sees(sight(&[("c", Some("half"))])));
        assert!(!watcher.sees(sight(&[("c", Some("new"))])));
        assert!(watcher.sees(sight(&[("c", Some("new"))])));
        assert!(!watcher.sees(sight(&[("c", Some("new"))])), "once is enough");
    }

    #[test]
    fn c06_a_file_that_is_gone_for_a_moment_is_no_news() {
        let mut watcher = Watcher::default();
        watcher.was_read(sight(&[("c", Some("old"))]));
        for (digest, news) in
            [(Some("old"), false), (None, false), (Some("old"), false), (Some("old"), false)]
        {
            assert_eq!(watcher.sees(sight(&[("c", digest)])), news, "{digest:?}");
        }
        assert!(!watcher.sees(sight(&[("c", None)])));
        assert!(watcher.sees(sight(&[("c", None)])), "gone for good is told, once");
        assert!(!watcher.sees(sight(&[("c", None)])));
        assert!(!watcher.sees(sight(&[("c", Some("old"))])));
        assert!(watcher.sees(sight(&[("c", Some("old"))])), "and so is that it is back");
    }

    #[test]
    fn c09_the_file_of_a_secret_counts_as_the_config_does() {
        let mut watcher = Watcher::default();
        watcher.was_read(sight(&[("c", Some("config")), ("k", Some("key"))]));
        assert!(!watcher.sees(sight(&[("c", Some("config")), ("k", Some("other"))])));
        assert!(watcher.sees(sight(&[("c", Some("config")), ("k", Some("other"))])));
    }
}

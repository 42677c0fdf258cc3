//! Another config under a running router: what is under way goes on, what is wrong changes nothing.

mod load;
mod process;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gridtie::domain::Capabilities;
use gridtie::edge::admin::configs::{ChangeKind, Configs as _, Outcome, Reload};
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::wire::{
    Act, BASE, Client, Endpoint, Got, LONG, Running, ask, chat, get, good, pool, tokens, whole,
};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A folder of its own, gone with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let n = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("gridtie-reload-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// As an editor does that knows its trade: all of it or nothing.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let (new, path) = (self.path(&format!("{name}.new")), self.path(name));
        fs::write(&new, text).unwrap();
        fs::rename(&new, &path).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn config(pools: &[(&str, &Endpoint)]) -> String {
    pools
        .iter()
        .fold(BASE.to_owned(), |text, (name, endpoint)| text + &pool(name, "openai", &[endpoint.origin()]))
}

async fn reload(gridtie: &Running) -> Reload {
    gridtie.reloads.reload(false).await.unwrap()
}

/// Reads the config again, which must be taken; the changes in words.
async fn taken(gridtie: &Running) -> Vec<String> {
    let reload = reload(gridtie).await;
    assert_eq!(reload.outcome, Outcome::Taken);
    let word = |kind| match kind {
        ChangeKind::Added => '+',
        ChangeKind::Removed => '-',
        ChangeKind::Changed => '~',
        ChangeKind::NeedsRestart => '!',
    };
    let say = |c: &gridtie::edge::admin::configs::Change| {
        format!("{} {} {} {}", word(c.kind), c.what, c.name, c.details.join(", ")).trim_end().to_owned()
    };
    reload.changes.iter().map(say).collect()
}

/// Reads the config again, which must be refused; why.
async fn refused(gridtie: &Running) -> String {
    match reload(gridtie).await.outcome {
        Outcome::Rejected(why) => why.join("\n"),
        other => panic!("{other:?}"),
    }
}

/// A stream of which the client has the first token.
async fn begun(client: &mut Client) -> hyper::Response<hyper::body::Incoming> {
    let mut response = client.chat(chat(true, "hi")).await;
    assert_eq!(response.status(), 200);
    let first = response.body_mut().frame().await.unwrap().unwrap();
    assert!(first.data_ref().unwrap().starts_with(b"data: "));
    response
}

async fn served_by(gridtie: &Running) -> String {
    let got = ask(gridtie.http, chat(false, "hi")).await;
    assert_eq!(got.status, 200, "{}", got.text);
    got.header("x-gridtie-pool").to_owned()
}

fn states(gridtie: &Running) -> Vec<(String, &'static str, u32)> {
    let now = gridtie.router.clock().now();
    let status = gridtie.router.with_fleet(|fleet| fleet.status(now));
    status.pools.into_iter().map(|p| (p.name.to_string(), p.state, p.in_flight)).collect()
}

#[tokio::test]
async fn c05_a_removed_pools_streams_finish_and_new_calls_go_elsewhere() {
    let old =
        Endpoint::start(|asked| if asked.streams() { tokens("hello", 60, ms(10)) } else { vec![whole()] })
            .await;
    let new = Endpoint::start(good).await;
    let folder = Folder::new();
    let path = folder.write("c.toml", &config(&[("old", &old), ("new", &new)]));
    let gridtie = Running::start_file(&path).await;
    let mut client = Client::connect(gridtie.http).await;
    let stream = begun(&mut client).await;
    folder.write("c.toml", &config(&[("new", &new)]));
    assert_eq!(taken(&gridtie).await, ["- pool old"]);
    assert_eq!(states(&gridtie)[0], ("old".to_owned(), "leaving", 1));
    let asked = old.asked();
    for _ in 0..5 {
        assert_eq!(served_by(&gridtie).await, "new");
    }
    let got = Got::read(stream).await;
    assert!(got.is_done() && !got.broken, "{}", got.text);
    assert_eq!((got.tokens(), got.header("x-gridtie-pool")), (59, "old"));
    assert_eq!((old.asked(), old.hung_up()), (asked, 0));
    let metrics = gridtie.router.metrics_text();
    assert!(
        metrics.contains(r#"gridtie_attempts_total{pool="old",model="chat",result="ok"} 1"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn c05_a_changed_pools_streams_finish_on_the_old_upstream() {
    let old = Endpoint::start(|_| tokens("hello", 60, ms(10))).await;
    let new = Endpoint::start(good).await;
    let folder = Folder::new();
    let path = folder.write("c.toml", &config(&[("only", &old)]));
    let gridtie = Running::start_file(&path).await;
    let mut client = Client::connect(gridtie.http).await;
    let stream = begun(&mut client).await;
    let text =
        config(&[("only", &new)]).replace("tenure = \"owned\"", "tenure = \"owned\"\nconnect = \"400ms\"");
    folder.write("c.toml", &text);
    assert_eq!(taken(&gridtie).await, ["~ pool only connection, endpoints"]);
    assert_eq!(served_by(&gridtie).await, "only");
    assert_eq!((old.asked(), new.asked()), (1, 1));
    let got = Got::read(stream).await;
    assert!(got.is_done() && !got.broken, "{}", got.text);
}

#[tokio::test]
async fn c02_a_config_with_mistakes_changes_nothing_and_says_where_they_are() {
    let endpoint = Endpoint::start(good).await;
    let folder = Folder::new();
    let text = config(&[("only", &endpoint)]);
    let path = folder.write("c.toml", &text);
    let gridtie = Running::start_file(&path).await;
    let line = text.lines().position(|l| l.starts_with("tenure")).unwrap() + 1;
    folder.write("c.toml", &text.replace("tenure = \"owned\"", "tenure = \"ownd\""));
    let why = refused(&gridtie).await;
    assert!(why.contains(&format!("c.toml:{line}:10: ")) && why.contains("did you mean `owned`?"), "{why}");
    assert_eq!(served_by(&gridtie).await, "only");
    let standing = gridtie.reloads.standing();
    assert_eq!((standing.running.edition, &*standing.running.sha256), (1, &*gridtie::config::digest(&text)));
    assert!(standing.rejected.as_ref().is_some_and(|r| r.why.join("\n") == why));
    let metrics = gridtie.router.metrics_text();
    assert!(metrics.contains(r#"gridtie_config_reloads_total{outcome="rejected"} 1"#), "{metrics}");
    assert!(metrics.contains("gridtie_config_rejected 1"), "{metrics}");
    folder.write("c.toml", &text);
    assert_eq!(reload(&gridtie).await.outcome, Outcome::Unchanged);
    assert!(gridtie.reloads.standing().rejected.is_none());
    assert!(gridtie.router.metrics_text().contains("gridtie_config_rejected 0"));
}

#[tokio::test]
async fn c03_what_is_right_by_itself_and_wrong_in_the_world_is_refused_before_it_is_taken() {
    let endpoint = Endpoint::start(good).await;
    let folder = Folder::new();
    let text = config(&[("only", &endpoint)]);
    let path = folder.write("c.toml", &text);
    let gridtie = Running::start_file(&path).await;
    let with = |line: &str| text.replace("tenure = \"owned\"", &format!("tenure = \"owned\"\n{line}"));
    for (line, expected) in [
        ("key = \"file:no-such-file\"", "there is no such file"),
        ("ca = \"file:c.toml\"", "cannot be set up"),
    ] {
        folder.write("c.toml", &with(line));
        let why = refused(&gridtie).await;
        assert!(why.contains(expected) && why.contains("c.toml:"), "{why}");
        assert_eq!(served_by(&gridtie).await, "only");
    }
    let unknown = pool("new", "openai", &["http://no-such-host.invalid:1".to_owned()]);
    folder.write("c.toml", &format!("{text}{unknown}"));
    let why = refused(&gridtie).await;
    let line = text.lines().count() + unknown.lines().position(|l| l.starts_with("endpoints")).unwrap() + 1;
    assert!(why.contains(&format!("c.toml:{line}:")) && why.contains("no-such-host.invalid"), "{why}");
    assert_eq!(gridtie.router.editions().next, 2, "nothing was taken");
    assert_eq!(served_by(&gridtie).await, "only");
}

#[tokio::test]
async fn c06_a_link_that_is_turned_as_kubernetes_does_is_seen_and_a_file_that_vanishes_is_survived() {
    let (a, b) = (Endpoint::start(good).await, Endpoint::start(good).await);
    let folder = Folder::new();
    let point = |to: &str| {
        let (link, new) = (folder.path("..data"), folder.path("..data_tmp"));
        std::os::unix::fs::symlink(to, &new).unwrap();
        fs::rename(&new, link).unwrap();
    };
    for (version, pools) in [("v1", [("a", &a)]), ("v2", [("b", &b)])] {
        fs::create_dir(folder.path(version)).unwrap();
        fs::write(folder.path(version).join("c.toml"), config(&pools)).unwrap();
    }
    point("v1");
    std::os::unix::fs::symlink("..data/c.toml", folder.path("c.toml")).unwrap();
    let gridtie = Running::start_file(&folder.path("c.toml")).await;
    assert_eq!(served_by(&gridtie).await, "a");
    point("v2");
    fs::remove_dir_all(folder.path("v1")).unwrap();
    until(async || served_by(&gridtie).await == "b").await;
    fs::remove_file(folder.path("c.toml")).unwrap();
    until(async || gridtie.reloads.standing().rejected.is_some()).await;
    let standing = gridtie.reloads.standing();
    assert!(standing.rejected.as_ref().unwrap().why[0].contains("there is no such file"));
    assert_eq!(served_by(&gridtie).await, "b");
}

/// Asks until it is so.
async fn until(so: impl AsyncFn() -> bool) {
    let polled = async {
        while !so().await {
            tokio::time::sleep(ms(20)).await;
        }
    };
    timeout(LONG, polled).await.expect("it never came to that");
}

#[tokio::test]
async fn c09_a_rotated_provider_key_goes_to_new_calls_and_what_is_under_way_ends_with_the_old() {
    let endpoint = Endpoint::start(|asked| {
        let known = ["bearer old", "bearer new"]
            .iter()
            .any(|key| asked.head.contains(&format!("authorization: {key}")));
        match (known, asked.streams()) {
            (false, _) => vec![crate::wire::response("401 Unauthorized", "", "")],
            (true, true) => tokens("hello", 100, ms(10)),
            (true, false) => vec![crate::wire::response(
                "200 OK",
                crate::wire::JSON,
                crate::wire::WHOLE
                    .replace("hello", if asked.head.contains("bearer new") { "new" } else { "old" }),
            )],
        }
    })
    .await;
    let folder = Folder::new();
    folder.write("key", "old\n");
    let with = "tenure = \"owned\"\nkey = \"file:key\"";
    let path = folder.write("c.toml", &config(&[("only", &endpoint)]).replace("tenure = \"owned\"", with));
    let gridtie = Running::start_file(&path).await;
    let answer = async || ask(gridtie.http, chat(false, "hi")).await.text;
    assert!(answer().await.contains("old"));
    let mut client = Client::connect(gridtie.http).await;
    let stream = begun(&mut client).await;
    // Nobody asks: the file is watched.
    folder.write("key", "new\n");
    until(async || answer().await.contains("new")).await;
    let got = Got::read(stream).await;
    assert!(got.is_done() && !got.broken, "{}", got.text);
    // A key that cannot be one is refused, and the good one stays.
    folder.write("key", "");
    until(async || gridtie.reloads.standing().rejected.is_some()).await;
    assert!(answer().await.contains("new"));
}

#[tokio::test]
async fn c09_a_clients_old_and_new_key_are_both_good_for_as_long_as_both_are_listed() {
    let endpoint = Endpoint::start(good).await;
    let folder = Folder::new();
    let keys = |keys: &[&str]| {
        let hash = |key: &&str| {
            format!("{{ tenant = \"t\", hash = \"{}\" }}", gridtie::edge::auth::KeyHash::of(key))
        };
        let list: Vec<String> = keys.iter().map(hash).collect();
        format!("[auth]\nkey = [{}]\n{}", list.join(", "), config(&[("only", &endpoint)]))
    };
    let path = folder.write("c.toml", &keys(&["gtk_a"]));
    let gridtie = Running::start_file(&path).await;
    let status = async |key: &str| {
        let mut client = Client::connect(gridtie.http).await;
        client.chat_as(key, chat(false, "hi")).await.status().as_u16()
    };
    assert_eq!((status("gtk_a").await, status("gtk_b").await), (200, 401));
    folder.write("c.toml", &keys(&["gtk_a", "gtk_b"]));
    assert_eq!(taken(&gridtie).await, ["~ auth  1 key added"]);
    assert_eq!((status("gtk_a").await, status("gtk_b").await), (200, 200));
    folder.write("c.toml", &keys(&["gtk_b"]));
    assert_eq!(taken(&gridtie).await, ["~ auth  1 key removed"]);
    assert_eq!((status("gtk_a").await, status("gtk_b").await), (401, 200));
}

#[tokio::test]
async fn a_pool_that_comes_up_gets_a_growing_share_and_the_call_that_waits_for_it() {
    let (busy, new) = (Endpoint::start(good).await, Endpoint::start(good).await);
    let folder = Folder::new();
    let patient = "\n[[class]]\nname = \"patient\"\nmay_wait = true\ndeadline = \"60s\"\n";
    let with = |pools: &[(&str, &Endpoint)]| config(pools) + patient;
    let path = folder.write("c.toml", &with(&[("busy", &busy)]));
    let gridtie = Running::start_file(&path).await;
    gridtie.router.drain(gridtie.router.catalog().pool_id("busy").unwrap());
    assert_eq!(ask(gridtie.http, chat(false, "hi")).await.status, 503);
    folder.write("c.toml", &with(&[("busy", &busy), ("new", &new)]));
    assert_eq!(taken(&gridtie).await, ["+ pool new"]);
    let found = states(&gridtie);
    assert_eq!((found[0].1, found[1].1), ("drained", "slow_start"), "what an operator drained stays drained");
    assert_eq!(served_by(&gridtie).await, "new");
    assert!(get(gridtie.http, "/v1/models").await.text.contains("chat"));
}

#[tokio::test]
async fn a_call_that_waits_goes_to_a_pool_that_came_after_it() {
    let (full, new) = (Endpoint::start(|_| vec![Act::Hold]).await, Endpoint::start(good).await);
    let folder = Folder::new();
    let patient = "\n[[class]]\nname = \"patient\"\nmay_wait = true\ndeadline = \"60s\"\n";
    let with = |pools: &[(&str, &Endpoint)]| {
        config(pools).replacen("tenure = \"owned\"", "tenure = \"owned\"\nmax_in_flight = 1", 1) + patient
    };
    let path = folder.write("c.toml", &with(&[("full", &full)]));
    let gridtie = Running::start_file(&path).await;
    let address = gridtie.http;
    let _holds = tokio::spawn(ask(address, chat(false, "hi")));
    full.was_asked(1).await;
    let waits = tokio::spawn(ask(address, chat(false, "hi")));
    until(async || gridtie.router.with_fleet(|fleet| fleet.in_line()) == 1).await;
    folder.write("c.toml", &with(&[("full", &full), ("new", &new)]));
    assert_eq!(taken(&gridtie).await, ["+ pool new"]);
    let got = timeout(LONG, waits).await.unwrap().unwrap();
    assert_eq!((got.status, got.header("x-gridtie-pool")), (200, "new"), "{}", got.text);
}

#[tokio::test]
async fn what_needs_a_restart_is_said_and_left_as_it_was() {
    let endpoint = Endpoint::start(good).await;
    let folder = Folder::new();
    let text = config(&[("only", &endpoint)]);
    let path = folder.write("c.toml", &text);
    let gridtie = Running::start_file(&path).await;
    let moved = text.replace("http = \"127.0.0.1:0\"", "http = \"127.0.0.1:65000\"");
    folder.write("c.toml", &(moved + "\n[limits]\nbody = \"1MiB\"\nwaiting = 7\n"));
    assert_eq!(
        taken(&gridtie).await,
        [
            "~ limits  waiting",
            "! listen http 127.0.0.1:0, and the file says 127.0.0.1:65000",
            "! limits body 33554432, and the file says 1048576",
        ]
    );
    assert_eq!(served_by(&gridtie).await, "only");
    assert_eq!(gridtie.reloads.standing().needs_restart.len(), 2);
}

#[tokio::test]
async fn a_trial_says_what_would_change_and_changes_nothing() {
    let (a, b) = (Endpoint::start(good).await, Endpoint::start(good).await);
    let folder = Folder::new();
    let path = folder.write("c.toml", &config(&[("a", &a)]));
    let gridtie = Running::start_file(&path).await;
    folder.write("c.toml", &config(&[("b", &b)]));
    let tried = gridtie.reloads.reload(true).await.unwrap();
    assert_eq!((tried.outcome, tried.changes.len()), (Outcome::Good, 2));
    assert_eq!(served_by(&gridtie).await, "a");
    assert!(!Capabilities::CHAT.is_empty());
}

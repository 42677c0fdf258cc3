//! The program itself: exit codes, SIGHUP and `gridtie reload`.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

use super::{Folder, config};
use crate::wire::{Endpoint, LONG, good};

fn gridtie(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gridtie"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn output(args: &[&str]) -> (Option<i32>, String) {
    let done = timeout(LONG, gridtie(args).output()).await.expect("it hangs").unwrap();
    let text = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8(text).unwrap())
}

/// A port that was free a moment ago.
async fn port() -> u16 {
    Endpoint::nobody().await.port()
}

#[tokio::test]
async fn c01_c08_a_config_with_mistakes_ends_in_exit_code_2_with_their_places_and_nothing_listens() {
    let endpoint = Endpoint::start(good).await;
    let folder = Folder::new();
    let port = port().await;
    let right = config(&[("only", &endpoint)])
        .replace("http = \"127.0.0.1:0\"", &format!("http = \"127.0.0.1:{port}\""));
    let twice = right.clone() + &right[right.find("[[pool]]").unwrap()..];
    for (text, expected) in [
        ("[[pool]\n".to_owned(), ":1:"),
        (right.replace("tenure", "tenor"), "did you mean `tenure`?"),
        (right.replace("weight", "w") + "\n[limits]\nwaiting = nan\n", "number"),
        (twice, "there twice"),
        (right[..right.find("[[pool]]").unwrap()].to_owned(), "there is no pool"),
    ] {
        let path = folder.write("c.toml", &text);
        let (code, said) = output(&["serve", "--config", path.to_str().unwrap()]).await;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(expected) && said.contains("c.toml"), "{expected}: {said}");
        assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err(), "somebody listens");
    }
}

#[tokio::test]
async fn sighup_and_the_command_read_the_config_again() {
    let (a, b) = (Endpoint::start(good).await, Endpoint::start(good).await);
    let folder = Folder::new();
    let admin = format!("127.0.0.1:{}", port().await);
    let with = |pools: &[(&str, &Endpoint)]| {
        config(pools).replace("admin = \"127.0.0.1:0\"", &format!("admin = \"{admin}\""))
    };
    let path = folder.write("c.toml", &with(&[("a", &a)]));
    let mut router = gridtie(&["serve", "--config", path.to_str().unwrap()]).spawn().unwrap();
    let mut said = BufReader::new(router.stdout.take().unwrap()).lines();
    let up = async { while !said.next_line().await.unwrap().unwrap().contains(&admin) {} };
    timeout(LONG, up).await.expect("it does not start");
    folder.write("c.toml", &with(&[("a", &a), ("b", &b)]));
    let id = router.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-HUP", &id]).status().await.unwrap().success());
    let seen = async {
        while !output(&["status", "--admin", &admin]).await.1.contains("edition 2") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, seen).await.expect("the signal changed nothing");
    folder.write("c.toml", &with(&[("b", &b)]));
    let (code, said) = output(&["reload", "--admin", &admin, "--dry-run"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("would be taken") && said.contains("- pool a"), "{said}");
    let (code, said) = output(&["reload", "--admin", &admin]).await;
    // The watch may have been quicker.
    assert!(code == Some(0) && said.contains("edition 3"), "{said}");
    folder.write("c.toml", "[[pool]\n");
    let (code, said) = output(&["reload", "--admin", &admin]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("c.toml:1:") && said.contains("what runs goes on: edition 3"), "{said}");
    let (_, status) = output(&["status", "--admin", &admin]).await;
    assert!(status.contains("REFUSED") && status.contains("c.toml:1:"), "{status}");
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    let ended = timeout(LONG, router.wait()).await.expect("it does not end").unwrap();
    assert!(ended.success());
}

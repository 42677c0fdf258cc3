//! Conversations without a name over real sockets: what they begin with says where their next turn goes.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::timeout;

use crate::wire::{Act, Asked, BASE, Client, Endpoint, Got, LONG, Running, pool, tokens};

const ENDPOINTS: usize = 4;

/// Answers slowly, or in a moment, or never, as the last turn says.
fn play(asked: &Asked) -> Vec<Act> {
    match asked.body.rsplit_once("\"content\":").map_or("", |(_, last)| last) {
        last if last.contains("keep me waiting") => vec![Act::Hold],
        last if last.contains("take your time") => tokens("hello", 10, Duration::from_millis(60)),
        _ => tokens("hello", 5, Duration::from_millis(20)),
    }
}

/// Endpoints of one pool where a prompt takes long to read and few calls run at once, and a router before them.
struct Site {
    endpoints: Vec<Endpoint>,
    gridtie: Running,
}

impl Site {
    async fn start() -> Self {
        let mut endpoints = Vec::new();
        for _ in 0..ENDPOINTS {
            endpoints.push(Endpoint::start(play).await);
        }
        let origins: Vec<_> = endpoints.iter().map(Endpoint::origin).collect();
        let slow = pool("near", "openai", &origins)
            .replace("slots = 2000", "slots = 4, prefill_tokens_per_s = 1000");
        Self { endpoints, gridtie: Running::start(&format!("{BASE}{slow}")).await }
    }

    fn asked(&self) -> Vec<usize> {
        self.endpoints.iter().map(Endpoint::asked).collect()
    }

    /// Which endpoint was asked since then: one call, one endpoint.
    fn since(&self, before: &[usize]) -> usize {
        let now = self.asked();
        let grown: Vec<_> = (0..ENDPOINTS).filter(|&i| now[i] > before[i]).collect();
        assert_eq!(grown.len(), 1, "{before:?} to {now:?}");
        grown[0]
    }

    /// Waits until somebody was asked since then, and says who.
    async fn is_asked_since(&self, before: &[usize]) -> usize {
        let waited = async {
            while self.asked() == before {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, waited).await.unwrap();
        self.since(before)
    }
}

/// The turns of a conversation up to the given one, each some 8 KiB long; nothing is said that another says too.
fn turns(conversation: usize, upto: usize, last: &str) -> String {
    let mut messages = format!(r#"{{"role":"system","content":"You are number {conversation}."}}"#);
    for turn in 1..=upto {
        let text = format!("conversation {conversation}, turn {turn}. ").repeat(300);
        let _ = write!(
            messages,
            r#",{{"role":"user","content":"{text}"}},{{"role":"assistant","content":"yes"}}"#
        );
    }
    let _ = write!(messages, r#",{{"role":"user","content":"{last}"}}"#);
    format!(r#"{{"model":"chat","stream":true,"messages":[{messages}]}}"#)
}

/// Plays the first turns of some conversations, all at once, and then the second ones, each after the other. Where they were.
async fn home_of_each(site: &Site, address: SocketAddr) -> Vec<usize> {
    let (mut homes, mut first) = (Vec::new(), Vec::new());
    for conversation in 0..8 {
        let before = site.asked();
        let mut client = Client::connect(address).await;
        first.push(tokio::spawn(async move {
            Got::read(client.chat(turns(conversation, 1, "take your time")).await).await
        }));
        homes.push(site.is_asked_since(&before).await);
    }
    for got in first {
        assert!(got.await.unwrap().is_done());
    }
    assert!(homes.iter().any(|home| *home != homes[0]), "{homes:?}");
    let mut client = Client::connect(address).await;
    for (conversation, home) in homes.iter().enumerate().rev() {
        let before = site.asked();
        let got = Got::read(client.chat(turns(conversation, 2, "go on")).await).await;
        assert!(got.is_done(), "{}", got.text);
        assert_eq!(site.since(&before), *home, "conversation {conversation} of {homes:?}");
    }
    homes
}

#[tokio::test]
async fn the_next_turn_goes_where_the_last_one_was_unless_too_much_is_to_do_there() {
    let site = Site::start().await;
    let homes = home_of_each(&site, site.gridtie.http).await;
    // More and more calls of one conversation that stay: its endpoint takes some, and then others do.
    let (mut held, mut went) = (Vec::new(), Vec::new());
    while went.last().is_none_or(|last| *last == homes[0]) && went.len() < 50 {
        let before = site.asked();
        let mut client = Client::connect(site.gridtie.http).await;
        held.push(tokio::spawn(async move { client.chat(turns(0, 2, "keep me waiting")).await.status() }));
        went.push(site.is_asked_since(&before).await);
    }
    assert!(went.len() >= 2 && went.last() != Some(&homes[0]), "{went:?}, home is {}", homes[0]);
    held.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_router_that_is_asked_by_another_knows_its_conversations_too() {
    let site = Site::start().await;
    let far = pool("far", "grpc", &[format!("http://{}", site.gridtie.grpc)]);
    let far = Running::start(&format!("{BASE}{far}")).await;
    home_of_each(&site, far.http).await;
}

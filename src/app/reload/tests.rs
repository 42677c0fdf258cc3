//! Names that are tried out before a config is taken.

use std::io;
use std::sync::Mutex;

use super::*;
use crate::clock::Clock;
use crate::discover::DnsName;
use crate::telemetry::{LogSink, LogWriter};

fn checked(pools: &[(&str, &str)]) -> Checked {
    let pools = pools.iter().map(|(name, endpoints)| {
        format!(
            "[[pool]]\nname = \"{name}\"\ntenure = \"owned\"\nkind = \"openai\"\nendpoints = {endpoints}\n\
             [[pool.offer]]\nmodel = \"chat\"\n"
        )
    });
    let text = format!("[[model]]\nname = \"chat\"\n{}", pools.collect::<String>());
    let loaded = config::load_str("x.toml", &text, std::path::Path::new(""), &Surroundings::Unread);
    loaded.unwrap_or_else(|problems| panic!("{}", problems.render(false)))
}

fn router(running: &Checked) -> Router {
    build::router(running, Clock::system(), 1, LogWriter::new(LogSink::Off).unwrap(), None).unwrap()
}

/// A resolver that knows one name, and who asked it.
fn resolver(known: &'static str) -> (Lookup, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let keep = asked.clone();
    let lookup: Lookup = Arc::new(move |name: DnsName| {
        keep.lock().unwrap().push(name.host.to_string());
        let answer = match &*name.host {
            host if host == known => Ok(vec!["10.0.0.7:80".parse().unwrap()]),
            "nothing" => Ok(Vec::new()),
            "metadata-in-disguise" => Ok(vec!["169.254.169.254:80".parse().unwrap()]),
            _ => Err(io::Error::other("no such name")),
        };
        Box::pin(std::future::ready(answer))
    });
    (lookup, asked)
}

fn shown(known: &crate::discover::Known) -> Vec<String> {
    known.addresses().iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn n09_an_outage_of_dns_keeps_nobody_from_taking_a_pool_out() {
    let running = checked(&[("a", "[\"dns+http://engines:80\"]"), ("b", "[\"http://other:80\"]")]);
    let (lookup, asked) = resolver("nobody");
    let next = checked(&[("a", "[\"dns+http://engines:80\"]")]);
    let known = trial::hosts(&running, &next, &router(&running), &lookup).await.unwrap();
    assert!(known.is_empty() && asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn n09_a_name_that_is_in_use_may_fail_and_its_last_good_answer_stands() {
    let running = checked(&[("a", "[\"dns+http://engines:80\"]")]);
    let router = router(&running);
    let address = crate::domain::Address {
        origin: "http://engines:80".into(),
        socket: Some("10.0.0.9:80".parse().unwrap()),
    };
    let now = router.clock().now();
    router.with_fleet(|fleet| fleet.set_endpoints(PoolId(0), &[Arc::new(address)], now));
    let (lookup, _) = resolver("more");
    let next = checked(&[("a", "[\"dns+http://engines:80\", \"dns+http://more:80\"]")]);
    let known = trial::hosts(&running, &next, &router, &lookup).await.unwrap();
    assert_eq!(shown(&known["a"]), ["http://engines:80 (10.0.0.9:80)", "http://more:80 (10.0.0.7:80)"]);
}

#[tokio::test]
async fn c03_a_new_name_must_stand_for_something_that_may_be_dialled() {
    let running = checked(&[("a", "[\"http://10.0.0.1:80\"]")]);
    let router = router(&running);
    let (lookup, _) = resolver("known");
    let good = checked(&[("a", "[\"http://10.0.0.1:80\"]"), ("b", "[\"http://known:80\"]")]);
    assert!(trial::hosts(&running, &good, &router, &lookup).await.is_ok());
    for (host, expected) in [
        ("unknown", "cannot be resolved"),
        ("nothing", "stands for no address"),
        ("metadata-in-disguise", "may not be dialled"),
    ] {
        let endpoints = format!("[\"http://known:80\", \"http://{host}:80\"]");
        let wrong = checked(&[("a", "[\"http://10.0.0.1:80\"]"), ("b", &endpoints)]);
        let problems = trial::hosts(&running, &wrong, &router, &lookup).await.unwrap_err();
        let lines: Vec<String> = problems.lines().collect();
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("x.toml:14:33: ") && lines[0].contains(expected), "{lines:?}");
    }
}

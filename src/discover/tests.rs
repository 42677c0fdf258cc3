use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::*;

fn name() -> DnsName {
    DnsName { origin: "http://engines.svc:8000".into(), host: "engines.svc".into(), port: 8000 }
}

fn endpoints() -> Endpoints {
    Endpoints {
        names: vec![name()],
        every: Duration::from_secs(30),
        allow_private: true,
        ..Default::default()
    }
}

fn sockets(last: &[u8]) -> Vec<SocketAddr> {
    last.iter().map(|n| SocketAddr::from(([10, 0, 0, *n], 8000))).collect()
}

fn shown(addresses: &[Arc<Address>]) -> Vec<String> {
    addresses.iter().map(|a| a.socket.map_or_else(|| a.origin.to_string(), |s| s.ip().to_string())).collect()
}

#[test]
fn the_same_answer_in_another_order_is_the_same_endpoints() {
    let mut known = Known::new(&endpoints());
    known.answered(0, &sockets(&[3, 1, 2, 1]));
    let first = known.addresses();
    assert_eq!(shown(&first), ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    known.answered(0, &sockets(&[2, 3, 1]));
    assert_eq!(known.addresses(), first);
}

#[test]
fn n09_an_empty_answer_changes_nothing() {
    let mut known = Known::new(&endpoints());
    known.answered(0, &sockets(&[1]));
    known.answered(0, &[]);
    assert_eq!(shown(&known.addresses()), ["10.0.0.1"]);
}

#[test]
fn s13_an_answer_of_forbidden_addresses_is_as_good_as_none() {
    let metadata: SocketAddr = "169.254.169.254:8000".parse().unwrap();
    let mut known = Known::new(&endpoints());
    known.answered(0, &[metadata]);
    assert!(known.addresses().is_empty());
    let mut public_only = Known::new(&Endpoints { allow_private: false, ..endpoints() });
    public_only.answered(0, &[sockets(&[1])[0], "1.1.1.1:8000".parse().unwrap(), metadata]);
    assert_eq!(shown(&public_only.addresses()), ["1.1.1.1"]);
}

#[test]
fn more_than_the_limit_is_cut_and_fixed_endpoints_come_first() {
    let fixed = Arc::new(Address { origin: "http://fixed:1".into(), socket: None });
    let mut known = Known::new(&Endpoints { fixed: vec![fixed], ..endpoints() });
    let many: Vec<SocketAddr> =
        (0..1000u32).map(|n| SocketAddr::from(((0x0a00_0000 + n).to_be_bytes(), 1))).collect();
    known.answered(0, &many);
    let addresses = known.addresses();
    assert_eq!(addresses.len(), ADDRESSES_MAX);
    assert_eq!(shown(&addresses)[..2], ["http://fixed:1", "10.0.0.0"]);
}

type Answers = VecDeque<io::Result<Vec<SocketAddr>>>;

/// Runs a watch over these answers (then failures for ever) and returns what was told, with the second of it.
async fn told(answers: Vec<io::Result<Vec<SocketAddr>>>, seconds: u64) -> Vec<(u64, Vec<String>)> {
    let answers: Rc<RefCell<Answers>> = Rc::new(RefCell::new(answers.into()));
    let told = Rc::new(RefCell::new(Vec::new()));
    let clock = crate::clock::Clock::system();
    let start = clock.mono();
    let lookup = |_| {
        let answer = answers.borrow_mut().pop_front();
        async move { answer.unwrap_or_else(|| Err(io::Error::other("no answer"))) }
    };
    let tell = |pool, addresses: Vec<Arc<Address>>| {
        assert_eq!(pool, PoolId(7));
        let second = clock.mono().since(start).as_secs();
        told.borrow_mut().push((second, shown(&addresses)));
    };
    let watch = watch(PoolId(7), endpoints(), 1, lookup, tell);
    assert!(timeout(Duration::from_secs(seconds), watch).await.is_err(), "a watch over names never ends");
    told.take()
}

#[tokio::test(start_paused = true)]
async fn changes_are_told_and_repetitions_are_not() {
    let told = told(vec![Ok(sockets(&[1, 2])), Ok(sockets(&[2, 1])), Ok(sockets(&[2, 3]))], 100).await;
    assert_eq!(told.len(), 2);
    assert_eq!(told[0], (0, vec!["10.0.0.1".to_owned(), "10.0.0.2".to_owned()]));
    assert_eq!(told[1].1, ["10.0.0.2", "10.0.0.3"]);
    assert!((48..=72).contains(&told[1].0), "two pauses of about 30 s: {}", told[1].0);
}

#[tokio::test(start_paused = true)]
async fn n09_the_last_good_answer_survives_failures() {
    let told = told(vec![Ok(sockets(&[1])), Ok(vec![]), Err(io::Error::other("down"))], 600).await;
    assert_eq!(told, [(0, vec!["10.0.0.1".to_owned()])]);
}

#[tokio::test(start_paused = true)]
async fn without_any_endpoint_it_asks_every_second() {
    let failure = || Err(io::Error::other("not yet"));
    let told = told(vec![failure(), failure(), failure(), Ok(sockets(&[1]))], 60).await;
    assert_eq!(told.len(), 1);
    assert!((2..=4).contains(&told[0].0), "{}", told[0].0);
}

#[tokio::test(start_paused = true)]
async fn n09_a_lookup_that_hangs_holds_up_neither_fixed_endpoints_nor_the_next_round() {
    let fixed = Arc::new(Address { origin: "http://fixed:1".into(), socket: None });
    let endpoints = Endpoints { fixed: vec![fixed], ..endpoints() };
    let (mut told, lookups) = (Vec::new(), RefCell::new(0));
    let lookup = |_| {
        *lookups.borrow_mut() += 1;
        std::future::pending()
    };
    let watch = watch(PoolId(0), endpoints, 1, lookup, |_, addresses| told.push(shown(&addresses)));
    assert!(timeout(Duration::from_secs(60), watch).await.is_err());
    assert_eq!(told, [["http://fixed:1"]]);
    assert_eq!(*lookups.borrow(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_pool_without_names_is_told_of_once() {
    let fixed = Arc::new(Address { origin: "https://api.example.com".into(), socket: None });
    let endpoints = Endpoints { fixed: vec![fixed], ..Default::default() };
    let mut told = 0;
    watch(PoolId(0), endpoints, 1, |_| std::future::pending(), |_, _| told += 1).await;
    assert_eq!(told, 1);
}

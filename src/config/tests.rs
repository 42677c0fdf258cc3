use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::{Capabilities, ContactWindow, Duration, PoolId, Price, Timestamp};
use crate::engine;

mod mutated;

fn load_text(text: &str) -> Result<Checked, Problems> {
    load_str("x.toml", text, Path::new(""), &Surroundings::Unread)
}

fn loaded(text: &str) -> Checked {
    load_text(text).unwrap_or_else(|problems| panic!("{}", problems.render(false)))
}

/// The smallest config, with a metered pool at an address, and more lines for that pool.
fn cloud(endpoint: &str, lines: &str) -> String {
    format!(
        "[[model]]\nname = \"chat\"\n[[pool]]\nname = \"cloud\"\ntenure = \"metered\"\nkind = \"openai\"\n\
         endpoints = [\"{endpoint}\"]\n{lines}\n[[pool.offer]]\nmodel = \"chat\"\ninput = 1\noutput = 2\n"
    )
}

#[test]
fn the_embedded_config_is_right_and_has_no_warning() {
    let checked = loaded(DEFAULT);
    assert!(checked.warnings.is_empty(), "{}", checked.warnings.render(false));
    assert!(checked.auth.keys.is_empty() && checked.listen.reflection);
    let catalog = &checked.catalog;
    let names: Vec<&str> = catalog.pools.iter().map(|pool| &*pool.name).collect();
    assert_eq!(names, ["owned", "cloud-a", "cloud-b", "far"]);
    assert_eq!(&*catalog.class(catalog.default_class).name, "interactive");
    assert_eq!(checked.endpoints[0].fixed.len(), 4);
    let UpstreamSettings::Simulated(owned) = &checked.upstreams[0] else { panic!("owned is simulated") };
    assert_eq!(owned.engines[..3], [engine::Settings::H100, engine::Settings::H100, engine::Settings::A100]);
    let far = catalog.pool(PoolId(3));
    assert_eq!(far.rtt_prior, Duration::from_millis(600));
    let anchor = Timestamp::from_millis(1_767_225_600_000);
    let window =
        ContactWindow { period: Duration::from_secs(5400), length: Duration::from_secs(720), anchor };
    assert_eq!(far.contact, Some(window));
    let UpstreamSettings::Simulated(simulated) = &checked.upstreams[3] else { panic!("far is simulated") };
    assert_eq!(simulated.door.contact, Some(window), "the simulation keeps to it too");
    let origins: Vec<_> = checked.endpoints[0].fixed.iter().map(|address| &*address.origin).collect();
    assert_eq!(origins, ["sim://owned/0", "sim://owned/1", "sim://owned/2", "sim://owned/3"]);
}

#[test]
fn what_is_not_said_has_its_default() {
    let checked = loaded(&cloud("https://api.example.com", ""));
    let catalog = &checked.catalog;
    let classes: Vec<&str> = catalog.classes.iter().map(|class| &*class.name).collect();
    assert_eq!(classes, ["interactive", "agent", "background"]);
    let offer = &catalog.offers[0];
    assert_eq!(&*offer.upstream_model, "chat");
    assert_eq!(offer.prices.cached, Price::per_million(1.0), "a discount is never assumed");
    assert_eq!(offer.capabilities, Capabilities::CHAT_DEFAULT);
    let pool = catalog.pool(PoolId(0));
    assert_eq!((&*pool.failure_domain, pool.max_in_flight, pool.weight), ("cloud", None, 1.0));
    assert_eq!(checked.listen.grpc.unwrap().port(), 50051);
    assert!(!checked.listen.reflection);
    assert_eq!(checked.limits.body, 32 << 20);
    assert_eq!(checked.drain_grace, Duration::from_secs(30));
}

#[test]
fn floors_that_are_not_said_take_what_the_others_leave_and_all_together_at_most_all() {
    let class = |name: &str, floor: &str| format!("[[class]]\nname = \"{name}\"\n{floor}\n");
    let with = |a: &str, b: &str| {
        let cloud = cloud("https://api.example.com", "");
        load_text(&format!("{}{}{}{cloud}", class("a", a), class("b", b), class("c", "")))
    };
    let floors = |checked: Checked| checked.catalog.classes.iter().map(|c| c.floor).collect::<Vec<_>>();
    assert_eq!(floors(with("floor = 0.5", "").unwrap()), [0.5, 0.05, 0.05]);
    assert_eq!(floors(with("floor = 0.5", "floor = 0.5").unwrap()), [0.5, 0.5, 0.0]);
    let problems = with("floor = 0.75", "floor = 0.5").unwrap_err().to_string();
    assert!(problems.contains("the floors of the classes add up to 1.25"), "{problems}");
}

#[test]
fn growth_is_a_grant_and_must_let_something_grow() {
    let grants = |factor: &str| {
        let growth = format!("growth = {{ factor = {factor}, every = \"15m\", above = 1_000_000 }}");
        load_text(&cloud("https://api.example.com", &format!("grants = {{ {growth} }}")))
    };
    let growth = grants("1.5").unwrap().catalog.pools[0].grants.growth.unwrap();
    assert_eq!((growth.factor, growth.every, growth.above), (1.5, Duration::from_secs(900), 1_000_000));
    assert!(grants("1.05").unwrap_err().to_string().contains("a factor above 1.12"));
}

#[test]
fn capabilities_are_added_and_taken_away() {
    let text = cloud("https://api.example.com", "")
        .replace("input = 1", "capabilities = [\"images\", \"-n\"]\ninput = 1");
    let found = loaded(&text).catalog.offers[0].capabilities;
    let rest = Capabilities::N.lacks(Capabilities::CHAT_DEFAULT);
    assert_eq!(found, rest.with(Capabilities::IMAGES));
    assert!(found.has(Capabilities::CHAT.with(Capabilities::TOOLS)) && !found.has(Capabilities::N));
}

#[test]
fn the_knobs_of_routing_arrive_and_the_rest_keeps_its_defaults() {
    let knobs = "[routing]\npolicy = \"weighted\"\nidle = \"7s\"\n[routing.health]\nfailures = 9\n[routing.retry]\nattempts = 2\n";
    let routing = loaded(&format!("{knobs}{}", cloud("https://api.example.com", ""))).routing;
    let mut expected = crate::fleet::Settings::default();
    expected.choice.policy = crate::policy::Policy::Weighted;
    expected.choice.idle = Duration::from_secs(7);
    expected.health.failures = 9;
    expected.retry.attempts = 2;
    assert_eq!(routing, expected);
}

#[test]
fn decisions_are_on_record_only_where_a_file_is_named() {
    let cloud = cloud("https://api.example.com", "");
    assert_eq!(loaded(&cloud).records, None);
    let text = format!("[records]\nfile = \"decisions.jsonl\"\n{cloud}");
    let folder = Path::new("/etc/gridtie");
    let checked = load_str("x.toml", &text, folder, &Surroundings::Unread).unwrap();
    let expected = Records { file: folder.join("decisions.jsonl"), share: 0.01, max_size: 64 << 20 };
    assert_eq!(checked.records, Some(expected));
    let text = format!("[records]\nfile = \"/var/d\"\nshare = 1\nmax_size = \"1MiB\"\n{cloud}");
    let expected = Records { file: "/var/d".into(), share: 1.0, max_size: 1 << 20 };
    assert_eq!(loaded(&text).records, Some(expected));
    for wrong in ["", "file = \"\"", "file = \"d\"\nshare = 1.5", "file = \"d\"\nmax_size = \"9B\""] {
        assert!(load_text(&format!("[records]\n{wrong}\n{cloud}")).is_err(), "{wrong}");
    }
}

#[test]
fn what_a_simulation_plays_arrives_and_says_nothing_when_nothing_is_said() {
    let cloud = cloud("https://api.example.com", "");
    assert_eq!(loaded(&cloud).simulate, Simulate::default());
    let event = "[[simulate.event]]\npool = \"cloud\"\nslow = 4.0\nat = \"25m\"\nends = \"35m\"\n";
    let simulate = format!("[simulate]\nload = 1.2\nmix = {{ agent = 3, interactive = 1 }}\n{event}{cloud}");
    let simulate = loaded(&simulate).simulate;
    assert_eq!(simulate.load, Some(1.2));
    assert_eq!(
        simulate.mix.iter().map(|(class, share)| (class.0, *share)).collect::<Vec<_>>(),
        [(1, 3.0), (0, 1.0)]
    );
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let trouble = Trouble::Slow { endpoint: None, factor: 4.0 };
    let event = SimulateEvent { at: minutes(25), ends: Some(minutes(35)), pool: PoolId(0), trouble };
    assert_eq!(simulate.events, [event]);
}

#[test]
fn secrets_are_read_once_and_stay_out_of_sight() {
    let text = cloud("https://api.example.com", "key = \"env:CLOUD_KEY\"");
    let given = BTreeMap::from([("env:CLOUD_KEY".to_owned(), "sk-canary\n".to_owned())]);
    let checked = load_str("x.toml", &text, Path::new(""), &Surroundings::Given(given)).unwrap();
    let UpstreamSettings::OpenAi(settings) = &checked.upstreams[0] else { panic!("it is openai") };
    assert_eq!(secrecy::ExposeSecret::expose_secret(settings.key.as_ref().unwrap()), "sk-canary");
    assert!(!format!("{checked:?}").contains("canary"));
}

#[test]
fn a_key_that_cannot_be_a_header_is_refused_without_being_shown() {
    let text = cloud("https://api.example.com", "key = \"env:CLOUD_KEY\"");
    let given = BTreeMap::from([("env:CLOUD_KEY".to_owned(), "sk\ncanary".to_owned())]);
    let problems = load_str("x.toml", &text, Path::new(""), &Surroundings::Given(given)).unwrap_err();
    assert!(problems.to_string().contains("cannot be a key"), "{problems}");
    assert!(!problems.render(false).contains("canary"));
}

#[test]
fn tls_files_that_do_not_fit_are_refused_when_the_config_is_checked() {
    let tls = "[listen]\ntls = { cert = \"env:CERT\", key = \"env:KEY\" }\n";
    let text = format!("{tls}{}", cloud("https://api.example.com", ""));
    let load_with = |cert: String, key: String| {
        let given = BTreeMap::from([("env:CERT".to_owned(), cert), ("env:KEY".to_owned(), key)]);
        load_str("x.toml", &text, Path::new(""), &Surroundings::Given(given))
    };
    let make = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (one, other) = (make(), make());
    assert!(load_with(one.cert.pem(), one.signing_key.serialize_pem()).is_ok());
    let problems = load_with(one.cert.pem(), other.signing_key.serialize_pem()).unwrap_err();
    assert!(problems.to_string().contains("x.toml:2:7: this is no TLS identity"), "{problems}");
    let problems = load_with("nothing".to_owned(), "canary".to_owned()).unwrap_err();
    assert!(!problems.render(false).contains("canary"));
}

#[test]
fn roots_that_are_none_are_refused_when_the_config_is_checked() {
    let text = cloud("https://api.example.com", "ca = \"env:CA\"");
    let load_with = |ca: &str| {
        let given = BTreeMap::from([("env:CA".to_owned(), ca.to_owned())]);
        load_str("x.toml", &text, Path::new(""), &Surroundings::Given(given))
    };
    let problems = load_with("not PEM").unwrap_err();
    assert!(problems.to_string().contains("x.toml:8:6: the pool `cloud` cannot be set up: ca"), "{problems}");
    assert!(load_with(&rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap().cert.pem()).is_ok());
}

/// The messages of the warnings, and nothing is refused.
fn warnings(text: &str) -> Vec<String> {
    loaded(text).warnings.list().iter().map(|problem| problem.message.clone()).collect()
}

#[test]
fn a_key_in_clear_text_over_the_internet_is_a_warning_and_next_door_is_not() {
    let key = "key = \"env:K\"";
    assert_eq!(
        warnings(&cloud("http://api.example.com", key)),
        ["the key of this pool is sent in clear text"]
    );
    assert!(warnings(&cloud("https://api.example.com", key)).is_empty());
    assert!(warnings(&cloud("http://api.example.com", "")).is_empty());
    let next_door = format!("{key}\nallow_private = true");
    assert!(warnings(&cloud("http://10.0.0.1", &next_door)).is_empty());
}

#[test]
fn a_model_that_nobody_offers_is_a_warning() {
    let text = format!("[[model]]\nname = \"other\"\n{}", cloud("https://api.example.com", ""));
    assert_eq!(warnings(&text), ["nobody offers the model `other`"]);
}

#[test]
fn a_target_that_no_pool_can_meet_is_a_warning() {
    let class = "[[class]]\nname = \"eager\"\nfirst_token = \"50ms\"\n";
    let text = format!("{class}{}", cloud("https://api.example.com", ""));
    let found = warnings(&text);
    assert!(found.len() == 1 && found[0].contains("first token of chat within 50ms"), "{found:?}");
}

#[test]
fn a_metered_offer_without_prices_is_a_warning_only_where_prices_decide() {
    let text = cloud("https://api.example.com", "").replace("input = 1\noutput = 2\n", "");
    assert_eq!(warnings(&text), ["the offer of `chat` is metered and has no prices"]);
    assert!(warnings(&format!("[routing]\npolicy = \"ordered\"\n{text}")).is_empty());
}

#[test]
fn a_broken_record_does_not_make_the_names_in_it_unknown() {
    let text = cloud("https://api.example.com", "").replacen("name = \"chat\"", "nmae = \"chat\"", 1);
    let problems = load_text(&text).unwrap_err();
    let found: Vec<&str> = problems.list().iter().map(|problem| &*problem.message).collect();
    assert_eq!(found, ["`model` lacks the key `name`", "unknown key `nmae` in `model`"]);
}

#[test]
fn every_syntax_error_is_found_and_nothing_else() {
    let problems = load_text("[[pool]\nname = \n[routing]\npolicy = 'x\n").unwrap_err();
    assert!(problems.errors() >= 2, "{problems}");
    assert!(!problems.to_string().contains("unknown"), "{problems}");
}

#[test]
fn colours_are_only_there_when_they_are_wanted() {
    let problems = load_text("x = 1").unwrap_err();
    assert!(problems.render(true).contains('\x1b'));
    assert!(!problems.render(false).contains('\x1b'));
}

#[test]
fn the_schema_names_every_key_of_the_default() {
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    for (record, key) in
        [("Pool", "offer"), ("Offer", "cached"), ("Class", "miss_usd"), ("Listen", "reflection")]
    {
        let schema = &schema["$defs"][record]["properties"][key];
        assert!(schema["description"].as_str().is_some_and(|doc| !doc.is_empty()), "{record}.{key}");
    }
    assert_eq!(schema["$defs"]["Pool"]["required"], serde_json::json!(["name", "tenure", "kind"]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A config is treated as if it were hostile: whatever is cut out of it or put into it, it is taken or refused.
    #[test]
    fn no_text_makes_it_panic_or_show_a_secret(at in 0..DEFAULT.len(), cut in 0..80_usize, put in "[\\[\\]{}\"'=.,#\n -~é]{0,12}") {
        let from = DEFAULT.floor_char_boundary(at);
        let to = DEFAULT.ceil_char_boundary((at + cut).min(DEFAULT.len()));
        let text = format!("[auth]\nadmin_token = \"canary\"\n{}{put}{}", &DEFAULT[..from], &DEFAULT[to..]);
        let problems = load_text(&text).unwrap_err();
        prop_assert!(problems.errors() > 0);
        prop_assert!(!problems.render(true).contains("canary"));
        let debug = format!("{problems:?}");
        prop_assert!(!debug.contains("canary"));
    }
}

use super::*;

fn gate() -> Gate {
    let key =
        |key: &str, tenant| ClientKey { hash: KeyHash::of(key), tenant: TenantId(tenant), prefix: None };
    let keys = (1..100).map(|n| key(&format!("gtk_{n}"), n)).collect();
    Gate::new(Settings { keys, admin_token: Some("admin-canary".to_owned().into()) })
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[test]
fn a_known_key_is_its_tenant_in_either_header() {
    let gate = gate();
    for n in [1, 57, 99] {
        let key = format!("gtk_{n}");
        assert_eq!(gate.client(&headers(&[("authorization", &format!("Bearer {key}"))])), Ok(TenantId(n)));
        assert_eq!(gate.client(&headers(&[("authorization", &format!("bearer  {key}"))])), Ok(TenantId(n)));
        assert_eq!(gate.client(&headers(&[("x-api-key", &key)])), Ok(TenantId(n)));
    }
}

#[test]
fn anything_else_is_unauthenticated() {
    let gate = gate();
    let long = "x".repeat(KEY_MAX + 1);
    for pairs in [
        &[][..],
        &[("authorization", "")],
        &[("authorization", "gtk_1")],
        &[("authorization", "Basic gtk_1")],
        &[("authorization", "Bearer ")],
        &[("authorization", "Bearer gtk_100")],
        &[("x-api-key", &*long)],
        &[("x-api-key", "gtk_1"), ("x-api-key", "gtk_2")],
        &[("x-api-key", "gtk_1"), ("authorization", "Bearer gtk_2")],
        &[("x-api-key", "gtk_1"), ("authorization", "Basic abc")],
    ] {
        assert_eq!(gate.client(&headers(pairs)), Err(Refusal::Unauthenticated), "{pairs:?}");
    }
}

#[test]
fn s14_a_key_is_compared_whole_and_not_by_what_it_is_found_by() {
    // Found by its first eight bytes, of which nobody can steer one; all of it is then compared in constant time.
    let known = KeyHash::of("gtk_1").to_string();
    let (found_by, rest) = known.split_at("sha256:".len() + 16);
    for at in [0, 20, rest.len() - 1] {
        let mut other = rest.to_owned();
        let digit = if other.as_bytes()[at] == b'0' { "1" } else { "0" };
        other.replace_range(at..=at, digit);
        let hash = KeyHash::parse(&format!("{found_by}{other}")).unwrap();
        let keys = vec![ClientKey { hash, tenant: TenantId(1), prefix: None }];
        let gate = Gate::new(Settings { keys, admin_token: None });
        let shown = headers(&[("x-api-key", "gtk_1")]);
        assert_eq!(gate.client(&shown), Err(Refusal::Unauthenticated), "digit {at}");
    }
}

#[test]
fn the_same_key_in_both_headers_is_one_key() {
    let pairs = [("x-api-key", "gtk_1"), ("authorization", "Bearer gtk_1")];
    assert_eq!(gate().client(&headers(&pairs)), Ok(TenantId(1)));
}

#[test]
fn an_open_gate_takes_any_key_for_the_anonymous_tenant() {
    let gate = Gate::new(Settings::default());
    assert_eq!(gate.client(&headers(&[])), Ok(TenantId(0)));
    assert_eq!(gate.client(&headers(&[("authorization", "Bearer sk-whatever")])), Ok(TenantId(0)));
}

#[test]
fn admin_needs_loopback_or_the_token() {
    let [loopback, mapped, far] = ["127.0.0.1", "::ffff:127.0.0.1", "10.0.0.1"].map(|ip| ip.parse().unwrap());
    let open = Gate::new(Settings::default());
    assert_eq!(open.admin(loopback, &headers(&[])), Ok(()));
    assert_eq!(open.admin(mapped, &headers(&[])), Ok(()));
    assert_eq!(open.admin(far, &headers(&[])), Err(Refusal::Unauthenticated));
    let token = headers(&[("authorization", "Bearer admin-canary")]);
    assert_eq!(gate().admin(far, &token), Ok(()));
    assert_eq!(
        gate().admin(far, &headers(&[("authorization", "Bearer admin")])),
        Err(Refusal::Unauthenticated)
    );
    assert_eq!(gate().admin(loopback, &headers(&[])), Ok(()), "whoever is here may");
}

#[test]
fn a_hash_survives_print_and_parse_and_refuses_anything_else() {
    let hash = KeyHash::of("gtk_1");
    assert_eq!(KeyHash::parse(&hash.to_string()), Some(hash));
    for wrong in ["", "sha256:", "gtk_1", "sha256:zz", &format!("sha256:{}", "g".repeat(64))] {
        assert_eq!(KeyHash::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn s15_nothing_secret_shows_in_debug() {
    let shown = format!("{:?}", gate());
    assert!(!shown.contains("canary") && !shown.contains("gtk_"), "{shown}");
    assert!(!shown.contains(&KeyHash::of("gtk_1").to_string()));
}

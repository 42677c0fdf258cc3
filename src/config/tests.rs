use super::*;

#[test]
fn the_embedded_config_is_right_and_has_no_warning() {
    match load_str("default.toml", DEFAULT, Path::new(""), &Surroundings::Unread) {
        Ok(checked) => assert!(checked.warnings.is_empty(), "{}", checked.warnings.render(false)),
        Err(problems) => panic!("{}", problems.render(false)),
    }
}

use super::*;

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn load(pairs: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    Config::from_sources(None, variables(pairs))
}

#[test]
fn nothing_at_all_is_a_valid_development_configuration() {
    let config = load(&[]).unwrap();

    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.general.mode, Mode::Development);
}

#[test]
fn the_environment_wins_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tenantry.toml");
    let text = "[http]\nlisten = \"127.0.0.1:1\"\nmax_in_flight = 7\n[limits]\nuser_per_second = 3";
    std::fs::write(&path, text).unwrap();

    let environment = variables(&[("TENANTRY__HTTP__LISTEN", "127.0.0.1:2")]);
    let config = Config::from_sources(Some(&path), environment).unwrap();

    assert_eq!(config.http.listen.to_string(), "127.0.0.1:2");
    assert_eq!(config.http.max_in_flight, Number(7));
    assert_eq!(config.limits.user_per_second, Number(3));
}

#[test]
fn names_of_the_ecosystem_work_too() {
    let config = load(&[("JWT_SECRET", "12345"), ("MAIL_FROM", "a@b.example")]).unwrap();

    assert_eq!(config.login.jwt_secret.unwrap().expose(), "12345");
    assert_eq!(config.mail.from, "a@b.example");
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let errors = load(&[
        ("TENANTRY__HTTP__LISTEN", "here"),
        ("TENANTRY__LIMITS__USER_PER_SECOND", "0"),
        ("TENANTRY__HTPP__LISTEN", "127.0.0.1:1"),
        ("TENANTRY__MODE", "staging"),
    ])
    .unwrap_err();

    let text = errors.to_string();
    for part in ["http.listen", "limits.user_per_second", "TENANTRY__HTPP__LISTEN", "mode"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn production_refuses_development_defaults() {
    let text = load(&[("TENANTRY__MODE", "production")]).unwrap_err().to_string();

    for part in ["http.public_url", "SMTP_URL", "MAIL_FROM", "OPERATOR_TOKEN"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn a_mail_server_is_named_by_an_smtp_url() {
    let text = load(&[("SMTP_URL", "ftp://u:hunter2@h")]).unwrap_err().to_string();

    assert!(text.contains("`SMTP_URL`"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn secrets_are_never_printed() {
    let config = load(&[("JWT_SECRET", "hunter2hunter2"), ("SMTP_URL", "smtp://u:hunter2@h")]);

    let config = config.unwrap();
    let printed = format!("{config:?} {}", toml::to_string(&config).unwrap());
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn the_example_file_is_the_one_that_the_structs_make_and_it_works() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tenantry.example.toml");

    let committed = std::fs::read_to_string(&path).unwrap_or_default();

    assert_eq!(committed, docs::example(), "write the file with `tenantry docs example`");
    Config::from_sources(Some(&path), []).unwrap();
}

#[test]
fn the_page_in_the_book_is_the_one_that_the_structs_make() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/src/configuration.md");

    let committed = std::fs::read_to_string(path).unwrap_or_default();

    assert_eq!(committed, docs::page(), "write the page with `tenantry docs configuration`");
}

//! The rules that the compiler and clippy cannot check: arrows, absences and sizes.
//!
//! Each rule says why it holds; a failure lists every place that breaks it.

mod source;

use source::{Source, all_rust_files, manifest, names, rust_files};

/// Lines of code in one file, without its inline tests.
const MAX_FILE_LINES: usize = 500;

/// Targets of the Makefile: more than that nobody remembers.
const MAX_MAKE_TARGETS: usize = 12;

/// Modules that are pure: same input, same output, whenever and wherever they run.
const PURE: &[&str] = &[
    "actors/money.rs",
    "actors/money/",
    "actors/tenant/period.rs",
    "actors/tenant/period/",
    "actors/tenant/plan.rs",
    "actors/tenant/plan/",
    "actors/tenant/quota.rs",
    "actors/tenant/quota/",
    "actors/tenant/steps.rs",
    "actors/tenant/steps/",
    "actors/tenant/state.rs",
    "actors/journal/entry.rs",
    "actors/journal/entry/",
];

/// Our crates and which of ours each may depend on, as the house's arrows say.
const ARROWS: &[(&str, &[&str])] = &[
    ("supervision", &[]),
    ("actors", &["tenantry-supervision"]),
    (".", &["tenantry-actors", "tenantry-supervision"]),
    ("chaos", &["tenantry", "tenantry-actors", "tenantry-supervision"]),
    ("load", &[]),
];

/// A word that only some places may say.
struct Ban {
    /// What must not be named.
    words: &'static [&'static str],
    /// Below which folders the rule holds.
    within: &'static [&'static str],
    /// Paths that begin like this may say it.
    except: &'static [&'static str],
    /// What would go wrong otherwise.
    because: &'static str,
}

/// Who may name what.
const BANS: &[Ban] = &[
    Ban {
        words: &["sqlx", "libsqlite3_sys"],
        within: &["src", "actors", "supervision"],
        except: &["actors/database.rs", "actors/database/"],
        because: "only the database module speaks to databases",
    },
    Ban {
        words: &["SELECT", "INSERT INTO", "DELETE FROM", "UPDATE"],
        within: &["src", "supervision"],
        except: &[],
        because: "the front end knows no SQL",
    },
    Ban {
        words: &["axum", "hyper", "hyper_util", "tower", "tower_http", "utoipa"],
        within: &["actors", "supervision"],
        except: &[],
        because: "the domain knows no HTTP server",
    },
    Ban {
        words: &["SystemTime", "std::time::Instant", "Timestamp::now", "Zoned::now"],
        within: &["src", "actors", "supervision"],
        except: &["actors/clock.rs"],
        because: "only the clock reads time; tests can set it",
    },
    Ban {
        words: &["tokio::spawn", "task::spawn", "JoinSet", "spawn_local", "thread::spawn"],
        within: &["src", "actors", "supervision", "chaos"],
        except: &["supervision/spawn.rs", "supervision/spawn/"],
        because: "every task has a name, an owner and an end",
    },
    Ban {
        words: &["env::var", "env::vars", "env::var_os", "env::vars_os"],
        within: &["src", "actors", "supervision", "chaos"],
        // The last is for tests alone: it tells them on which database they run.
        except: &[
            "src/config.rs",
            "src/config/",
            "chaos/harness/server.rs",
            "actors/database/testing.rs",
        ],
        because: "only the configuration reads the environment",
    },
    Ban {
        words: &["unbounded_channel", "mpsc::channel()", "UnboundedSender"],
        within: &["src", "actors", "supervision", "chaos"],
        except: &[],
        because: "no queue without a bound",
    },
    Ban {
        words: &["backoff"],
        within: &["src", "actors", "supervision"],
        except: &["supervision/retry.rs", "supervision/retry/"],
        because: "an unmaintained crate stays in one replaceable file",
    },
    Ban {
        words: &["failsafe"],
        within: &["src", "actors", "supervision"],
        except: &["supervision/breaker.rs", "supervision/breaker/"],
        because: "what the crate lacks is added around it in one place",
    },
    Ban {
        words: &["anyhow"],
        within: &["src", "actors", "supervision"],
        except: &["src/main.rs", "src/cli.rs", "src/cli/"],
        because: "errors that a caller can tell apart are typed",
    },
    Ban {
        words: &["#[allow(", "#![allow("],
        within: &["src", "actors", "supervision", "chaos", "load", "tests"],
        except: &["tests/it/architecture.rs"],
        because: "an exception is an `expect` with its reason, so that it goes when it is not needed",
    },
    Ban {
        words: &["#[ignore", "#[should_panic"],
        within: &["src", "actors", "supervision", "chaos", "load", "tests"],
        except: &["tests/it/architecture.rs"],
        because: "a test runs, and says what it expects",
    },
    Ban {
        words: &["async", "await", "tokio", "f32", "f64", "fs", "SystemTime", "rand", "tracing"],
        within: &["actors"],
        except: &[],
        because: "a pure module has no waiting, clock, input, output or float",
    },
];

/// Words of the domain and of protocols, none of which supervision may know.
const DOMAIN_WORDS: &[&str] = &[
    "tenant", "quota", "journal", "meter", "invoice", "stripe", "sql", "sqlite", "http", "smtp",
    "mail", "render", "video", "usage", "billing",
];

#[test]
fn crates_depend_along_the_arrows() {
    for (folder, allowed) in ARROWS {
        let manifest = manifest(folder);
        let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table).unwrap();
        for name in dependencies.keys().filter(|name| name.starts_with("tenantry")) {
            assert!(allowed.contains(&name.as_str()), "{folder} may not depend on {name}");
        }
    }
}

#[test]
fn only_the_workspace_names_versions_and_every_crate_takes_its_lints() {
    for (folder, _) in ARROWS {
        let manifest = manifest(folder);
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(table) = manifest.get(section).and_then(toml::Value::as_table) else {
                continue;
            };
            for (name, value) in table {
                let inherited = value.get("workspace").and_then(toml::Value::as_bool);
                assert_eq!(inherited, Some(true), "{folder}: {name} names a version of its own");
            }
        }
        let lints = manifest["lints"]["workspace"].as_bool();
        assert_eq!(lints, Some(true), "{folder} does not take the workspace's lints");
    }
}

#[test]
fn panics_unwind_in_every_profile() {
    let manifest = manifest(".");

    for (name, profile) in manifest["profile"].as_table().unwrap() {
        let panic = profile.get("panic").and_then(toml::Value::as_str).unwrap_or("unwind");
        assert_eq!(panic, "unwind", "profile {name}: a panic must restart one tenant, not end all");
    }
}

#[test]
fn only_the_places_that_may_name_a_thing_name_it() {
    let mut broken = Vec::new();
    for ban in BANS {
        let pure_only = ban.words.contains(&"async");
        for source in ban.within.iter().flat_map(|folder| rust_files(folder)) {
            let excepted = ban.except.iter().any(|path| source.path.starts_with(path));
            let tested = source.is_test() && !ban.within.contains(&"tests");
            if excepted || tested || (pure_only && !is_pure(&source)) {
                continue;
            }
            for line in ban.words.iter().flat_map(|word| source.lines_naming(word)) {
                broken.push(format!("{line}\n    rule: {}", ban.because));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn supervision_knows_no_domain_and_no_protocol() {
    let mut broken = Vec::new();
    for source in rust_files("supervision").iter().filter(|source| !source.is_test()) {
        let mut is_example = false;
        for (number, line) in source.text.lines().enumerate() {
            // An example may be about mail: it shows how the block is used, not what it is.
            is_example ^= line.trim_start().starts_with("/// ```");
            let lower = if is_example { String::new() } else { line.to_lowercase() };
            for word in DOMAIN_WORDS {
                let plural = format!("{word}s");
                if names(&lower, word) || names(&lower, &plural) {
                    broken.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "domain words in supervision:\n{}", broken.join("\n"));
}

#[test]
fn no_metric_carries_a_tenant_or_another_id() {
    let mut broken = Vec::new();
    for source in all_rust_files() {
        for label in ["tenant", "tenant_id", "user", "user_id", "job", "job_id", "request_id"] {
            for arrow in [format!("\"{label}\" =>"), format!("\"{label}\"=>")] {
                let found = source.code().filter(|(_, line)| line.contains(&arrow));
                broken.extend(found.map(|(number, _)| format!("{}:{number}", source.path)));
            }
        }
    }
    assert!(broken.is_empty(), "ids as metric labels grow without end:\n{}", broken.join("\n"));
}

#[test]
fn files_are_short_and_begin_with_what_they_are() {
    let mut broken = Vec::new();
    for source in all_rust_files() {
        let lines = source.code().count();
        if lines > MAX_FILE_LINES {
            broken.push(format!("{}: {lines} lines of code", source.path));
        }
        if !source.is_test() && !source.text.starts_with("//! ") {
            broken.push(format!("{}: the first line does not say what it is", source.path));
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn every_exception_in_deny_toml_says_why() {
    let deny: toml::Table = Source::read("deny.toml").text.parse().unwrap();

    for entry in deny["advisories"]["ignore"].as_array().unwrap() {
        let reason = entry.get("reason").and_then(toml::Value::as_str).unwrap_or_default();
        assert!(reason.len() > 20, "no reason beside {entry}");
    }
}

#[test]
fn the_makefile_stays_small_enough_to_remember() {
    let makefile = Source::read("Makefile").text;

    let targets = makefile.lines().filter(|line| line.contains(": ## ")).count();

    assert!((1..=MAX_MAKE_TARGETS).contains(&targets), "{targets} targets");
}

fn is_pure(source: &Source) -> bool {
    PURE.iter().any(|path| source.path.starts_with(path))
}

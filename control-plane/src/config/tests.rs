use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use clap::CommandFactory as _;
use secrecy::ExposeSecret as _;

use super::*;
use crate::auth::ResourceUrl;

const FLEET: [&str; 2] = ["--fleet-bind=127.0.0.1:8789", "--join-token=0123456789abcdef"];

/// With nothing from this process's environment but where its home is.
fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
    let arguments = ["dynamic-mcp"]
        .into_iter()
        .chain(arguments.iter().copied())
        .map(OsString::from);
    Cli::read_from(arguments, |_| None)
}

/// A build without an embedded executor needs a fleet, so every test has one unless it says otherwise.
fn settings(arguments: &[&str]) -> Result<Settings, ConfigError> {
    let arguments = [["--state-dir=/state"].as_slice(), &FLEET, arguments].concat();
    parse(&arguments).unwrap().config.validate()
}

fn refused(arguments: &[&str]) -> String {
    settings(arguments).unwrap_err().to_string()
}

fn misread(arguments: &[&str]) -> String {
    parse(arguments).unwrap_err().to_string()
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_setting_is_a_flag_and_an_id_named_after_its_variable() {
    for arg in Cli::command().get_arguments() {
        let Some(variable) = arg.get_env().and_then(|name| name.to_str()) else {
            continue;
        };
        assert!(arg.get_help().is_some(), "{variable} has no help");
        if let Some(name) = variable.strip_prefix("MCP_") {
            let name = name.to_ascii_lowercase();
            assert_eq!(arg.get_long(), Some(name.replace('_', "-").as_str()));
            assert_eq!(arg.get_id().as_str(), name, "{variable}");
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn any_value_of_any_setting_is_taken_or_refused_in_words_that_hold_no_secret(
        which in 0_usize..1_000,
        value in "(-?[0-9]{1,20}|[a-z/:,.@*=]{0,12}|https?://[a-z.:/]{0,9}|.{0,10})",
    ) {
        let command = Cli::command();
        let flags: Vec<_> = command.get_arguments().filter(|arg| arg.get_env().is_some()).collect();
        let flag = flags[which % flags.len()];
        let name = flag.get_long().unwrap();
        // Not the one that asks for a token.
        let is_secret = name.ends_with("token") && name != "require-admin-token";
        let value = if is_secret { format!("must-not-be-seen{value}") } else { value };
        let said = match parse(&[&format!("--{name}={value}"), FLEET[0]]) {
            Err(misread) => misread.to_string(),
            Ok(cli) => match cli.config.validate() {
                Err(refused) => refused.to_string(),
                Ok(settings) => format!("{settings:?}"),
            },
        };
        proptest::prop_assert!(!is_secret || !said.contains("must-not-be-seen"), "{}: {}", name, said);
    }
}

#[test]
fn every_variable_of_the_contract_is_there() {
    let contract = "MCP_TRANSPORT MCP_PROFILE MCP_HOST MCP_PORT MCP_PATH MCP_HTTP_SESSION_TTL_SECONDS \
        MCP_HTTP_MAX_REQUEST_BYTES MCP_DYNAMIC_BACKEND MCP_DYNAMIC_STORE MCP_DYNAMIC_PG_URL MCP_DYNAMIC_PG_SCHEMA \
        MCP_DYNAMIC_PG_INIT_MAX_ATTEMPTS MCP_DYNAMIC_PG_INIT_BACKOFF_MS MCP_DYNAMIC_MAX_TOOLS MCP_DYNAMIC_READ_ONLY \
        MCP_REQUIRE_ADMIN_TOKEN MCP_ADMIN_TOKEN MCP_SANDBOX_MAX_DEPENDENCIES MCP_SANDBOX_MAX_OUTPUT_BYTES \
        MCP_SANDBOX_MAX_TIMEOUT_MS MCP_SANDBOX_ALLOWED_IMAGES MCP_SANDBOX_BLOCKED_PACKAGES \
        MCP_SANDBOX_SESSION_TIMEOUT_SECONDS MCP_SANDBOX_MAX_SESSIONS MCP_TOOL_MAX_CONCURRENCY \
        MCP_TOOL_MAX_CALLS_PER_WINDOW MCP_TOOL_RATE_WINDOW_MS MCP_AUTH_MODE MCP_AUTH_JWKS_URL MCP_AUTH_ISSUER \
        MCP_AUTH_AUDIENCE MCP_AUTH_REQUIRED_SCOPES MCP_AUDIT_ENABLED MCP_AUDIT_FILE MCP_AUDIT_MAX_EVENT_BYTES \
        MCP_AUDIT_MAX_FILE_BYTES MCP_AUDIT_MAX_FILES";
    let engine = "MCP_EXECUTION_ENGINE MCP_SANDBOX_MEMORY_LIMIT MCP_SANDBOX_CPU_LIMIT";
    let engine = if cfg!(feature = "embedded-executor") {
        engine
    } else {
        ""
    };
    let command = Cli::command();
    let known: Vec<_> = command
        .get_arguments()
        .filter_map(|arg| arg.get_env()?.to_str())
        .collect();
    for variable in contract.split_whitespace().chain(engine.split_whitespace()) {
        assert!(known.contains(&variable), "{variable}");
    }
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let settings = settings(&[]).unwrap();
    assert_eq!(settings.transport, Transport::Stdio);
    assert_eq!(
        (settings.http.host.as_str(), settings.http.port),
        ("127.0.0.1", 8788)
    );
    assert_eq!(
        (settings.http.path.as_str(), settings.http.max_request_bytes),
        ("/mcp", 1_048_576)
    );
    assert_eq!(settings.http.session_ttl, Duration::from_secs(1_800));
    assert!(
        matches!(&settings.registry.backend, Backend::File { store } if store == Path::new("/state/tools.sqlite"))
    );
    assert_eq!(
        (settings.tenant.max_tools, settings.registry.read_only),
        (256, false)
    );
    assert_eq!(settings.guard.limits.max_concurrency, 8);
    assert_eq!(
        (
            settings.guard.limits.max_calls_per_window,
            settings.guard.limits.window_ms
        ),
        (300, 60_000)
    );
    assert!(settings.audit.enabled);
    assert_eq!(settings.audit.file, Path::new("/state/audit.jsonl"));
    assert_eq!(
        (settings.audit.max_event_bytes, settings.audit.max_file_bytes),
        (20_000, 10_000_000)
    );
    assert_eq!(
        (settings.audit.max_files, settings.shutdown_grace),
        (5, Duration::from_secs(30))
    );
    assert!(settings.warnings.is_empty(), "{:?}", settings.warnings);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    for (arguments, variable) in [
        (["--dynamic-backend=postgres"].as_slice(), "MCP_DYNAMIC_BACKEND"),
        (
            &["--dynamic-pg-url=postgres://hunter2@db/x"],
            "MCP_DYNAMIC_PG_URL",
        ),
        (
            &["--dynamic-backend=postgres", "--dynamic-pg-url=hunter2"],
            "MCP_DYNAMIC_PG_URL",
        ),
        (
            &[
                "--dynamic-backend=postgres",
                "--dynamic-pg-url=postgres://hunter2@db/x",
                "--dynamic-store=x",
            ],
            "MCP_DYNAMIC_STORE",
        ),
        (&["--require-admin-token"], "MCP_REQUIRE_ADMIN_TOKEN"),
        (&["--port=80"], "MCP_PORT"),
        (&["--dynamic-pg-schema=x"], "MCP_DYNAMIC_PG_SCHEMA"),
        (
            &["--audit-enabled=no", "--audit-max-files=3"],
            "MCP_AUDIT_MAX_FILES",
        ),
        (
            &["--audit-max-event-bytes=20000", "--audit-max-file-bytes=10000"],
            "MCP_AUDIT_MAX_EVENT_BYTES",
        ),
    ] {
        let message = refused(arguments);
        assert!(message.starts_with(&format!("{variable} (--")), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn executors_need_a_join_token_to_join_with() {
    let refused = |arguments: &[&str]| {
        parse(arguments)
            .unwrap()
            .config
            .validate()
            .unwrap_err()
            .to_string()
    };
    assert!(refused(&["--fleet-bind=127.0.0.1:1"]).starts_with("MCP_JOIN_TOKEN "));
    assert!(refused(&["--fleet-bind=127.0.0.1:1", "--join-token=short"]).contains("at least 16"));
    assert!(refused(&["--join-token=0123456789abcdef"]).contains("without MCP_FLEET_BIND"));
}

const TLS: [&str; 3] = ["--tls-ca-file=ca", "--tls-cert-file=cert", "--tls-key-file=key"];

/// What follows the command's name and nothing else.
fn fleet(arguments: &[&str]) -> Result<FleetSettings, ConfigError> {
    let arguments = [["--state-dir=/state"].as_slice(), arguments].concat();
    let settings = parse(&arguments).unwrap().config.validate()?;
    Ok(settings.fleet.unwrap())
}

#[test]
fn with_certificates_executors_may_join_from_anywhere_and_need_no_token() {
    let settings = fleet(&[TLS.as_slice(), &["--fleet-bind=0.0.0.0:8789"]].concat()).unwrap();
    assert!(settings.tls.is_some() && !settings.join_token.is_needed());
    let settings = fleet(&[TLS.as_slice(), &FLEET].concat()).unwrap();
    assert!(settings.join_token.is_needed());
}

#[test]
fn plaintext_leaves_this_machine_only_when_told_to() {
    let beyond = ["--fleet-bind=0.0.0.0:8789", "--join-token=0123456789abcdef"];
    let message = fleet(&beyond).unwrap_err().to_string();
    for needed in [
        "MCP_FLEET_BIND",
        "dynamic-mcp certs",
        "MCP_TLS_CERT_FILE",
        "--insecure",
    ] {
        assert!(message.contains(needed), "{message}");
    }
    for allowed in ["--insecure", "--fleet-insecure=true"] {
        let arguments = [beyond.as_slice(), &["--state-dir=/state", allowed]].concat();
        let settings = parse(&arguments).unwrap().config.validate().unwrap();
        assert!(settings.fleet.unwrap().insecure);
        assert!(
            settings.warnings[0].contains("not encrypted"),
            "{:?}",
            settings.warnings
        );
    }
}

#[test]
fn settings_of_trust_that_contradict_each_other_are_refused() {
    for (arguments, message) in [
        (
            [TLS.as_slice(), &["--fleet-bind=127.0.0.1:1", "--insecure"]].concat(),
            "MCP_FLEET_INSECURE (--fleet-insecure): has no effect with MCP_TLS_CERT_FILE",
        ),
        (
            vec!["--fleet-bind=127.0.0.1:1", "--tls-cert-file=x"],
            "MCP_TLS_CA_FILE (--tls-ca-file): is needed with MCP_TLS_CERT_FILE",
        ),
        (
            vec!["--tls-ca-file=x"],
            "MCP_TLS_CA_FILE (--tls-ca-file): has no effect without",
        ),
        (
            vec!["--insecure"],
            "MCP_FLEET_INSECURE (--fleet-insecure): has no effect without",
        ),
    ] {
        let refused = fleet(&arguments).unwrap_err().to_string();
        assert!(refused.starts_with(message), "{refused}");
    }
}

#[test]
fn a_wrong_value_is_answered_with_the_variable_the_flag_and_what_is_allowed() {
    let message = misread(&["--http-max-request-bytes=99999999"]);
    assert!(
        message.contains("MCP_HTTP_MAX_REQUEST_BYTES (--http-max-request-bytes)"),
        "{message}"
    );
    assert!(
        message.contains("allowed is 1024..=16777216") && message.contains("\"99999999\""),
        "{message}"
    );
    let message = misread(&["--port=http"]);
    assert!(
        message.contains("MCP_PORT (--port): allowed is a whole number; got \"http\""),
        "{message}"
    );
    let message = misread(&["--transport=carrier-pigeon"]);
    assert!(
        message.contains("MCP_TRANSPORT (--transport): allowed is one of stdio, http"),
        "{message}"
    );
    let message = misread(&["--dynamic-read-only=maybe"]);
    assert!(
        message.contains("MCP_DYNAMIC_READ_ONLY") && message.contains("yes, no, on, off"),
        "{message}"
    );
}

#[test]
fn yes_and_no_are_written_in_many_ways() {
    for (text, meant) in [
        ("1", true),
        ("YES", true),
        ("on", true),
        ("False", false),
        ("0", false),
        ("off", false),
    ] {
        let settings = settings(&[&format!("--dynamic-read-only={text}")]).unwrap();
        assert_eq!(settings.registry.read_only, meant, "{text}");
    }
    assert!(settings(&["--dynamic-read-only"]).unwrap().registry.read_only);
}

#[test]
fn a_secret_is_read_from_its_file_without_the_line_break() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "hunter2\n").unwrap();
    let flag = format!("--admin-token-file={}", file.display());
    let token = settings(&[&flag]).unwrap().registry.admin_token.unwrap();
    assert_eq!(token.expose_secret(), "hunter2");

    std::fs::write(&file, "\n").unwrap();
    assert!(refused(&[&flag]).starts_with("MCP_ADMIN_TOKEN_FILE"));
    assert!(refused(&["--admin-token-file=/nowhere"]).contains("/nowhere"));
    assert!(misread(&["--admin-token=x", &flag]).contains("cannot be used with"));
}

#[test]
fn no_secret_shows_in_debug_or_in_the_runtime_configuration() {
    let arguments = [
        "--admin-token=hunter2",
        "--dynamic-backend=postgres",
        "--dynamic-pg-url=postgres://u:hunter2@db/x",
        "--otel-exporter-otlp-endpoint=http://u:hunter2@collector:4317",
    ];
    let cli = parse(&[&FLEET, arguments.as_slice()].concat()).unwrap();
    assert!(!format!("{:?}", cli.config.registry).contains("hunter2"));
    let settings = settings(&arguments).unwrap();
    assert!(!format!("{:?}", settings.registry).contains("hunter2"));
    let report = runtime_config(&settings);
    assert!(!report.to_string().contains("hunter2"), "{report}");
    assert_eq!(
        (&report["auth"]["adminToken"], &report["dynamic"]["pgUrl"]),
        (&"set".into(), &"set".into())
    );
}

const JWT: [&str; 5] = [
    "--transport=http",
    "--auth-mode=jwt",
    "--auth-issuer=https://issuer.example",
    "--auth-jwks-url=https://issuer.example/jwks",
    "--auth-audience=dynamic-mcp",
];

#[test]
fn tokens_are_taken_of_an_issuer_for_an_audience_and_checked_with_its_keys() {
    let auth = settings(&JWT).unwrap().auth.unwrap();
    assert_eq!(auth.jwt.rules.issuer, "https://issuer.example");
    assert_eq!(auth.jwt.resource, ResourceUrl::ByHost("/mcp".to_owned()));
    assert!(settings(&[]).unwrap().auth.is_none());
    for (left_out, variable) in [
        (2, "MCP_AUTH_ISSUER"),
        (3, "MCP_AUTH_JWKS_URL"),
        (4, "MCP_AUTH_AUDIENCE"),
    ] {
        let mut arguments = JWT.to_vec();
        arguments.remove(left_out);
        let message = refused(&arguments);
        assert!(
            message.starts_with(variable) && message.contains("is needed"),
            "{message}"
        );
    }
}

#[test]
fn settings_of_tokens_without_a_word_of_the_mode_do_not_open_the_server() {
    let message = refused(&["--transport=http", "--auth-issuer=x"]);
    assert!(
        message.starts_with("MCP_AUTH_MODE (--auth-mode): is needed with MCP_AUTH_ISSUER"),
        "{message}"
    );
}

#[test]
fn an_audience_that_is_an_address_is_what_clients_ask_tokens_for() {
    let resource = |arguments: &[&str]| {
        settings(&[&JWT[..4], arguments].concat())
            .unwrap()
            .auth
            .unwrap()
            .jwt
            .resource
    };
    let fixed = |url: &str| ResourceUrl::Fixed(url.to_owned());
    assert_eq!(
        resource(&["--auth-audience=https://mcp.example/mcp"]),
        fixed("https://mcp.example/mcp")
    );
    assert_eq!(
        resource(&["--auth-audience=x", "--auth-resource=https://mcp.example/mcp"]),
        fixed("https://mcp.example/mcp")
    );
}

#[test]
fn what_does_nothing_for_a_way_to_come_in_is_refused() {
    for (arguments, message) in [
        (
            &["--auth-issuer=x"][..],
            "MCP_AUTH_ISSUER (--auth-issuer): has no effect with MCP_AUTH_MODE=none",
        ),
        (
            &["--transport=http", "--auth-scope-call=x"],
            "MCP_AUTH_SCOPE_CALL (--auth-scope-call): has no effect with MCP_AUTH_MODE=none",
        ),
        (
            &["--auth-mode=jwt"],
            "MCP_AUTH_MODE (--auth-mode): jwt is for MCP_TRANSPORT=http",
        ),
        (
            &[&JWT[..], &["--admin-token=0123456789"]].concat(),
            "MCP_ADMIN_TOKEN (--admin-token): has no effect with MCP_AUTH_MODE=jwt: the scopes",
        ),
    ] {
        let got = refused(arguments);
        assert!(got.starts_with(message), "{got}");
    }
    assert!(misread(&["--auth-jwks-url=http://issuer.example/"]).contains("http:// on this machine"));
}

#[test]
fn a_server_that_others_can_reach_says_so() {
    let settings = settings(&["--transport=http", "--host=0.0.0.0"]).unwrap();
    assert!(
        settings.warnings[0].contains("reachable from other machines"),
        "{:?}",
        settings.warnings
    );
    assert!(
        settings.warnings[1].contains("MCP_HTTP_ALLOWED_HOSTS"),
        "{:?}",
        settings.warnings
    );
}

#[cfg(feature = "embedded-executor")]
#[test]
fn the_state_directory_is_that_of_the_executor_within_too() {
    let cli = parse(&["--state-dir=/state"]).unwrap();
    assert_eq!(cli.engine.state_dir.as_deref(), Some(Path::new("/state")));
}

#[test]
fn a_policy_that_can_not_be_meant_stops_the_start() {
    let why = misread(&["--sandbox-blocked-packages=left-pad,a b"]);
    assert!(
        why.contains("MCP_SANDBOX_BLOCKED_PACKAGES") && why.contains("lodash@<4.17.21"),
        "{why}"
    );
    let why = refused(&["--sandbox-require-digest"]);
    assert!(
        why.starts_with("MCP_SANDBOX_REQUIRE_DIGEST ") && why.contains("node:lts-slim@sha256:"),
        "{why}"
    );
    let rules = [
        "--sandbox-allowed-packages=@ours/*,lodash@>=4.17.21 <5",
        "--sandbox-allow-tool-isolation=no",
    ];
    let policy = settings(&rules).unwrap().policy;
    assert_eq!(policy.allowed_packages.len(), 2);
    assert!(!policy.allow_tool_isolation);
}

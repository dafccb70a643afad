//! What comes from outside and is read here: specs of dependencies, references of images, ids, and what the other plane says.

use dynamic_mcp_proto::v1;
use dynamic_mcp_shared::ids::{ExecutorId, JobId, TenantId};
use dynamic_mcp_shared::job::{Dependency, Finished, Job, NodeStatus, Progress};
use dynamic_mcp_shared::packages;
use dynamic_mcp_shared::policy::parse_image;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use prost::Message as _;

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    }
}

fn one(name: &str, version: &str) -> bool {
    let dependency = Dependency {
        name: name.to_owned(),
        version: version.to_owned(),
    };
    packages::check(&[dependency], 1).is_ok()
}

/// `[@scope/]name`, each part in lower case and not beginning with a sign.
fn is_name(text: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && part
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c))
    };
    let parts: Vec<_> = text.split('/').collect();
    let shaped = match parts[..] {
        [name] => part(name),
        [scope, name] => scope.strip_prefix('@').is_some_and(part) && part(name),
        _ => false,
    };
    shaped && text.len() <= 214 && text != "node_modules" && text != "favicon.ico"
}

fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        "@?[a-z0-9][a-z0-9._/-]{0,12}",
        "[@a-zA-Z0-9._/%: -]{0,12}",
        ".{0,8}"
    ]
}

fn versions() -> impl Strategy<Value = String> {
    prop_oneof![
        "[v^~<>=]{0,2}[0-9x*]{1,3}([.][0-9x*]{1,3}){0,2}",
        "(npm|git|file|https?|link|workspace|github):?[a-z0-9@/:.#^+-]{0,15}",
        "[.~/a-z0-9-]{0,10}(.tgz|.tar)?",
        ".{0,12}",
    ]
}

fn images() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9][a-z0-9._:/-]{0,20}(@sha256:[0-9a-f]{64})?",
        "-{0,2}[a-z=/.@:]{0,20}",
        ".{0,12}"
    ]
}

fn ids() -> impl Strategy<Value = String> {
    prop_oneof!["(exe|job)_[0-9a-z-]{0,40}", "[a-z0-9|:._-]{0,130}", ".{0,12}"]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_dependency_has_a_name_of_npm_and_nothing_else(name in names()) {
        prop_assert_eq!(one(&name, "1"), is_name(&name));
    }

    #[test]
    fn no_version_names_anything_outside_of_the_registry(version in versions()) {
        if one("left-pad", &version) {
            prop_assert!(!version.contains(['/', ':', '#', '@', '%', '\\', '\n', '\0']), "{}", version);
            let lower = version.trim().to_ascii_lowercase();
            let is_file = lower.starts_with(['.', '-']) || lower.ends_with(".tgz") || lower.ends_with(".tar");
            prop_assert!(!is_file, "{}", version);
        }
    }

    #[test]
    fn a_plain_range_or_tag_is_always_a_version(version in "([~^]|>=|<)?[0-9]{1,3}[.][0-9]{1,3}[.][0-9]{1,3}|[0-9]{1,2}[.]x|latest|next") {
        prop_assert!(one("left-pad", &version), "{}", version);
    }

    #[test]
    fn a_reference_of_an_image_is_taken_as_it_stands_and_is_never_an_option(text in images()) {
        if let Ok(image) = parse_image(&text) {
            prop_assert_eq!(image.as_str(), text.trim());
            prop_assert!(image.starts_with(|c: char| c.is_ascii_alphanumeric()), "{}", image);
            prop_assert!(image.chars().all(|c| c.is_ascii_alphanumeric() || "_.:/@-".contains(c)), "{}", image);
            prop_assert_eq!(parse_image(&image), Ok(image));
        }
    }

    #[test]
    fn an_id_is_printed_as_it_was_read(text in ids()) {
        let printed = [
            text.parse::<TenantId>().ok().map(|id| id.as_str().to_owned()),
            text.parse::<ExecutorId>().ok().map(|id| id.as_str().to_owned()),
            text.parse::<JobId>().ok().map(|id| id.as_str().to_owned()),
        ];
        for printed in printed.into_iter().flatten() {
            prop_assert_eq!(&printed, &text);
            prop_assert!(!printed.contains(|c: char| c.is_whitespace() || c.is_control()));
        }
    }

    #[test]
    fn no_message_of_the_other_plane_is_too_much(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = v1::Prepare::decode(&*bytes).map(Job::try_from);
        let _ = v1::Finished::decode(&*bytes).map(Finished::try_from);
        let _ = v1::NodeStatus::decode(&*bytes).map(NodeStatus::try_from);
        let _ = v1::Progress::decode(&*bytes).map(Progress::from);
    }
}

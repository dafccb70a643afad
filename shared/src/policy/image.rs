//! References of container images as the contract allows them: a name with an optional tag and an optional digest.

const MAX_CHARS: usize = 200;
const DIGEST_HEX: usize = 64;

/// # Errors
/// Says what is allowed.
pub fn parse_image(text: &str) -> Result<String, String> {
    let text = text.trim();
    let (name, digest) = split_digest(text);
    let mut bytes = name.bytes();
    let ok = text.len() <= MAX_CHARS
        && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"_.:/-".contains(&b))
        && digest.is_none_or(is_sha256);
    if ok {
        Ok(text.to_owned())
    } else {
        Err(
            "an image reference has 1 to 200 letters, digits, '_', '.', ':', '/', '-', the first a letter or digit, and \
             may end with @sha256: and 64 lower-case hexadecimal digits"
                .to_owned(),
        )
    }
}

/// Whether it names one image for good: a tag may name another one tomorrow.
pub fn is_pinned(image: &str) -> bool {
    split_digest(image).1.is_some_and(is_sha256)
}

fn split_digest(image: &str) -> (&str, Option<&str>) {
    match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    }
}

fn is_sha256(digest: &str) -> bool {
    digest.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == DIGEST_HEX
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn image_references_follow_the_contract() {
        assert!(parse_image("registry.local:5000/team/node_22:lts-slim").is_ok());
        for wrong in ["", "-x", "node slim", "node@sha256", &"a".repeat(201)] {
            assert!(parse_image(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_digest_is_sha256_in_full_and_pins() {
        let digest = "0123456789abcdef".repeat(4);
        let pinned = format!("node:22@sha256:{digest}");
        assert_eq!(parse_image(&pinned).as_deref(), Ok(pinned.as_str()));
        assert!(is_pinned(&pinned));
        assert!(!is_pinned("node:22"));
        for wrong in [
            format!("node@sha256:{}", &digest[1..]),
            format!("node@sha256:{}", digest.to_uppercase()),
            format!("node@md5:{digest}"),
            format!("node@sha256:{digest}@sha256:{digest}"),
            format!("@sha256:{digest}"),
            format!("node@sha256:{digest}:22"),
        ] {
            assert!(parse_image(&wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_is_one_word_that_is_no_flag(text in ".{0,220}") {
            if let Ok(image) = parse_image(&text) {
                prop_assert!(!image.starts_with('-') && !image.contains(char::is_whitespace));
                prop_assert_eq!(parse_image(&image), Ok(image));
            }
        }
    }
}

//! The token of a request (RFC 6750, section 2): in the header `Authorization`, and nowhere else.

use http::header::AUTHORIZATION;
use http::request::Parts;

use super::Denied;

/// Longer than any issuer's, and short enough to be hashed at once.
const MAX_TOKEN_BYTES: usize = 16 << 10;

/// # Errors
/// When there is none, more than one, or one in a place where logs and histories would keep it.
pub(super) fn token(request: &Parts) -> Result<&str, Denied> {
    if request.uri.query().is_some_and(has_token) {
        return Err(Denied::Malformed(
            "an access token in the address is not taken, and should be revoked: addresses are logged; send it in the \
             header Authorization",
        ));
    }
    let mut sent = request.headers.get_all(AUTHORIZATION).iter();
    let Some(value) = sent.next() else {
        return Err(Denied::Missing);
    };
    if sent.next().is_some() {
        return Err(Denied::Malformed("more than one header Authorization was sent"));
    }
    let text = value
        .to_str()
        .map_err(|_| Denied::Malformed("the header Authorization is not ASCII"))?;
    let Some((scheme, token)) = text.split_once(' ') else {
        return Err(Denied::Malformed(
            "the header Authorization has to be: Bearer <token>",
        ));
    };
    // The scheme's case does not matter (RFC 9110, section 11.1).
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Denied::Missing);
    }
    let token = token.trim_start_matches(' ');
    if token.len() > MAX_TOKEN_BYTES {
        return Err(Denied::Invalid(format!(
            "the access token is longer than {MAX_TOKEN_BYTES} bytes"
        )));
    }
    if token.is_empty() || !token.bytes().all(is_token_byte) {
        return Err(Denied::Malformed(
            "what follows Bearer is not a token (RFC 6750, section 2.1)",
        ));
    }
    Ok(token)
}

fn has_token(query: &str) -> bool {
    query
        .split('&')
        .any(|pair| pair.split('=').next() == Some("access_token"))
}

/// b64token of RFC 6750.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};
    use proptest::prelude::*;

    use super::*;

    fn parts(uri: &str, headers: &[&str]) -> Parts {
        let mut request = Request::builder().uri(uri);
        for value in headers {
            request = request.header(AUTHORIZATION, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn one_bearer_token_is_taken_in_any_case_of_its_scheme() {
        for header in ["Bearer a.b.c", "bearer a.b.c", "BEARER  a.b.c"] {
            let request = parts("/mcp", &[header]);
            assert_eq!(token(&request), Ok("a.b.c"), "{header}");
        }
    }

    #[test]
    fn without_a_bearer_token_one_is_missing() {
        for headers in [&[][..], &["Basic dTpw"]] {
            assert_eq!(token(&parts("/mcp", headers)).err(), Some(Denied::Missing));
        }
    }

    #[test]
    fn what_is_no_token_or_not_alone_is_malformed() {
        for headers in [
            &["Bearer"][..],
            &["Bearer "],
            &["Bearer a b"],
            &["Bearer a,b"],
            &["Bearer a\tb"],
            &["Bearer a", "Bearer b"],
        ] {
            let request = parts("/mcp", headers);
            let refused = token(&request);
            assert!(
                matches!(refused, Err(Denied::Malformed(_))),
                "{headers:?}: {refused:?}"
            );
        }
        let long = format!("Bearer {}", "a".repeat(MAX_TOKEN_BYTES + 1));
        assert!(matches!(token(&parts("/mcp", &[&long])), Err(Denied::Invalid(_))));
    }

    #[test]
    fn a_token_in_the_address_is_refused_even_beside_a_good_one() {
        for uri in [
            "/mcp?access_token=a",
            "/mcp?x=1&access_token=a",
            "/mcp?access_token",
        ] {
            let request = parts(uri, &["Bearer a.b.c"]);
            let refused = token(&request);
            assert!(matches!(refused, Err(Denied::Malformed(_))), "{uri}");
        }
        assert!(token(&parts("/mcp?not_access_token=a", &["Bearer a"])).is_ok());
    }

    proptest! {
        #[test]
        fn whatever_a_header_holds_a_token_is_taken_from_it_exactly_if_it_is_one(value in header_value()) {
            let request = parts("/mcp", &[]);
            let mut request = request;
            request.headers.insert(AUTHORIZATION, value.clone());
            let taken = token(&request).ok();
            let words: Vec<_> = value.to_str().unwrap_or_default().splitn(2, ' ').collect();
            let expected = match words[..] {
                [scheme, rest] if scheme.eq_ignore_ascii_case("bearer") => {
                    Some(rest.trim_start_matches(' ')).filter(|rest| {
                        !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric() || "-._~+/=".contains(c))
                    })
                }
                _ => None,
            };
            prop_assert_eq!(taken, expected);
        }

        #[test]
        fn no_address_hides_a_token(before in "([a-z]{0,4}=[a-z%]{0,4}&){0,3}", after in "(=[a-zA-Z.]{0,9})?(&[a-z]{1,4})?") {
            let request = parts(&format!("/mcp?{before}access_token{after}"), &["Bearer a"]);
            prop_assert!(matches!(token(&request), Err(Denied::Malformed(_))));
        }
    }

    fn header_value() -> impl Strategy<Value = HeaderValue> {
        let text = prop_oneof![
            "(Bearer|bearer|BEARER|Basic|Bearer,) {0,3}[A-Za-z0-9._~+/= ,\"-]{0,20}",
            "[ -~\t]{0,30}",
        ];
        let text = text.prop_map(String::into_bytes);
        let bytes = prop_oneof![3 => text, 1 => prop::collection::vec(any::<u8>(), 0..30)];
        bytes.prop_filter_map("no header", |bytes| HeaderValue::from_bytes(&bytes).ok())
    }
}

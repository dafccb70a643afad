//! npm's way of saying that something went wrong, in words for whoever can mend it: the tool's author or the operator.

use serde::Deserialize;

use crate::engine::ResolveError;

/// What the installer reports of a step that failed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Failure {
    /// npm's code, or one of the installer's own that begin with `DMCP_`.
    pub code: String,
    pub summary: String,
    pub detail: String,
}

const MAX_SHOWN_CHARS: usize = 500;

impl Failure {
    pub fn into_error(self) -> ResolveError {
        let Failure {
            code,
            summary,
            detail,
        } = &self;
        let summary = shown(summary);
        match code.as_str() {
            "E404" => ResolveError::Refused(match quoted(detail) {
                Some(package) => format!("the package registry has no {package}"),
                None => format!("the package registry has no such package: {summary}"),
            }),
            "ETARGET" | "ENOVERSIONS" => ResolveError::Refused(summary),
            "ERESOLVE" => ResolveError::Refused(format!("the dependencies contradict each other: {summary}")),
            "E403" | "EPOLICY" => {
                ResolveError::Refused(format!("the package registry refuses it: {summary}"))
            }
            "EINVALIDTAGNAME" | "EINVALIDPACKAGENAME" | "EUNSUPPORTEDPROTOCOL" | "EINVALIDDEP" => {
                ResolveError::Refused(summary)
            }
            "EINTEGRITY" => ResolveError::Refused(format!(
                "a package is no longer what it was when the lock was made: {summary}"
            )),
            "ENOSPC" | "DMCP_SIZE" => {
                ResolveError::Refused("the packages are too large to be installed".to_owned())
            }
            "DMCP_DISK" => ResolveError::Unavailable(
                "the container engine's disk has too little room left for an install".to_owned(),
            ),
            "DMCP_NO_NPM" => {
                ResolveError::Refused("the image has no npm to install packages with".to_owned())
            }
            "ENOENT" if summary.contains("git") || detail.contains("git") => {
                ResolveError::Refused("one of the packages comes from git, which is not allowed".to_owned())
            }
            code if is_certificate_fault(code) => ResolveError::Unavailable(format!(
                "the package registry's certificate is not trusted ({code}); name its authority with \
                 MCP_SANDBOX_CA_BUNDLE"
            )),
            "" => ResolveError::Unavailable(format!("npm failed: {summary}")),
            code => ResolveError::Unavailable(format!("npm failed ({code}): {summary}")),
        }
    }
}

fn is_certificate_fault(code: &str) -> bool {
    code.contains("CERT") || code.contains("ISSUER") || code.contains("SELF_SIGNED")
}

/// npm names what was not found between single quotes: `The requested resource 'a@1' could not be found`.
fn quoted(detail: &str) -> Option<&str> {
    let (_, rest) = detail.split_once('\'')?;
    rest.split_once('\'').map(|(package, _)| package)
}

fn shown(text: &str) -> String {
    text.trim().chars().take(MAX_SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str, summary: &str, detail: &str) -> ResolveError {
        Failure {
            code: code.to_owned(),
            summary: summary.to_owned(),
            detail: detail.to_owned(),
        }
        .into_error()
    }

    #[test]
    fn the_authors_faults_are_refusals_that_name_the_package() {
        let detail = "The requested resource 'nope@1' could not be found or you do not have permission";
        assert_eq!(
            error("E404", "Not Found - GET …", detail),
            ResolveError::Refused("the package registry has no nope@1".to_owned())
        );
        let summary = "No matching version found for is-number@99.9.9.";
        assert_eq!(
            error("ETARGET", summary, ""),
            ResolveError::Refused(summary.to_owned())
        );
        assert!(matches!(error("ENOSPC", "", ""), ResolveError::Refused(_)));
    }

    #[test]
    fn the_platforms_faults_are_not_the_authors() {
        for code in ["ENOTFOUND", "ECONNREFUSED", "E500", "E401", "", "DMCP_DISK"] {
            assert!(
                matches!(error(code, "x", ""), ResolveError::Unavailable(_)),
                "{code}"
            );
        }
        let ResolveError::Unavailable(text) = error("SELF_SIGNED_CERT_IN_CHAIN", "x", "") else {
            panic!("not the operator's")
        };
        assert!(text.contains("MCP_SANDBOX_CA_BUNDLE"));
    }
}

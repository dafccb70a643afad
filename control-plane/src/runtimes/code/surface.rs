//! What tool code can name: the lists of the isolate, and where Node.js has more. `Intl` and `toLocale…` are told apart in
//! [`super::findings`], since there the name is the same and the answer is not.

pub(super) use dynamic_mcp_quickjs::surface::{GLOBALS, MODULES};

/// Other names of the object that holds all globals.
pub(super) const GLOBAL_OBJECTS: &[&str] = &["globalThis", "global", "self", "window"];

/// Bound by the language, not by an object.
pub(super) const LANGUAGE: &[&str] = &["arguments", "undefined"];

/// Globals of Node.js 24 beside those of the language. A name that is neither here nor in the isolate is `undefined` for
/// `typeof` and on `globalThis` wherever the code runs, so asking for it decides nothing.
pub(super) const NODE_ONLY: &[&str] = &[
    "Blob",
    "BroadcastChannel",
    "ByteLengthQueuingStrategy",
    "CloseEvent",
    "CompressionStream",
    "CountQueuingStrategy",
    "CryptoKey",
    "DecompressionStream",
    "EventSource",
    "File",
    "FormData",
    "Headers",
    "Intl",
    "MessageChannel",
    "MessageEvent",
    "MessagePort",
    "Navigator",
    "PerformanceObserver",
    "PerformanceObserverEntryList",
    "PerformanceResourceTiming",
    "ReadableByteStreamController",
    "ReadableStream",
    "ReadableStreamBYOBReader",
    "ReadableStreamBYOBRequest",
    "ReadableStreamDefaultController",
    "ReadableStreamDefaultReader",
    "Request",
    "Response",
    "Storage",
    "TextDecoderStream",
    "TextEncoderStream",
    "TransformStream",
    "TransformStreamDefaultController",
    "URLPattern",
    "WebAssembly",
    "WebSocket",
    "WritableStream",
    "WritableStreamDefaultController",
    "WritableStreamDefaultWriter",
    "fetch",
    "global",
    "localStorage",
    "navigator",
    "process",
    "require",
    "sessionStorage",
];

/// What Node.js has on these globals and modules (`node:…`) and the isolate has not.
const LACKING_MEMBERS: &[(&str, &[&str])] = &[
    ("Atomics", &["waitAsync"]),
    ("Buffer", &["copyBytesFrom"]),
    ("URL", &["createObjectURL", "revokeObjectURL"]),
    (
        "console",
        &[
            "Console",
            "context",
            "createTask",
            "profile",
            "profileEnd",
            "timeStamp",
        ],
    ),
    (
        "performance",
        &[
            "clearResourceTimings",
            "eventLoopUtilization",
            "markResourceTiming",
            "nodeTiming",
        ],
    ),
    (
        "node:assert",
        &["Assert", "CallTracker", "partialDeepStrictEqual"],
    ),
    (
        "node:assert/strict",
        &["Assert", "CallTracker", "partialDeepStrictEqual"],
    ),
    ("node:buffer", &["Blob", "File", "resolveObjectURL", "transcode"]),
    (
        "node:crypto",
        &[
            "Certificate",
            "Cipheriv",
            "Decipheriv",
            "DiffieHellman",
            "DiffieHellmanGroup",
            "ECDH",
            "KeyObject",
            "Sign",
            "Verify",
            "X509Certificate",
            "argon2",
            "argon2Sync",
            "checkPrime",
            "checkPrimeSync",
            "constants",
            "createCipheriv",
            "createDecipheriv",
            "createDiffieHellman",
            "createDiffieHellmanGroup",
            "createECDH",
            "createPrivateKey",
            "createPublicKey",
            "createSecretKey",
            "createSign",
            "createVerify",
            "decapsulate",
            "diffieHellman",
            "encapsulate",
            "generateKey",
            "generateKeyPair",
            "generateKeyPairSync",
            "generateKeySync",
            "generatePrime",
            "generatePrimeSync",
            "getCipherInfo",
            "getCiphers",
            "getCurves",
            "getDiffieHellman",
            "getFips",
            "hkdf",
            "hkdfSync",
            "pbkdf2",
            "pbkdf2Sync",
            "privateDecrypt",
            "privateEncrypt",
            "publicDecrypt",
            "publicEncrypt",
            "randomFill",
            "randomUUIDv7",
            "scrypt",
            "scryptSync",
            "secureHeapUsed",
            "setEngine",
            "setFips",
            "sign",
            "verify",
        ],
    ),
    (
        "node:events",
        &[
            "EventEmitterAsyncResource",
            "addAbortListener",
            "captureRejections",
            "getMaxListeners",
            "setMaxListeners",
        ],
    ),
    ("node:path", &["matchesGlob"]),
    ("node:path/posix", &["matchesGlob"]),
    (
        "node:perf_hooks",
        &[
            "PerformanceObserver",
            "PerformanceObserverEntryList",
            "PerformanceResourceTiming",
            "constants",
            "createHistogram",
            "eventLoopUtilization",
            "monitorEventLoopDelay",
            "timerify",
        ],
    ),
    (
        "node:url",
        &[
            "URLPattern",
            "Url",
            "fileURLToPathBuffer",
            "parse",
            "resolve",
            "resolveObject",
        ],
    ),
    (
        "node:util",
        &[
            "MIMEParams",
            "MIMEType",
            "_extend",
            "debug",
            "diff",
            "getCallSites",
            "getSystemErrorMap",
            "getSystemErrorMessage",
            "getSystemErrorName",
            "parseArgs",
            "parseEnv",
            "transferableAbortController",
            "transferableAbortSignal",
        ],
    ),
    ("node:util/types", &["isCryptoKey", "isKeyObject"]),
];

/// Of `crypto.subtle`, which in the isolate digests and no more.
const SUBTLE: &[&str] = &["digest"];

pub(super) fn has_global(name: &str) -> bool {
    LANGUAGE.contains(&name) || GLOBALS.contains(&name)
}

/// Whether asking for it has another answer in Node.js than in the isolate.
pub(super) fn differs(name: &str) -> bool {
    NODE_ONLY.contains(&name) && !GLOBALS.contains(&name)
}

/// The name with `node:` before it, of a module that the isolate has.
pub(super) fn module(specifier: &str) -> Option<String> {
    let bare = specifier.strip_prefix("node:").unwrap_or(specifier);
    MODULES.contains(&bare).then(|| format!("node:{bare}"))
}

/// Whether the isolate lacks this member of a global or of a module.
pub(super) fn lacks_member(of: &str, member: &str) -> bool {
    if of == "crypto.subtle" {
        return !SUBTLE.contains(&member);
    }
    LACKING_MEMBERS
        .iter()
        .any(|(name, members)| *name == of && members.contains(&member))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_agree_with_what_the_isolate_has() {
        for (of, _) in LACKING_MEMBERS {
            let known = match of.strip_prefix("node:") {
                Some(bare) => MODULES.contains(&bare),
                None => GLOBALS.contains(of),
            };
            assert!(
                known,
                "the isolate has no {of}, so none of its members is worth a line"
            );
        }
        let both: Vec<_> = NODE_ONLY.iter().filter(|name| GLOBALS.contains(name)).collect();
        assert!(both.is_empty(), "no longer of Node.js only: {both:?}");
    }
}

//! Trust between the planes on the wire: who gets through, who does not, and what is said to whom.
#![expect(clippy::unwrap_used, reason = "a test that can't be set up fails")]

mod tls {
    mod flood;
    mod refused_callers;
    mod refused_servers;
    pub mod rig;
    mod rotation;
}

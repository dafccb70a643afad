//! Trust between the planes: mutual TLS 1.3 with certificates of one private authority.
//!
//! ```text
//! files ──every few seconds──▶ Material ──a whole and valid set──▶ Trust ──▶ incoming(): whoever connects to this side
//!                                  └─ anything else: the old one stays     └─▶ channel(): whom this side connects to
//! ```
//!
//! Each connection begins with what the files hold at that moment, and keeps it: a rotation ends no connection. Who is at
//! the other end stands in a URI of its certificate ([`Identity`]); names in its subject mean nothing here.

mod accept;
mod args;
#[cfg(feature = "authority")]
pub mod authority;
mod certificate;
mod connect;
mod error;
mod explain;
mod identity;
mod material;
mod peer;
mod trust;
mod watch;

pub use self::accept::{Connection, incoming};
pub use self::args::{CA_FILE, CERT_FILE, INSECURE, KEY_FILE, TlsArgs, TlsFiles, in_plaintext, is_loopback};
pub use self::certificate::Certificate;
pub use self::connect::{Connector, endpoint};
pub use self::error::TlsError;
pub use self::explain::whole_story;
pub use self::identity::{Identity, NoIdentity, Role};
pub use self::peer::{OnlyFrom, Peer};
pub use self::trust::Trust;
pub use self::watch::Condition;

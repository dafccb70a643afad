//! What has to happen at once, as scripts that Redis runs.

use redis::Script;

pub(super) struct Scripts {
    pub(super) admit: Script,
    pub(super) claim: Script,
    pub(super) deliver: Script,
    pub(super) end: Script,
    pub(super) hold: Script,
    pub(super) keep: Script,
    pub(super) letters: Script,
    pub(super) post: Script,
    pub(super) relay: Script,
    pub(super) relayed: Script,
    pub(super) report: Script,
    pub(super) take: Script,
    pub(super) withdraw: Script,
    pub(super) write: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            admit: Script::new(include_str!("scripts/admit.lua")),
            claim: Script::new(include_str!("scripts/claim.lua")),
            deliver: Script::new(include_str!("scripts/deliver.lua")),
            end: Script::new(include_str!("scripts/end.lua")),
            hold: Script::new(include_str!("scripts/hold.lua")),
            keep: Script::new(include_str!("scripts/keep.lua")),
            letters: Script::new(include_str!("scripts/letters.lua")),
            post: Script::new(include_str!("scripts/post.lua")),
            relay: Script::new(include_str!("scripts/relay.lua")),
            relayed: Script::new(include_str!("scripts/relayed.lua")),
            report: Script::new(include_str!("scripts/report.lua")),
            take: Script::new(include_str!("scripts/take.lua")),
            withdraw: Script::new(include_str!("scripts/withdraw.lua")),
            write: Script::new(include_str!("scripts/write.lua")),
        }
    }
}

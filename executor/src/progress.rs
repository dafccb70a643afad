//! What code says of its progress while it runs: its own numbers, for which nobody waits.

use dynamic_mcp_shared::job::{JobEvent, Progress};
use serde::Deserialize;
use tokio::sync::mpsc;

#[derive(Deserialize)]
struct Told {
    progress: f64,
    total: Option<f64>,
    message: Option<String>,
}

/// A listener that is slow or gone misses it, and what is no report is nobody's.
pub fn pass_on(json: &[u8], listener: &mpsc::Sender<JobEvent>) {
    if let Ok(Told {
        progress,
        total,
        message,
    }) = serde_json::from_slice(json)
    {
        let _missed = listener.try_send(JobEvent::Progress(Progress {
            progress,
            total,
            message,
        }));
    }
}
